//! The network of a container (`rt.network.*` annotations): a link pair between the container
//! and a bridge of the host, addresses, routes, NAT and published ports.
//!
//! [`Network::plan`] decides. The runtime then takes a [`Lease`], before the clone: it names
//! the addresses and the published ports, and is recorded below [`DIRECTORY`] under a lock.
//! `wire` makes the links while init waits at its socket. [`release`] reverses both.
//! Init itself does nothing for a network, except to bring up `lo`.
//!
//! A container without these annotations has no [`Network`], and costs no system call.

/// The directory with the leases, one directory for each bridge.
const DIRECTORY: &str = "/run/rt/network";

mod decisions;
mod files;
mod lease;
mod nat;
mod report;
mod settings;

pub(crate) use files::{FileFacts, FileTarget};
pub(crate) use lease::Lease;
pub(crate) use nat::Port;
pub(crate) use report::{Bridge, Traffic, bridges};
pub(crate) use settings::{Network, NetworkFacts, Place};
