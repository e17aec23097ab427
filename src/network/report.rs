//! What `rt network` shows: bridges, leases, ports and traffic.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::Deserialize;

use super::lease::Lease;
use super::nat::{Port, Protocol};

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

/// The part of a bridge's record that is shown.
#[derive(Deserialize)]
struct Record {
    made_by_rt: bool,
    subnets: Vec<IpNet>,
    leases: Vec<Lease>,
}

/// The bridges that have leases, sorted by name, and the leases of each by id.
///
/// # Errors
/// When a record cannot be read.
pub(crate) fn bridges() -> Result<Vec<Bridge>> {
    let directory = Path::new(super::DIRECTORY);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!(
                "{}: permission denied (EACCES); run rt as root",
                super::DIRECTORY
            )
        }
        entries => entries.context(super::DIRECTORY)?,
    };
    let mut bridges = Vec::new();
    for entry in entries {
        let entry = entry.context(super::DIRECTORY)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path().join("leases.json");
        let text = match fs::read(&path) {
            // The lock beside the bridges, or the last lease has ended meanwhile.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            text => text.with_context(|| path.display().to_string())?,
        };
        let record: Record =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        bridges.push(Bridge::new(name, record));
    }
    bridges.retain(|bridge| !bridge.leases.is_empty());
    bridges.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(bridges)
}

impl Bridge {
    fn new(name: String, record: Record) -> Bridge {
        let Record {
            made_by_rt,
            subnets,
            mut leases,
        } = record;
        leases.sort_by(|one, other| (&one.id, &one.root).cmp(&(&other.id, &other.root)));
        Bridge {
            name,
            made_by_rt,
            subnets,
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
