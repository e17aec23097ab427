//! The network of a container: `rt.network.*` annotations.
//!
//! Each test has a host of its own: a network namespace, and a mount namespace in which /run
//! is empty.

mod host;
mod kills;
mod leases;
mod links;
mod refusals;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        links::tests(),
        leases::tests(),
        refusals::tests(),
        kills::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
