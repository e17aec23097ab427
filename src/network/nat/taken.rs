//! Who else uses a port of the host: another container of `rt`, or a process.
//!
//! No process listens at a published port, so a process could be given the same one later. But
//! one that listens already would lose its callers to the container.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use super::publish::{Port, Protocol, refused};
use crate::network::lease::Lease;
use crate::trusted_proc::Proc;

/// Makes sure that nobody uses the ports.
///
/// # Errors
/// When somebody does, with the container's id or the process; or when the host has not the
/// address.
pub(super) fn ensure_free(ports: &[Port], leases: &[Lease], proc: &Proc) -> Result<()> {
    for port in ports {
        let overlaps = |lease: &&Lease| lease.ports.iter().any(|other| other.overlaps(port));
        if let Some(lease) = leases.iter().find(overlaps) {
            return Err(refused(
                port,
                format!("taken by the container {}", lease.id),
            ));
        }
        for address in addresses(port) {
            try_bind(port, address).map_err(|errno| explain(port, address, errno, proc))?;
        }
    }
    Ok(())
}

fn addresses(port: &Port) -> Vec<IpAddr> {
    match port.host_address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    }
}

/// The kernel knows best which sockets exclude each other: it is asked, and the socket is closed.
fn try_bind(port: &Port, address: IpAddr) -> nix::Result<()> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let kind = match port.protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = match socket(family, kind, SockFlag::SOCK_CLOEXEC, None) {
        // A kernel without IPv6 has no sockets that could be in the way.
        Err(Errno::EAFNOSUPPORT) if port.host_address.is_none() => return Ok(()),
        opened => opened?,
    };
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if port.protocol == Protocol::Tcp {
        // Closed connections of a server that has ended are no obstacle. For UDP this would allow
        // two sockets.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    let address = SockaddrStorage::from(SocketAddr::new(address, port.host_port));
    match bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address) {
        // IPv6 is disabled in this network namespace.
        Err(Errno::EADDRNOTAVAIL) if port.host_address.is_none() => Ok(()),
        bound => bound,
    }
}

fn explain(port: &Port, address: IpAddr, errno: Errno, proc: &Proc) -> Error {
    match errno {
        Errno::EADDRINUSE => match process_at(port, proc) {
            Some(process) => refused(port, format!("taken by {process}")),
            None => refused(port, "taken by a process of the host"),
        },
        Errno::EADDRNOTAVAIL => refused(port, format!("{address} is not an address of the host")),
        Errno::EACCES => refused(
            port,
            "only a process with CAP_NET_BIND_SERVICE may use a port below net.ipv4.ip_unprivileged_port_start",
        ),
        errno => refused(
            port,
            format!("bind: {}", crate::log::format_error(&errno.into())),
        ),
    }
}

/// The process that has a socket at the port: `nginx (pid 712)`.
fn process_at(port: &Port, proc: &Proc) -> Option<String> {
    let sockets: Vec<String> = inodes(port, proc)
        .into_iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let has_socket = |pid: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut texts = links.filter_map(|link| link.into_os_string().into_string().ok());
        !sockets.is_empty() && texts.any(|text| sockets.contains(&text))
    };
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pid = pids.into_iter().find(has_socket)?;
    let name = proc.read(&format!("{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim_end()))
}

/// The sockets that have the port, as proc_pid_net(5) lists them: those that listen, for TCP.
fn inodes(port: &Port, proc: &Proc) -> Vec<String> {
    const LISTEN: &str = "0A";
    let end = format!(":{:04X}", port.host_port);
    let tables = match port.protocol {
        Protocol::Tcp => ["net/tcp", "net/tcp6"],
        Protocol::Udp => ["net/udp", "net/udp6"],
    };
    let mut inodes = Vec::new();
    for text in tables.iter().filter_map(|table| proc.read(table).ok()) {
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, state, ..] = fields[..] else {
                continue;
            };
            let is_bound = port.protocol == Protocol::Udp || state == LISTEN;
            if local.ends_with(&end) && is_bound {
                inodes.extend(fields.get(9).map(|inode| (*inode).to_owned()));
            }
        }
    }
    inodes
}
