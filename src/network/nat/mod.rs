//! Network address translation: `rt.network.masquerade` and `rt.network.publish`, by nftables.
//!
//! A bridge has one table, of the family `inet` and with the name `rt-BRIDGE`, from its first
//! container with one of the annotations to its last.

mod conntrack;
mod family;
mod forward_policy;
mod forwarding;
mod hairpin;
mod netfilter;
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
use family::Family;
use netfilter::Netfilter;
pub(crate) use publish::{Port, Protocol};

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
    /// When nft(8) is missing, the container has no address for a port, a port is in use, or
    /// forwarding is off and may not be enabled.
    pub(super) fn check(&self, lease: &Lease, taken: &[Lease], proc: &Proc) -> Result<()> {
        program::nft().with_context(|| self.keys())?;
        let families = Family::of(lease);
        for port in &self.ports {
            if !families.iter().any(|family| family.has(port)) {
                let families: Vec<String> = families.iter().map(Family::to_string).collect();
                let reason = format!(
                    "the container has only an {} address",
                    families.join(" and ")
                );
                return Err(publish::refused(port, reason));
            }
        }
        taken::ensure_free(&self.ports, taken, proc)?;
        if self.masquerade {
            return Ok(());
        }
        (self.families(lease)).try_for_each(|family| forwarding::require(family, proc))
    }

    /// The families of which packets are forwarded. Those to a loopback address come from the host.
    fn families(&self, lease: &Lease) -> impl Iterator<Item = Family> {
        let used = |family: &Family| {
            self.masquerade
                || self
                    .ports
                    .iter()
                    .any(|port| family.has(port) && !port.is_only_at_loopback())
        };
        Family::of(lease).into_iter().filter(used)
    }

    /// Adds the rules of a container whose link is there. `subnets` are those of the bridge.
    ///
    /// # Errors
    /// When forwarding cannot be enabled, or the kernel or nft(8) fails.
    pub(super) fn wire(
        &self,
        lease: &Lease,
        subnets: &[IpNet],
        host: &Netlink,
        proc: &Proc,
    ) -> Result<()> {
        if self.masquerade {
            (self.families(lease)).try_for_each(|family| forwarding::enable(family, proc))?;
        }
        if !self.ports.is_empty() {
            hairpin::enable(host, &lease.host_interface)?;
        }
        // So that no command looks for the rules before nft(8) has ended, even if this process is
        // killed. And transactions at the same time would only be repeated.
        let records = Records::lock_or_make()?;
        let accepting = forward_policy::accept(&lease.bridge, &Netfilter::open()?)?;
        let transaction = format!("{}{accepting}", rules::add(lease, subnets));
        program::transaction(&transaction, Some(records.share()?)).with_context(|| self.keys())?;
        for tables in forward_policy::legacy_tables(proc)? {
            tables.accept(&lease.bridge)?;
        }
        conntrack::forget_former(&self.ports, lease)?;
        // After the rules, which refuse other packets with such an address.
        let has_ipv4 = Family::of(lease).contains(&Family::Ipv4);
        if has_ipv4 && self.ports.iter().any(Port::is_at_loopback) {
            forwarding::allow_loopback(&lease.bridge, proc)?;
        }
        Ok(())
    }

    /// Removes the rules of a container, which may never have been made, because nft(8) failed,
    /// or may be gone, because somebody has flushed all rules. Called only if the
    /// lease has masquerading or ports. `others` are the remaining leases of the bridge: the
    /// table goes with the last that uses it.
    ///
    /// # Errors
    /// When nft(8) fails.
    pub(crate) fn undo(lease: &Lease, others: &[Lease]) -> Result<()> {
        let (bridge, netfilter) = (&lease.bridge, Netfilter::open()?);
        let has_table = rules::has_table(bridge, &netfilter)?;
        if others.iter().any(uses_table) {
            if has_table {
                program::transaction(&rules::remove(lease), None)?;
            }
            return conntrack::forget(lease);
        }
        let proc = Proc::open().context("/proc")?;
        // While the rules are still there.
        forwarding::forbid_loopback(bridge, &proc)?;
        let mut transaction = forward_policy::forget(bridge, &netfilter)?;
        if has_table {
            transaction += &rules::remove_table(bridge);
        }
        if !transaction.is_empty() {
            program::transaction(&transaction, None)?;
        }
        let mut tables = forward_policy::legacy_tables(&proc)?.into_iter();
        tables.try_for_each(|tables| tables.forget(bridge))?;
        conntrack::forget(lease)
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
