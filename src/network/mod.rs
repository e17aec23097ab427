//! The network of a container (`rt.network.*` annotations): a link pair between the container
//! and a bridge of the host, addresses, routes, NAT and published ports. And devices of the host that the
//! container gets (`net_devices`), which do not depend on that.
//!
//! [`Network::plan`] decides. The runtime then takes a [`Lease`], before the clone: it names
//! the addresses and the published ports, and is recorded below [`DIRECTORY`] under a lock.
//! `wire` makes the links while init waits at its socket. [`release`] reverses both.
//! Init itself does nothing for a network, except to bring up `lo`.
//!
//! A container without these annotations has no [`Network`], and costs no system call.

mod assign;
mod bridge;
mod decisions;
mod files;
mod lease;
mod links;
mod mac;
mod nat;
mod net_devices;
mod netlink;
mod outside;
mod records;
mod release;
mod report;
mod settings;
mod subnet;
mod wire;

pub(crate) use files::{FileFacts, FileTarget};
pub(crate) use lease::{Lease, Owner};
pub(crate) use nat::Port;
pub(crate) use net_devices::{MovedDevices, NetDevices};
pub(crate) use outside::{bring_up_loopback, leads_outside};
pub(crate) use records::DIRECTORY;
pub(crate) use release::release;
pub(crate) use report::{Bridge, Traffic, bridges};
pub(crate) use settings::{Network, NetworkFacts, Place};
pub(crate) use wire::Reservation;
