//! `linux.seccomp`: which system calls the process and its children may make.
//!
//! A profile becomes one program in the kernel's classic BPF. Several filters
//! would not add up: of their answers the kernel takes the strictest, so none
//! could allow what another one is silent about. A profile is read into numbers
//! ([`profile`]), spread over the numbers of each architecture's calls ([`rules`],
//! [`architectures`]), and these are searched by halves ([`program`], [`search`]):
//! about ten instructions for a call, whatever it is. Where arguments count, their
//! values are searched in the same way ([`arguments`]).

mod architectures;
mod arguments;
mod code;
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

use architectures::{Family, HERE, NAMES};
use profile::{ACTIONS, OPERATORS, Profile};

/// The instructions that a filter can have (`BPF_MAXINSNS` of linux/bpf_common.h).
const LONGEST: usize = 4096;

fn too_long() -> Error {
    anyhow!(
        "linux.seccomp: needs more than {LONGEST} instructions, the most that a filter can have"
    )
}

/// The words that a profile may use (features-linux.md, "Seccomp"), as serde reads them.
#[derive(Serialize)]
pub(crate) struct Vocabulary {
    actions: Vec<LinuxSeccompAction>,
    operators: [LinuxSeccompOperator; 7],
    archs: [Arch; 23],
    #[serde(rename = "knownFlags")]
    known_flags: [&'static str; 0],
    #[serde(rename = "supportedFlags")]
    supported_flags: [&'static str; 0],
}

pub(crate) fn vocabulary() -> Vocabulary {
    Vocabulary {
        actions: ACTIONS.map(|(action, ..)| action).to_vec(),
        operators: OPERATORS,
        archs: NAMES,
        known_flags: [],
        supported_flags: [],
    }
}

/// `linux.seccomp`, compiled.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<Instruction>", into = "Vec<Instruction>")]
pub(crate) struct Seccomp(BpfProgram);

/// `struct sock_filter` of linux/filter.h, field by field.
type Instruction = (u16, u8, u8, u32);

impl From<Vec<Instruction>> for Seccomp {
    fn from(program: Vec<Instruction>) -> Seccomp {
        let instruction = |(code, jt, jf, k)| sock_filter { code, jt, jf, k };
        Seccomp(program.into_iter().map(instruction).collect())
    }
}

impl From<Seccomp> for Vec<Instruction> {
    fn from(Seccomp(program): Seccomp) -> Vec<Instruction> {
        let instruction = |one: sock_filter| (one.code, one.jt, one.jf, one.k);
        program.into_iter().map(instruction).collect()
    }
}

impl fmt::Debug for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Seccomp({} instructions)", self.0.len())
    }
}

impl Seccomp {
    /// The right to install a filter, for a process that can still gain others.
    pub(super) const REQUIRED_CAPABILITY: Capability = Capability::CAP_SYS_ADMIN;

    /// # Errors
    /// The first thing that means nothing or contradicts another, by its place
    /// in config.json; or when the program is longer than the kernel allows.
    pub(super) fn plan(listed: &LinuxSeccomp) -> Result<Seccomp> {
        Self::of(listed, HERE)
    }

    fn of(listed: &LinuxSeccomp, family: &Family) -> Result<Seccomp> {
        program::compile(&Profile::plan(listed, family)?).map(Seccomp)
    }

    /// # Errors
    /// `EACCES` without [`Seccomp::REQUIRED_CAPABILITY`] in the effective set, unless
    /// no_new_privs is set.
    pub(super) fn install(&self) -> nix::Result<()> {
        sys::seccomp_set_filter(&self.0)
    }
}
