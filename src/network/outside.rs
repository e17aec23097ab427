//! The network namespace of another process: whether its links lead out of it, and its `lo`.

use anyhow::{Context, Result};
use libc::{IFLA_EXT_MASK, IFLA_LINK_NETNSID, RTM_GETLINK};
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

use super::links::{SKIP_STATISTICS, interface_header};
use super::netlink::{Message, Netlink};
use crate::sys;
use crate::trusted_proc::Proc;

/// Whether a link in the network namespace of `pid` belongs to another one too, as one end of a veth pair does.
///
/// # Errors
/// When the namespace cannot be entered, or the kernel does not list its links.
pub(crate) fn leads_outside(pid: Pid, proc: &Proc) -> Result<bool> {
    // A socket stays in the namespace in which it is made.
    let netlink = within(pid, proc, Netlink::open)?;
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
    within(pid, proc, || sys::loopback_up().map(drop).context("lo"))
}

/// Calls `action` in the network namespace of `pid`, and returns to that of this process.
fn within<T>(pid: Pid, proc: &Proc, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let open = |process: &str| {
        let namespace = proc.link(&format!("{process}/ns/net"), OFlag::O_RDONLY);
        namespace.context("network namespace")
    };
    let (own, other) = (open("self")?, open(&pid.to_string())?);
    let enter = |namespace| setns(namespace, CloneFlags::CLONE_NEWNET).context("network namespace");
    enter(&other)?;
    let result = action();
    enter(&own)?;
    result
}
