//! The kernel's settings that forwarded packets need.

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;

use super::family::Family;
use crate::annotations::key;
use crate::trusted_proc::Proc;

/// Makes sure that the host forwards packets of the family.
///
/// # Errors
/// When it does not.
pub(super) fn require(family: Family, proc: &Proc) -> Result<()> {
    if is_on(family, proc)? {
        return Ok(());
    }
    let name = name(family);
    bail!(
        "annotations: {}: the host does not forward {family} packets; run sysctl -w {name}=1, or set {} to \"true\", which enables it",
        key::PUBLISH,
        key::MASQUERADE
    );
}

/// Makes the host forward packets of the family. It stays so: others may rely on it by then.
///
/// # Errors
/// When the sysctl cannot be written.
pub(super) fn enable(family: Family, proc: &Proc) -> Result<()> {
    if is_on(family, proc)? {
        return Ok(());
    }
    write(proc, sysctl(family), "1").map_err(|error| {
        let name = name(family);
        anyhow!(
            "annotations: {}: enable {name}: {error:#}; run sysctl -w {name}=1 on the host",
            key::MASQUERADE
        )
    })
}

fn is_on(family: Family, proc: &Proc) -> Result<bool> {
    let value = proc.read_sysctl(sysctl(family));
    Ok(value.with_context(|| name(family))?.trim() != "0")
}

/// The path of the sysctl, relative to /proc/sys.
fn sysctl(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "net/ipv4/ip_forward",
        Family::Ipv6 => "net/ipv6/conf/all/forwarding",
    }
}

fn name(family: Family) -> String {
    sysctl(family).replace('/', ".")
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
