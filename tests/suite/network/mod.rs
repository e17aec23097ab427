//! The network of a container: `rt.network.*` annotations, and devices of the host (`linux.netDevices`).
//!
//! Each test has a host of its own: a network namespace, and a mount namespace in which /run
//! is empty.

mod checkpoint;
mod files;
mod host;
mod kills;
mod leases;
mod links;
mod nat;
mod nat_filters;
mod nat_refusals;
mod net_devices;
mod net_devices_rollback;
mod reach;
mod refusals;
mod report;
mod web;

use crate::runner::Test;

pub(crate) use host::Host;

pub(crate) fn tests() -> Vec<Test> {
    [
        links::tests(),
        checkpoint::tests(),
        leases::tests(),
        refusals::tests(),
        kills::tests(),
        nat::tests(),
        nat_filters::tests(),
        nat_refusals::tests(),
        net_devices::tests(),
        net_devices_rollback::tests(),
        files::tests(),
        report::tests(),
        web::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
