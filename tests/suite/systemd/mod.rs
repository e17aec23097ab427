//! The systemd driver: scopes of a real systemd, and a bus that fails.

mod bus;
mod restored;
mod scopes;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [bus::tests(), restored::tests(), scopes::tests()]
        .into_iter()
        .flatten()
        .collect()
}
