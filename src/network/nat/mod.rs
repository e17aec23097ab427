//! Network address translation: `rt.network.masquerade` and `rt.network.publish`, by nftables.
//!
//! A bridge has one table, of the family `inet` and with the name `rt-BRIDGE`, from its first
//! container with one of the annotations to its last.

mod forward_policy;
mod forwarding;
mod hairpin;
mod program;
mod publish;
mod rules;
mod taken;

use anyhow::{Context, Result};

use ipnet::IpNet;

use super::lease::Lease;
use super::netlink::Netlink;
use super::records::Records;
use crate::annotations::{Annotations, key};
use crate::decisions::Decisions;
use crate::trusted_proc::Proc;
use forwarding::Family;
pub(crate) use publish::Port;

/// What is translated for one container.
#[derive(Debug, Default)]
pub(crate) struct Nat {
    pub(crate) masquerade: bool,
    pub(crate) ports: Vec<Port>,
}

impl Nat {
    /// Plans from `rt.network.masquerade` and `rt.network.publish`.
    ///
    /// # Errors
    /// When a value is invalid.
    pub(crate) fn plan(annotations: &Annotations) -> Result<Nat> {
        Ok(Nat {
            masquerade: annotations.flag(key::MASQUERADE)?.unwrap_or(false),
            ports: publish::plan(annotations)?,
        })
    }

    /// Whether anything is translated. The other functions are called only then.
    pub(crate) fn is_used(&self) -> bool {
        self.masquerade || !self.ports.is_empty()
    }

    /// Looks for what would make `wire` fail, and changes nothing: `rt check` calls it too.
    /// `taken` are the leases of all bridges, read only if ports are published. The caller
    /// holds their lock, except for `rt check`.
    ///
    /// # Errors
    /// When a port is in use, or nft(8) is missing.
    pub(crate) fn check(&self, taken: &[Lease], proc: &Proc) -> Result<()> {
        program::nft()?;
        taken::ensure_free(&self.ports, taken, proc)
    }

    /// Adds the rules of a container whose link is there. `subnets` are those of the bridge.
    ///
    /// # Errors
    /// When the container has no address for a port, forwarding is off and may not be enabled, or
    /// nft(8) fails.
    pub(super) fn wire(
        &self,
        lease: &Lease,
        subnets: &[IpNet],
        host: &Netlink,
        proc: &Proc,
    ) -> Result<()> {
        let [ipv4, ipv6] = rules::container_addresses(lease).map(|address| address.is_some());
        for port in &self.ports {
            let (has, family) = match port.needs_ipv4() {
                Some(true) => (ipv4, "IPv4"),
                Some(false) => (ipv6, "IPv6"),
                None => continue,
            };
            if !has {
                let reason = format!("the container has no {family} address");
                return Err(publish::refused(port, reason));
            }
        }
        if ipv4 {
            forwarding::ensure(Family::Ipv4, self.masquerade, proc)?;
        }
        if ipv6 {
            forwarding::ensure(Family::Ipv6, self.masquerade, proc)?;
        }
        if !self.ports.is_empty() {
            hairpin::enable(host, &lease.host_interface)?;
        }
        // So that no command looks for the rules before nft(8) has ended, even if this process is
        // killed. And transactions at the same time would only be repeated.
        let records = Records::lock_or_make()?;
        let accepting = forward_policy::accept(&lease.bridge)?;
        let transaction = format!("{}{accepting}", rules::add(lease, subnets));
        program::transaction(&transaction, Some(records.share()?)).with_context(|| self.keys())?;
        for tables in forward_policy::legacy_tables(proc)? {
            tables.accept(&lease.bridge)?;
        }
        // After the rules, which refuse other packets with such an address.
        if ipv4 && self.ports.iter().any(at_loopback) {
            forwarding::allow_loopback(&lease.bridge, proc)?;
        }
        Ok(())
    }

    /// Removes the rules of a container, which may never have been made. Called only if the
    /// lease has masquerading or ports. `others` are the remaining leases of the bridge: the
    /// table goes with the last that uses it.
    ///
    /// # Errors
    /// When nft(8) fails.
    pub(crate) fn undo(lease: &Lease, others: &[Lease]) -> Result<()> {
        let bridge = &lease.bridge;
        if others.iter().any(uses_table) {
            return program::transaction(&rules::remove(lease), None);
        }
        let proc = Proc::open().context("/proc")?;
        // While the rules are still there.
        forwarding::forbid_loopback(bridge, &proc)?;
        let accepting = forward_policy::forget(bridge)?;
        let transaction = format!("{}{accepting}", rules::remove_table(bridge));
        program::transaction(&transaction, None)?;
        let mut tables = forward_policy::legacy_tables(&proc)?.into_iter();
        tables.try_for_each(|tables| tables.forget(bridge))
    }

    /// The annotations that need the rules, for errors.
    fn keys(&self) -> String {
        let used = match (self.masquerade, self.ports.is_empty()) {
            (true, false) => [key::MASQUERADE, key::PUBLISH].join(" and "),
            (true, true) => key::MASQUERADE.to_owned(),
            (false, _) => key::PUBLISH.to_owned(),
        };
        format!("annotations: {used}")
    }

    /// Adds what is translated, one decision a line.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        if self.masquerade {
            to.line("masqueraded: packets that leave the bridge get the host's address");
        }
        for port in &self.ports {
            let (host, container) = (port.on_host(), port.container_port);
            to.line(format!("published: {host} leads to port {container}"));
        }
    }
}

fn uses_table(lease: &Lease) -> bool {
    lease.masquerade || !lease.ports.is_empty()
}

/// Whether the port is published at an address of 127.0.0.0/8.
fn at_loopback(port: &Port) -> bool {
    match (port.specific_address(), port.needs_ipv4()) {
        (Some(address), _) => address.is_loopback(),
        (None, family) => family != Some(false),
    }
}
