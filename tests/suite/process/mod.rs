//! The process: its identity, its privileges, and what it does not inherit from the caller.

mod caller;
mod identity;
mod rights;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [identity::tests(), rights::tests(), caller::tests()]
        .into_iter()
        .flatten()
        .collect()
}
