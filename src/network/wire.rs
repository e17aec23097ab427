//! What the runtime does for a network: takes a lease before the clone, and makes the links
//! while init waits.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

use super::lease::{Lease, Owner};
use super::links::Pair;
use super::mac;
use super::netlink::Netlink;
use super::records::{self, Record, Records};
use super::release::{reclaim, undo};
use super::settings::Network;
use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;

/// A lease that was recorded, and what `wire` needs to know about the bridge.
pub(crate) struct Reservation {
    pub(crate) lease: Lease,
    /// Of the bridge, with its own addresses in them.
    subnets: Vec<IpNet>,
    /// The index of the bridge.
    bridge: u32,
    mtu: Option<u32>,
    /// In the host's network namespace.
    host: Netlink,
}

impl Network {
    /// Takes a lease, and makes the bridge if it is absent. [`super::release`] reverses it, also
    /// after an error. The container's directory must be there. `boot_id` is that of the host.
    ///
    /// # Errors
    /// When an address or port is taken, or the bridge cannot be used or made.
    pub(crate) fn lease(&self, owner: Owner, boot_id: &str, proc: &Proc) -> Result<Reservation> {
        let host = Netlink::open()?;
        let records = Records::lock_or_make()?;
        let mut record = self.record(boot_id)?;
        // The container of an earlier lease was removed by hand.
        while let Some(index) = record
            .leases
            .iter()
            .position(|lease| lease.belongs_to(owner))
        {
            let earlier = record.leases.remove(index);
            undo(&host, &earlier, &record.leases)?;
        }
        let bridge = self.find_bridge(&host, &record)?;
        let mut assigned = self.assign_all(owner, &bridge.subnets, &record, proc);
        if assigned.is_err() && self.reclaim_all(&records, &host, &mut record)? {
            assigned = self.assign_all(owner, &bridge.subnets, &record, proc);
        }
        let lease = assigned?;
        record.mac = bridge.mac.map(|mac| mac::text(&mac));
        record.subnets = bridge.subnets;
        record.leases.push(lease.clone());
        // Before the bridge is there, so that `rt delete` can always find it.
        records.write(&self.bridge, &record)?;
        let (link, mtu) = match (bridge.link, bridge.mac) {
            (None, Some(mac)) => (
                self.make_bridge(&host, (mac, &record.subnets), proc)?,
                self.mtu,
            ),
            (Some(link), _) => {
                let mtu = self.mtu.unwrap_or(link.mtu);
                (link, Some(mtu))
            }
            (None, None) => return Err(Errno::ENODEV).with_context(|| self.at("create it")),
        };
        records.unlock();
        Ok(Reservation {
            lease,
            subnets: record.subnets,
            bridge: link.index,
            mtu,
            host,
        })
    }

    /// Finds out what [`Network::lease`] would refuse, and changes nothing.
    ///
    /// # Errors
    /// As [`Network::lease`], as far as it can be known.
    pub(crate) fn check(&self, owner: Owner, boot_id: &str, proc: &Proc) -> Result<()> {
        let host = Netlink::open()?;
        let record = self.record(boot_id)?;
        let bridge = self.find_bridge(&host, &record)?;
        self.assign_all(owner, &bridge.subnets, &record, proc)?;
        if host.may_change_links() {
            Ok(())
        } else {
            Err(self.refused(super::settings::NO_PERMISSION))
        }
    }

    /// What is recorded about the bridge. After a reboot, nothing of it is there any more.
    fn record(&self, boot_id: &str) -> Result<Record> {
        let record = records::read(&self.bridge)?.filter(|record| record.boot_id == boot_id);
        Ok(record.unwrap_or_else(|| Record {
            boot_id: boot_id.to_owned(),
            ..Record::default()
        }))
    }

    /// The lease, if both its addresses and its ports are free.
    fn assign_all(
        &self,
        owner: Owner,
        subnets: &[IpNet],
        record: &Record,
        proc: &Proc,
    ) -> Result<Lease> {
        let lease = self.assign(owner, subnets, &record.leases)?;
        if self.nat.is_used() {
            let mut taken = record.leases.clone();
            for other in self.other_bridges()? {
                let other = records::read(&other)?.unwrap_or_default();
                if other.boot_id == record.boot_id {
                    taken.extend(other.leases);
                }
            }
            self.nat.check(&lease, &taken, proc)?;
        }
        Ok(lease)
    }

    /// Takes back the leases of containers that are gone. Returns whether there were any.
    fn reclaim_all(&self, records: &Records, host: &Netlink, own: &mut Record) -> Result<bool> {
        let mut reclaimed = reclaim(host, own)?;
        if reclaimed {
            records.write(&self.bridge, own)?;
        }
        for other in self.other_bridges()? {
            let mut record = records::read(&other)?.unwrap_or_default();
            if reclaim(host, &mut record)? {
                records.put(&other, &record)?;
                reclaimed = true;
            }
        }
        Ok(reclaimed)
    }

    /// The other bridges whose containers may have the ports of this one.
    fn other_bridges(&self) -> Result<Vec<String>> {
        if self.nat.ports.is_empty() {
            return Ok(Vec::new());
        }
        let mut bridges = records::bridges()?;
        bridges.retain(|bridge| *bridge != self.bridge);
        Ok(bridges)
    }

    /// Connects a container whose init process waits.
    ///
    /// # Errors
    /// When the kernel refuses a link, an address or a route, or NAT fails.
    pub(crate) fn wire(&self, reservation: &Reservation, pid: Pid, proc: &Proc) -> Result<()> {
        let Reservation { lease, host, .. } = reservation;
        let what = self.at("connect the container");
        let namespace = proc
            .link(&format!("{pid}/ns/net"), OFlag::O_RDONLY)
            .with_context(|| what.clone())?;
        let pair = Pair {
            host_interface: &lease.host_interface,
            interface: &lease.interface,
            mac: mac::parse(&lease.mac).ok_or(Errno::EINVAL)?,
            mtu: reservation.mtu,
            alias: &format!("rt: {}", lease.id),
            bridge: reservation.bridge,
        };
        host.make_pair(&pair, namespace.as_fd(), &what)
            .map_err(|error| self.not_permitted(error))?;
        let own = proc.link("self/ns/net", OFlag::O_RDONLY)?;
        let inside = open_in(namespace.as_fd(), own.as_fd()).with_context(|| what.clone())?;
        let link = inside.link(&lease.interface, &what)?;
        let index = link
            .ok_or(Errno::ENODEV)
            .with_context(|| what.clone())?
            .index;
        inside.raise_interface(index, (&lease.addresses, &lease.gateways), &what)?;
        if self.nat.is_used() {
            self.nat.wire(lease, &reservation.subnets, host, proc)?;
        }
        Ok(())
    }
}

/// A netlink socket of another network namespace: a socket belongs to the namespace in which it
/// was opened. `own` is that of this process, to which it returns.
pub(super) fn open_in(namespace: BorrowedFd, own: BorrowedFd) -> Result<Netlink> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let socket = Netlink::open();
    if let Err(errno) = setns(own, CloneFlags::CLONE_NEWNET) {
        // Everything else that this process does would happen in the container's network.
        let error = anyhow::Error::new(errno).context(
            "return to the host's network namespace: remove the container with rt delete --force",
        );
        log::error(&error, "rt");
        sys::exit(1);
    }
    socket
}
