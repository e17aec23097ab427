//! The network namespace of another process: whether its links lead out of it, and its `lo`.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use libc::{IFLA_EXT_MASK, IFLA_LINK_NETNSID, RTM_GETLINK};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::links::{SKIP_STATISTICS, interface_header, up};
use super::netlink::{Message, Netlink};
use super::wire::open_in;
use crate::trusted_proc::Proc;

/// Whether a link in the network namespace of `pid` belongs to another one too, as one end of a veth pair does.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel does not list its links.
pub(crate) fn leads_outside(pid: Pid, proc: &Proc) -> Result<bool> {
    let netlink = open_within(pid, proc)?;
    let (what, header) = ("list the links of the container", interface_header(0, 0));
    let message = Message::new(RTM_GETLINK, 0, &header, what);
    let links = netlink.dump(&message.number(IFLA_EXT_MASK, SKIP_STATISTICS))?;
    let leads_outside =
        |link: &super::netlink::Answer| link.attribute(header.len(), IFLA_LINK_NETNSID).is_some();
    Ok(links.iter().any(leads_outside))
}

/// Brings up `lo` in the network namespace of `pid`.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel refuses.
pub(crate) fn bring_up_loopback(pid: Pid, proc: &Proc) -> Result<()> {
    let netlink = open_within(pid, proc)?;
    let what = "bring up lo of the container";
    let lo = netlink.link("lo", what)?;
    let index = lo.ok_or(Errno::ENODEV).context(what)?.index;
    netlink.change(&[up(index, what)])
}

/// A netlink socket of the network namespace of `pid`.
fn open_within(pid: Pid, proc: &Proc) -> Result<Netlink> {
    let open = |process: &str| proc.link(&format!("{process}/ns/net"), OFlag::O_RDONLY);
    let what = "enter the container's network namespace";
    let (own, other) = (open("self"), open(&pid.to_string()));
    open_in(other.context(what)?.as_fd(), own.context(what)?.as_fd()).context(what)
}
