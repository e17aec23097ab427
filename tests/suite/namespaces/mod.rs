//! Namespaces: which the container has, which it joins, which it does without.

mod ways;
mod without;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [ways::tests(), without::tests()]
        .into_iter()
        .flatten()
        .collect()
}
