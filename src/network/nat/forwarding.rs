//! The kernel's settings that forwarded packets need.

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;

use crate::annotations::key;
use crate::trusted_proc::Proc;

/// An address family, and the sysctl that lets the host forward its packets.
#[derive(Clone, Copy)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn sysctl(self) -> &'static str {
        match self {
            Family::Ipv4 => "net/ipv4/ip_forward",
            Family::Ipv6 => "net/ipv6/conf/all/forwarding",
        }
    }
}

/// Makes sure that the host forwards packets of the family: enables it if the container asks for
/// masquerading.
///
/// # Errors
/// When forwarding is off, and must not or cannot be enabled.
pub(super) fn ensure(family: Family, masquerade: bool, proc: &Proc) -> Result<()> {
    let path = family.sysctl();
    let name = path.replace('/', ".");
    let value = proc.read_sysctl(path).with_context(|| name.clone())?;
    if value.trim() != "0" {
        return Ok(());
    }
    if !masquerade {
        bail!(
            "annotations: {}: the host does not forward packets: run sysctl -w {name}=1, or set {} to \"true\", which enables it",
            key::PUBLISH,
            key::MASQUERADE
        );
    }
    write(proc, path, "1").map_err(|error| {
        anyhow!(
            "annotations: {}: enable {name}: {error:#}; run sysctl -w {name}=1 on the host",
            key::MASQUERADE
        )
    })
}

/// Lets packets with an address of 127.0.0.0/8 pass between the host and the bridge, which a port
/// that is published there needs. The rules refuse all that are not for such a port.
///
/// # Errors
/// When the sysctl cannot be written.
pub(super) fn allow_loopback(bridge: &str, proc: &Proc) -> Result<()> {
    set_loopback(bridge, "1", proc).map_err(|error| {
        anyhow!(
            "annotations: {}: enable net.ipv4.conf.{bridge}.route_localnet: {error:#}",
            key::PUBLISH
        )
    })
}

/// Reverses [`allow_loopback`]. The bridge may be gone.
///
/// # Errors
/// When the sysctl cannot be written.
pub(super) fn forbid_loopback(bridge: &str, proc: &Proc) -> Result<()> {
    match set_loopback(bridge, "0", proc) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENOENT) => Ok(()),
        done => done.with_context(|| format!("net.ipv4.conf.{bridge}.route_localnet")),
    }
}

fn set_loopback(bridge: &str, value: &str, proc: &Proc) -> Result<()> {
    let path = format!("net/ipv4/conf/{bridge}/route_localnet");
    if proc.read_sysctl(&path)?.trim() == value {
        return Ok(());
    }
    write(proc, &path, value)
}

/// Another mount over /proc/sys is how a sandbox makes it read-only.
fn write(proc: &Proc, path: &str, value: &str) -> Result<()> {
    match proc.write(&format!("sys/{path}"), value.as_bytes()) {
        Ok(()) => Ok(()),
        Err(Errno::EROFS | Errno::EXDEV) => Err(anyhow!("/proc/sys is read-only here")),
        Err(errno) => Err(Error::new(errno)),
    }
}
