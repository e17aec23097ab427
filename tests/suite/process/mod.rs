//! The process: its identity, its privileges, and what it does not inherit from the caller.

mod caller;
mod identity;
mod rights;
mod scheduling;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        identity::tests(),
        rights::tests(),
        scheduling::tests(),
        caller::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
