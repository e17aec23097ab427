//! The planned network of one container, from its annotations.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use super::files::{FileFacts, Files};
use super::nat::Nat;
use crate::annotations::Annotations;

/// Which network namespace the container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    New,
    Shared,
    /// `linux.namespaces[index]`.
    Joined {
        index: usize,
    },
}

/// What [`Network`] must know of namespaces, of the caller and of the host.
pub(crate) struct NetworkFacts<'a> {
    pub(crate) namespace: Place,
    /// The caller has CAP_NET_ADMIN.
    pub(crate) may_administer: bool,
    pub(crate) files: FileFacts<'a>,
}

/// The addresses that the container gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// A free one of each subnet.
    Auto,
    Fixed(Vec<IpNet>),
}

/// The default routes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gateways {
    /// The bridge's addresses.
    Bridge,
    None,
    Fixed(Vec<IpAddr>),
}

/// The planned network of one container.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) bridge: String,
    /// At most one of each family, with the bridge's own address in it.
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) addresses: Addresses,
    pub(crate) gateways: Gateways,
    pub(crate) interface: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) nat: Nat,
    pub(crate) files: Files,
}

impl Network {
    /// Plans from the annotations `rt.network.*`. `None` where `rt.network.bridge` is absent.
    ///
    /// # Errors
    /// When a value is invalid, a key needs another, or the container has no network namespace
    /// of its own.
    pub(crate) fn plan(
        _annotations: &Annotations,
        _facts: &NetworkFacts,
    ) -> Result<Option<Network>> {
        Ok(None)
    }
}
