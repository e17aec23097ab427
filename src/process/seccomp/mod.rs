//! `linux.seccomp`: compiles the profile to a filter (seccomp(2)).
//!
//! The whole profile becomes a single program in classic BPF. Several filters would not do:
//! the kernel applies the strictest of their return values, so that no filter could allow
//! what another one denies by default.
//!
//! [`profile`] validates config.json and turns names into numbers. [`rules`] assigns a decision
//! to each system call number of each architecture ([`architectures`]). [`program`] compiles
//! them to a binary search ([`search`]), which takes about ten instructions for any system
//! call. [`arguments`] searches the values of arguments in the same way.

mod architectures;
mod arguments;
mod code;
mod decisions;
mod permits;
mod profile;
mod program;
mod rules;
mod search;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::{Error, Result, anyhow};
use caps::Capability;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator};
use seccompiler::{BpfProgram, sock_filter};
use serde::{Deserialize, Serialize};

use crate::sys;

use architectures::{ALL_ARCHITECTURES, Family, HOST_FAMILY};
use decisions::Summary;
use profile::{ACTIONS, OPERATORS, Profile};

/// The most instructions of a filter (`BPF_MAXINSNS` of linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;

fn too_long() -> Error {
    anyhow!(
        "linux.seccomp: needs more than {MAX_INSTRUCTIONS} instructions, the most that a filter can have"
    )
}

/// The values that a profile may contain (features-linux.md, "Seccomp").
#[derive(Serialize)]
pub(crate) struct SeccompFeatures {
    actions: Vec<LinuxSeccompAction>,
    operators: [LinuxSeccompOperator; 7],
    archs: [Arch; 23],
    #[serde(rename = "knownFlags")]
    known_flags: [&'static str; 0],
    #[serde(rename = "supportedFlags")]
    supported_flags: [&'static str; 0],
}

pub(crate) fn features() -> SeccompFeatures {
    SeccompFeatures {
        actions: ACTIONS.map(|(action, ..)| action).to_vec(),
        operators: OPERATORS,
        archs: ALL_ARCHITECTURES,
        known_flags: [],
        supported_flags: [],
    }
}

/// The compiled filter.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<Instruction>", into = "Vec<Instruction>")]
pub(crate) struct Seccomp {
    program: BpfProgram,
    /// Only when it was just compiled, not when it was read from state.json.
    summary: Option<Summary>,
}

/// The fields of `struct sock_filter` (linux/filter.h).
type Instruction = (u16, u8, u8, u32);

impl From<Vec<Instruction>> for Seccomp {
    fn from(program: Vec<Instruction>) -> Seccomp {
        let instruction = |(code, jt, jf, k)| sock_filter { code, jt, jf, k };
        Seccomp {
            program: program.into_iter().map(instruction).collect(),
            summary: None,
        }
    }
}

impl From<Seccomp> for Vec<Instruction> {
    fn from(Seccomp { program, .. }: Seccomp) -> Vec<Instruction> {
        let instruction = |one: sock_filter| (one.code, one.jt, one.jf, one.k);
        program.into_iter().map(instruction).collect()
    }
}

impl fmt::Debug for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Seccomp({} instructions)", self.program.len())
    }
}

impl Seccomp {
    /// The capability to install a filter, which a process without no_new_privs needs.
    pub(super) const REQUIRED_CAPABILITY: Capability = Capability::CAP_SYS_ADMIN;

    /// # Errors
    /// For the first invalid or contradictory value, with its place in config.json; or when the
    /// program is longer than the kernel accepts.
    pub(super) fn plan(listed: &LinuxSeccomp) -> Result<Seccomp> {
        Self::of(listed, HOST_FAMILY)
    }

    fn of(listed: &LinuxSeccomp, family: &Family) -> Result<Seccomp> {
        let profile = Profile::plan(listed, family)?;
        Ok(Seccomp {
            program: program::compile(&profile)?,
            summary: Some(Summary::of(&profile, family)),
        })
    }

    /// # Errors
    /// `EACCES` without [`Seccomp::REQUIRED_CAPABILITY`] in the effective set, unless
    /// no_new_privs is set.
    pub(super) fn install(&self) -> nix::Result<()> {
        sys::seccomp_set_filter(&self.program)
    }
}
