//! The process: who it is, what it may, and what it must not get from the caller.

mod caller;
mod identity;
mod rights;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [identity::tests(), rights::tests(), caller::tests()]
        .into_iter()
        .flatten()
        .collect()
}
