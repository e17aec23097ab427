//! The end of a lease: links, rules and record are removed, and with the last lease the bridge.
//!
//! Every part may be missing, because a command may have been killed at any point. Links and
//! rules go before the record that names them.

use anyhow::Result;

use super::lease::{Lease, Owner};
use super::mac;
use super::nat::Nat;
use super::netlink::Netlink;
use super::records::{self, Record, Records};

/// Releases what `owner` has. `bridge` is the bridge that its annotations name; without it, all
/// bridges are searched.
///
/// # Errors
/// When a record cannot be read or written, or a link or rule cannot be removed.
pub(crate) fn release(owner: Owner, bridge: Option<&str>) -> Result<()> {
    let Some(records) = Records::lock()? else {
        return Ok(());
    };
    let bridges = match bridge {
        Some(bridge) => vec![bridge.to_owned()],
        None => records::bridges()?,
    };
    for bridge in &bridges {
        release_in(&records, bridge, owner)?;
    }
    records.remove_if_empty()
}

fn release_in(records: &Records, bridge: &str, owner: Owner) -> Result<()> {
    let mut record = records::read(bridge)?.unwrap_or_default();
    let own = (record.leases.iter()).position(|lease| lease.belongs_to(owner));
    if own.is_none() && !record.leases.is_empty() {
        return Ok(());
    }
    let host = Netlink::open()?;
    if let Some(own) = own {
        let lease = record.leases.remove(own);
        undo(&host, &lease, &record.leases)?;
    }
    // One look each time is enough: no abandoned lease stays at the front, so none is the last.
    while record.leases.first().is_some_and(Lease::is_abandoned) {
        let lease = record.leases.remove(0);
        undo(&host, &lease, &record.leases)?;
    }
    if record.leases.is_empty() {
        remove_bridge(&host, bridge, &record)?;
    }
    records.put(bridge, &record)
}

/// Removes the leases of containers that are gone from a record. Returns whether there were any.
///
/// # Errors
/// When a link or rule cannot be removed.
pub(super) fn reclaim(host: &Netlink, record: &mut Record) -> Result<bool> {
    let before = record.leases.len();
    while let Some(index) = record.leases.iter().position(Lease::is_abandoned) {
        let lease = record.leases.remove(index);
        undo(host, &lease, &record.leases)?;
    }
    Ok(record.leases.len() < before)
}

/// Removes the host's end of the link pair, and with it the container's, and the rules.
/// `others` are the bridge's remaining leases.
///
/// # Errors
/// When the kernel or nft(8) refuses it.
pub(super) fn undo(host: &Netlink, lease: &Lease, others: &[Lease]) -> Result<()> {
    host.delete_links(&[&lease.host_interface])?;
    if lease.masquerade || !lease.ports.is_empty() {
        Nat::undo(lease, others)?;
    }
    Ok(())
}

/// Removes a bridge that `rt` has made, and no other with its name.
fn remove_bridge(host: &Netlink, bridge: &str, record: &Record) -> Result<()> {
    if record.mac.is_none() {
        return Ok(());
    }
    let link = host.link(bridge, &format!("look for the bridge {bridge}"))?;
    match link {
        Some(link) if link.kind == "bridge" && record.mac == Some(mac::text(&link.mac)) => {
            host.delete_links(&[bridge])
        }
        _ => Ok(()),
    }
}
