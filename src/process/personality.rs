//! `linux.personality`: the execution domain of every process of the container.

use anyhow::bail;
use nix::sys::personality::{self, Persona};
use oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain};
use serde::{Deserialize, Serialize};

use crate::step::{Progress, Step};

/// The execution domain. Child processes inherit it (personality(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Personality {
    /// uname(2) names the machine's architecture. The flags of the caller's personality, such
    /// as ADDR_NO_RANDOMIZE, do not reach the container.
    Linux,
    /// uname(2) names a 32-bit architecture, such as i686.
    Linux32,
}

impl Personality {
    /// # Errors
    /// When flags are given. The specification knows none (config-linux.md, "Personality").
    pub(crate) fn plan(personality: &LinuxPersonality) -> anyhow::Result<Personality> {
        if let Some(flag) = personality.flags().iter().flatten().next() {
            bail!("linux.personality.flags[0]: unknown value {flag:?}: the specification has none");
        }
        Ok(match personality.domain() {
            LinuxPersonalityDomain::PerLinux => Personality::Linux,
            LinuxPersonalityDomain::PerLinux32 => Personality::Linux32,
        })
    }

    pub(super) fn describe(self) -> String {
        format!("set {}", self.name())
    }

    /// The domain, as in config.json.
    pub(super) fn name(self) -> &'static str {
        match self {
            Personality::Linux => "LINUX",
            Personality::Linux32 => "LINUX32",
        }
    }

    /// # Errors
    /// `EINVAL` when the kernel does not know the domain.
    pub(super) fn apply(self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Personality);
        // `PER_LINUX` and `PER_LINUX32` of the kernel's include/uapi/linux/personality.h, for
        // which nix has no names.
        let domain = match self {
            Personality::Linux => 0,
            Personality::Linux32 => 8,
        };
        personality::set(Persona::from_bits_retain(domain))?;
        Ok(())
    }
}
