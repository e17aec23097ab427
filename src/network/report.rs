//! What `rt network` shows: bridges, leases, ports and traffic.

use std::fs;
use std::io;

use anyhow::{Context, Error, Result, anyhow};
use ipnet::IpNet;
use nix::errno::Errno;

use super::lease::Lease;
use super::nat::{Port, Protocol};
use super::records::{self, Record};
use crate::log::errno_text;

/// The counters of all links (proc_pid_net(5)).
const COUNTERS: &str = "/proc/self/net/dev";

/// A bridge with leases.
pub(crate) struct Bridge {
    pub(crate) name: String,
    /// False if it was there before the first container.
    pub(crate) made_by_rt: bool,
    /// With the bridge's own addresses.
    pub(crate) subnets: Vec<IpNet>,
    /// With the traffic since the link was made; `None` without a link.
    pub(crate) leases: Vec<(Lease, Option<Traffic>)>,
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
/// When a record or the counters cannot be read.
pub(crate) fn bridges() -> Result<Vec<Bridge>> {
    let mut bridges = Vec::new();
    // Unlike /sys/class/net, it always shows the links of the caller's network namespace.
    let counters = fs::read_to_string(COUNTERS).context(COUNTERS)?;
    for name in records::bridges().map_err(explain)? {
        // The last lease may have ended meanwhile.
        if let Some(record) = records::read(&name)?
            && !record.leases.is_empty()
        {
            bridges.push(Bridge::new(name, record, &counters));
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
    fn new(name: String, record: Record, counters: &str) -> Bridge {
        let mut leases = record.leases;
        leases.sort_by(|one, other| (&one.id, &one.root).cmp(&(&other.id, &other.root)));
        Bridge {
            name,
            made_by_rt: record.mac.is_some(),
            subnets: record.subnets,
            leases: leases
                .into_iter()
                .map(|lease| {
                    let traffic = Traffic::of(&lease.host_interface, counters);
                    (lease, traffic)
                })
                .collect(),
        }
    }
}

impl Traffic {
    /// That of the container behind this link of the host.
    fn of(link: &str, counters: &str) -> Option<Traffic> {
        let of_link = |line: &str| {
            let (name, counts) = line.split_once(':')?;
            (name.trim() == link).then(|| counts.to_owned())
        };
        let counts = counters.lines().find_map(of_link)?;
        let mut counts = counts.split_whitespace().map(|count| count.parse().ok());
        // What the host's end receives, the container sends. Eight counters are about what is
        // received, and eight about what is sent; bytes are the first of each.
        Some(Traffic {
            sent: counts.next()??,
            received: counts.nth(7)??,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traffic_is_seen_from_the_container() {
        let counters = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\nrt1:18446744073709551615 2 0 0 0 0 0 0 77 2 0 0 0 0 0 0\n";
        let traffic = Traffic {
            received: 77,
            sent: u64::MAX,
        };
        assert_eq!(Traffic::of("rt1", counters), Some(traffic));
        assert_eq!(Traffic::of("rt", counters), None);
    }

    #[test]
    fn a_port_has_the_form_of_the_annotation() {
        let port = |host_address: Option<&str>, protocol| Port {
            host_address: host_address.map(|address| address.parse().unwrap()),
            host_port: 8080,
            container_port: 80,
            protocol,
        };
        assert_eq!(port(None, Protocol::Tcp).text(), "8080:80/tcp");
        assert_eq!(
            port(Some("127.0.0.1"), Protocol::Udp).text(),
            "127.0.0.1:8080:80/udp"
        );
        assert_eq!(
            port(Some("fd00::1"), Protocol::Tcp).text(),
            "[fd00::1]:8080:80/tcp"
        );
    }
}
