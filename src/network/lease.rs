//! What one container has been given: its addresses, its link and its ports.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::nat::Port;

/// The container that holds a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The runtime's root (`--root`), absolute.
    pub(crate) root: &'a Path,
    pub(crate) id: &'a str,
}

/// One container's part of a bridge's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// The runtime's root of the container.
    pub(crate) root: PathBuf,
    pub(crate) id: String,
    pub(crate) bridge: String,
    /// The name of the container's end of the link pair.
    pub(crate) interface: String,
    /// The name of the host's end.
    pub(crate) host_interface: String,
    /// Of the container's end.
    pub(crate) mac: String,
    /// At most one of each family that was chosen, or those that the annotation names.
    pub(crate) addresses: Vec<IpNet>,
    /// At most one of each family: the default routes.
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) masquerade: bool,
    pub(crate) ports: Vec<Port>,
}

impl Lease {
    pub(crate) fn belongs_to(&self, owner: Owner) -> bool {
        self.id == owner.id && self.root == owner.root
    }
}
