//! What one container has been given: its addresses, its link and its ports.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::nat::Port;
use crate::annotations::key;

/// The container that holds a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The runtime's root (`--root`), absolute.
    pub(crate) root: &'a Path,
    pub(crate) id: &'a str,
}

impl Owner<'_> {
    /// The name of the host's end of the link pair, the same each time.
    pub(super) fn host_interface(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.root, self.id).hash(&mut hasher);
        // 48 bits: the kernel's limit is 15 characters.
        format!("rt{:012x}", hasher.finish() >> 16)
    }
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

    /// Whether the container's directory is no longer there. A container has one for as long as
    /// it has a lease.
    pub(super) fn is_abandoned(&self) -> bool {
        let directory = fs::symlink_metadata(self.root.join(&self.id));
        directory.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// What was assigned, as annotations of the container's state.
    pub(crate) fn annotations(&self) -> [(&'static str, String); 4] {
        let gateways = match &*self.gateways {
            [] => "none".to_owned(),
            gateways => joined(gateways),
        };
        [
            (key::ADDRESS, joined(&self.addresses)),
            (key::GATEWAY, gateways),
            (key::INTERFACE, self.interface.clone()),
            (key::MAC, self.mac.clone()),
        ]
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(",")
}
