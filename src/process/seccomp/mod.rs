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

mod agent;
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
use std::os::fd::OwnedFd;

use anyhow::{Error, Result, anyhow};
use caps::Capability;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator};
use seccompiler::{BpfProgram, sock_filter};
use serde::{Deserialize, Serialize};

use crate::sys::{self, ListenerFailure};

pub(crate) use agent::Agent;
use agent::FLAGS;
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
    known_flags: [&'static str; FLAGS.len()],
    #[serde(rename = "supportedFlags")]
    supported_flags: Vec<&'static str>,
}

pub(crate) fn features() -> SeccompFeatures {
    SeccompFeatures {
        actions: ACTIONS.map(|(action, ..)| action).to_vec(),
        operators: OPERATORS,
        archs: ALL_ARCHITECTURES,
        known_flags: FLAGS.map(|(name, ..)| name),
        supported_flags: (FLAGS.iter())
            .filter(|(.., flag)| sys::supports_seccomp_flag(*flag))
            .map(|(name, ..)| *name)
            .collect(),
    }
}

/// The compiled filter.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Seccomp {
    program: BpfProgram,
    /// Of seccomp(2).
    flags: u64,
    /// Only if the program passes system calls to it.
    agent: Option<Agent>,
    /// Only when it was just compiled, not when it was read from state.json.
    summary: Option<Summary>,
}

/// The fields of `struct sock_filter` (linux/filter.h).
type Instruction = (u16, u8, u8, u32);

impl From<Saved> for Seccomp {
    fn from(saved: Saved) -> Seccomp {
        let (program, flags, agent) = match saved {
            Saved::Filter {
                program,
                flags,
                agent,
            } => (program, flags, agent),
            Saved::Program(program) => (program, 0, None),
        };
        let instruction = |(code, jt, jf, k)| sock_filter { code, jt, jf, k };
        Seccomp {
            program: program.into_iter().map(instruction).collect(),
            flags,
            agent,
            summary: None,
        }
    }
}

impl From<Seccomp> for Saved {
    fn from(filter: Seccomp) -> Saved {
        let instruction = |one: sock_filter| (one.code, one.jt, one.jf, one.k);
        Saved::Filter {
            program: filter.program.into_iter().map(instruction).collect(),
            flags: filter.flags,
            agent: filter.agent,
        }
    }
}

/// A filter in state.json.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Saved {
    Filter {
        program: Vec<Instruction>,
        flags: u64,
        agent: Option<Agent>,
    },
    /// By a version of `rt` that had no flags.
    Program(Vec<Instruction>),
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
        let agent = Agent::plan(listed, &profile)?;
        Ok(Seccomp {
            program: program::compile(&profile)?,
            flags: agent::flags(listed, agent.as_ref()),
            agent,
            summary: Some(Summary::of(&profile, family)),
        })
    }

    /// The agent that decides about system calls under this filter.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The program as the kernel takes it, `struct sock_filter` for each instruction, and those flags of
    /// seccomp(2) that a filter of a restored process can have.
    pub(crate) fn to_image(&self) -> (Vec<u8>, u32) {
        let instructions = self.program.iter().flat_map(|one| {
            let [a, b] = one.code.to_ne_bytes();
            let [c, d, e, f] = one.k.to_ne_bytes();
            [a, b, one.jt, one.jf, c, d, e, f]
        });
        let kept = libc::SECCOMP_FILTER_FLAG_LOG;
        (instructions.collect(), (self.flags & kept) as u32)
    }

    /// Executes the program under the filter, after `hand_over` has given its listener to the agent.
    /// Returns only on failure.
    pub(super) fn execute_with_agent<E>(
        &self,
        program: &sys::Program,
        hand_over: impl FnOnce(OwnedFd) -> Result<(), E>,
    ) -> ListenerFailure<E> {
        sys::execve_with_listener((&self.program, self.flags), program, hand_over)
    }

    /// Installs the filter for this process. If it passes system calls to an agent, they fail with
    /// `ENOSYS`.
    ///
    /// # Errors
    /// `EACCES` without [`Seccomp::REQUIRED_CAPABILITY`] in the effective set, unless
    /// no_new_privs is set.
    pub(super) fn install(&self) -> nix::Result<()> {
        // It is about the wait for an agent, which is not asked under this filter.
        let flags = self.flags & !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        sys::seccomp_set_filter(&self.program, flags)
    }
}
