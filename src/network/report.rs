//! What `rt network` shows: bridges, leases, ports and traffic.

use std::fs;
use std::io;

use anyhow::{Error, Result, anyhow};
use ipnet::IpNet;
use nix::errno::Errno;

use super::lease::Lease;
use super::nat::{Port, Protocol};
use super::records::{self, Record};
use crate::log::errno_text;

/// A bridge with leases.
pub(crate) struct Bridge {
    pub(crate) name: String,
    /// False if it was there before the first container.
    pub(crate) made_by_rt: bool,
    /// With the bridge's own addresses.
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) leases: Vec<Lease>,
}

/// The bytes that a container has received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The bridges that have leases, sorted by name, and the leases of each by id.
///
/// # Errors
/// When a record cannot be read.
pub(crate) fn bridges() -> Result<Vec<Bridge>> {
    let mut bridges = Vec::new();
    for name in records::bridges().map_err(explain)? {
        // The last lease may have ended meanwhile.
        if let Some(record) = records::read(&name)?
            && !record.leases.is_empty()
        {
            bridges.push(Bridge::new(name, record));
        }
    }
    Ok(bridges)
}

fn explain(error: Error) -> Error {
    match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            let (directory, reason) = (records::DIRECTORY, errno_text(Errno::EACCES));
            anyhow!("{directory}: {reason}: run rt as root")
        }
        _ => error,
    }
}

impl Bridge {
    fn new(name: String, record: Record) -> Bridge {
        let mut leases = record.leases;
        leases.sort_by(|one, other| (&one.id, &one.root).cmp(&(&other.id, &other.root)));
        Bridge {
            name,
            made_by_rt: record.mac.is_some(),
            subnets: record.subnets,
            leases,
        }
    }
}

impl Lease {
    /// The traffic since the link was made. `None` without a link.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        let count = |name: &str| {
            let path = format!("/sys/class/net/{}/statistics/{name}", self.host_interface);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        // What the host's end sends, the container receives.
        Some(Traffic {
            received: count("tx_bytes")?,
            sent: count("rx_bytes")?,
        })
    }
}

impl Port {
    /// As in the annotation: `127.0.0.1:8080:80/tcp`.
    pub(crate) fn text(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let ports = format!("{}:{}/{protocol}", self.host_port, self.container_port);
        match self.host_address {
            None => ports,
            Some(address) if address.is_ipv6() => format!("[{address}]:{ports}"),
            Some(address) => format!("{address}:{ports}"),
        }
    }
}
