//! The decisions about the seccomp filter, as text. The program itself is too long to read: a
//! checksum stands for it.

use std::ptr;

use nix::errno::Errno;
use nix::libc;
use oci_spec::runtime::Arch;

use super::Seccomp;
use super::agent::FLAGS;
use super::architectures::Family;
use super::profile::{Profile, ReturnValue};
use super::rules::{NEWER_SYSCALL, UNLISTED_ARCHITECTURE, denies_newer_syscalls};
use crate::decisions::{Decisions, list, word};

/// The most architectures that one kernel supports.
const MAX_FAMILY: usize = 3;

/// What the profile says in general. The program does not show it.
#[derive(Clone, Copy)]
pub(super) struct Summary {
    default: ReturnValue,
    architectures: [Option<Arch>; MAX_FAMILY],
    entries: usize,
    names: usize,
}

impl Summary {
    pub(super) fn of(profile: &Profile, family: &Family) -> Summary {
        let is_listed = |member| {
            profile
                .architectures
                .iter()
                .any(|one| ptr::eq(*one, member))
        };
        let mut listed = family.iter().filter(|(_, member)| is_listed(*member));
        Summary {
            default: profile.default,
            architectures: std::array::from_fn(|_| listed.next().map(|(name, _)| *name)),
            entries: profile.entries.len(),
            names: profile.entries.iter().map(|entry| entry.names.len()).sum(),
        }
    }

    fn decisions(&self, to: &mut Decisions) {
        let names = list(self.architectures.iter().flatten());
        let other = action(UNLISTED_ARCHITECTURE);
        to.line(format!("architectures: {names}; in any other: {other}"));
        let default = action(self.default);
        to.line(if denies_newer_syscalls(self.default) {
            let newer = action(NEWER_SYSCALL);
            format!("default: {default}; newer than all named system calls: {newer}")
        } else {
            format!("default: {default}")
        });
        let Summary { entries, names, .. } = self;
        to.line(format!("entries: {entries}, with {names} names"));
    }
}

impl Seccomp {
    pub(in crate::process) fn decisions(&self, to: &mut Decisions) {
        to.group("seccomp filter", |to| {
            if let Some(summary) = &self.summary {
                summary.decisions(to);
            }
            let names = FLAGS.iter().filter(|(.., flag)| self.flags & flag != 0);
            to.line(format!("flags: {}", list(names.map(|(name, ..)| name))));
            if let Some(agent) = &self.agent {
                let path = word(agent.path.to_string_lossy());
                let metadata = agent
                    .metadata
                    .as_ref()
                    .map(|text| format!(", metadata {}", word(text)));
                to.line(format!("agent {path}{}", metadata.unwrap_or_default()));
            }
            let (length, checksum) = (self.program.len(), self.checksum());
            to.line(format!(
                "program: {length} instructions, checksum {checksum:016x}"
            ));
        });
    }

    /// The 64-bit FNV-1a hash of the instructions.
    fn checksum(&self) -> u64 {
        let bytes = self.program.iter().flat_map(|one| {
            let code = one.code.to_be_bytes().into_iter();
            code.chain([one.jt, one.jf]).chain(one.k.to_be_bytes())
        });
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// The action of a return value, in the terms of seccomp(2).
fn action(value: ReturnValue) -> String {
    let data = value & libc::SECCOMP_RET_DATA;
    match value & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => "allow".to_owned(),
        libc::SECCOMP_RET_ERRNO => match Errno::from_raw(data.cast_signed()) {
            Errno::UnknownErrno => format!("errno {data}"),
            errno => format!("errno {errno:?}"),
        },
        libc::SECCOMP_RET_KILL_PROCESS => "kill the process".to_owned(),
        libc::SECCOMP_RET_KILL_THREAD => "kill the thread".to_owned(),
        libc::SECCOMP_RET_LOG => "log".to_owned(),
        libc::SECCOMP_RET_USER_NOTIF => "ask the agent".to_owned(),
        libc::SECCOMP_RET_TRACE => format!("trace {data}"),
        libc::SECCOMP_RET_TRAP => "trap".to_owned(),
        other => format!("{other:#x}"),
    }
}
