//! Namespaces: which the container has, which it joins, which it does without.

mod modes;
mod shared;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [modes::tests(), shared::tests()]
        .into_iter()
        .flatten()
        .collect()
}
