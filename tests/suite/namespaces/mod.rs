//! Namespaces: new, joined by path, and shared with the host.

mod modes;
mod shared;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [modes::tests(), shared::tests()]
        .into_iter()
        .flatten()
        .collect()
}
