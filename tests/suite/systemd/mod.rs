//! The systemd driver: scopes of a real systemd, and a bus that fails.

mod bus;
mod scopes;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [bus::tests(), scopes::tests()]
        .into_iter()
        .flatten()
        .collect()
}
