//! The process: its identity, its privileges, and what it does not inherit from the caller.

mod caller;
mod identity;
pub(crate) mod init;
mod init_signals;
mod rights;
mod scheduler;
mod scheduling;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        identity::tests(),
        init::tests(),
        init_signals::tests(),
        rights::tests(),
        scheduler::tests(),
        scheduling::tests(),
        caller::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
