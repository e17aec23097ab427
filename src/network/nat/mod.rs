//! Network address translation: `rt.network.masquerade` and `rt.network.publish`, by nftables.

mod publish;

use anyhow::Result;
use ipnet::IpNet;

use super::lease::Lease;
use crate::annotations::Annotations;
use crate::decisions::Decisions;
use crate::trusted_proc::Proc;
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
    pub(crate) fn plan(_annotations: &Annotations) -> Result<Nat> {
        Ok(Nat::default())
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
    /// When a port is in use, nft(8) is missing, or forwarding is off and may not be enabled.
    pub(crate) fn check(&self, _taken: &[Lease], _proc: &Proc) -> Result<()> {
        Ok(())
    }

    /// Adds the rules of a container whose link is there. `subnets` are those of the bridge,
    /// with the bridge's own addresses.
    ///
    /// # Errors
    /// When nft(8) refuses a rule, or forwarding cannot be enabled.
    pub(crate) fn wire(&self, _lease: &Lease, _subnets: &[IpNet], _proc: &Proc) -> Result<()> {
        Ok(())
    }

    /// Removes the rules of a container, which may never have been made. Called only if the
    /// lease has masquerading or ports. `others` are the remaining leases of the bridge: the
    /// table goes with the last that uses it.
    ///
    /// # Errors
    /// When nft(8) fails.
    pub(crate) fn undo(_lease: &Lease, _others: &[Lease]) -> Result<()> {
        Ok(())
    }

    /// Adds what is translated, one decision a line.
    pub(crate) fn decisions(&self, _to: &mut Decisions) {}
}
