//! Decides about each system call number of an architecture, as the profile's entries
//! demand.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Result, ensure};
use nix::libc;

use super::architectures::{Architecture, MultiplexedCall};
use super::profile::{Comparison, Condition, Profile, ReturnValue};
use super::{MAX_INSTRUCTIONS, too_long};

/// The most rules per architecture. Equal rules share instructions, so that more than
/// [`MAX_INSTRUCTIONS`] may fit; no real profile has as many as this.
const MAX_RULES: usize = 16 * MAX_INSTRUCTIONS;

/// For an architecture that the profile does not list, as in libseccomp.
pub(super) const UNLISTED_ARCHITECTURE: ReturnValue = libc::SECCOMP_RET_KILL_THREAD;

/// For a system call that is newer than the profile. Programs that try new system calls fall
/// back to older ones on ENOSYS only.
pub(super) const NEWER_SYSCALL: ReturnValue = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What the filter does about a system call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Decision {
    Always(ReturnValue),
    /// Returns the value of the first rule whose conditions all hold, else the default.
    Conditional {
        rules: Vec<Rule>,
        /// As [`Architecture::wide`].
        wide: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) return_value: ReturnValue,
}

/// A range of numbers with the same decision. It ends where the next range starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) decision: Decision,
}

/// Covers all numbers of `architecture`, in order. Adjacent ranges have different decisions.
pub(super) fn ranges(profile: &Profile, architecture: &Architecture) -> Result<Vec<Range>> {
    let (mut entries, newest) = syscall_entries(profile, architecture);
    entries.sort_by_key(|entry| entry.number); // A stable sort, which keeps the order of the profile.
    let default = || Decision::Always(profile.default);

    let mut ranges = Ranges::default();
    let mut next = architecture.first;
    for entries in entries.chunk_by(|a, b| a.number == b.number) {
        let number = entries[0].number;
        if next < number {
            ranges.push(next, default());
        }
        ranges.push(number, decision(entries, architecture.wide)?);
        ensure!(ranges.rules <= MAX_RULES, too_long());
        next = number + 1;
    }
    match newest {
        Some(newest) if denies_newer_syscalls(profile.default) => {
            if next <= newest {
                ranges.push(next, default());
            }
            ranges.push(newest + 1, Decision::Always(NEWER_SYSCALL));
        }
        _ => ranges.push(next, default()),
    }
    Ok(ranges.ranges)
}

/// Whether system calls above the newest one of the profile return ENOSYS: not if the default
/// allows them, or leaves the decision to a tracer, which may know them.
pub(super) fn denies_newer_syscalls(default: ReturnValue) -> bool {
    let action = default & libc::SECCOMP_RET_ACTION_FULL;
    ![
        libc::SECCOMP_RET_ALLOW,
        libc::SECCOMP_RET_LOG,
        libc::SECCOMP_RET_TRACE,
    ]
    .contains(&action)
}

/// Collects ranges.
#[derive(Default)]
struct Ranges {
    ranges: Vec<Range>,
    /// The number of rules in all ranges.
    rules: usize,
}

impl Ranges {
    fn push(&mut self, first: u32, decision: Decision) {
        if self
            .ranges
            .last()
            .is_some_and(|last| last.decision == decision)
        {
            return;
        }
        if let Decision::Conditional { rules, .. } = &decision {
            self.rules += rules.len();
        }
        self.ranges.push(Range { first, decision });
    }
}

/// An entry of the profile, applied to one system call number.
struct SyscallEntry<'a> {
    number: u32,
    /// The name of the system call in `linux.seccomp.syscalls[index]`.
    name: &'a str,
    index: usize,
    return_value: ReturnValue,
    /// As [`super::profile::Entry::alternatives`].
    alternatives: Cow<'a, [Vec<Condition>]>,
}

/// The entries in the order of the profile, followed by those for multiplexed system calls; and
/// the largest number that any entry names. The latter is `None` if the profile names at most
/// the architecture's very first system call: then it was not written for this architecture.
fn syscall_entries<'a>(
    profile: &'a Profile,
    architecture: &Architecture,
) -> (Vec<SyscallEntry<'a>>, Option<u32>) {
    let mut entries = Vec::new();
    let mut multiplexed = Vec::new();
    let mut newest = None;
    for (index, listed) in profile.entries.iter().enumerate() {
        // An entry with the default action is ignored. As in runc, it does not even override
        // another entry.
        let is_ignored = listed.return_value == profile.default;
        let entry = |number, name| SyscallEntry {
            number,
            name,
            index,
            return_value: listed.return_value,
            alternatives: Cow::Borrowed(listed.alternatives.as_slice()),
        };
        for name in listed.names {
            let number = architecture.number(name);
            newest = newest.max(number);
            if is_ignored {
                continue;
            }
            entries.extend(number.map(|number| entry(number, name.as_str())));
            if let Some(call) = architecture.multiplexed(name) {
                add_multiplexed(&mut multiplexed, call, entry(0, name), profile.default);
            }
        }
    }
    for (call, entry) in multiplexed {
        newest = newest.max(Some(call.number));
        entries.push(for_multiplexer(&call, entry));
    }
    (
        entries,
        newest.filter(|newest| *newest > architecture.first),
    )
}

/// Adds an entry about a system call that can also be made through socketcall(2) or ipc(2).
///
/// Its arguments are then in memory, which a filter cannot read. An entry with conditions
/// therefore counts as if its conditions held if it is stricter than the default, and is
/// ignored otherwise. Of several such entries the strictest counts.
fn add_multiplexed<'a>(
    multiplexed: &mut Vec<(MultiplexedCall, SyscallEntry<'a>)>,
    call: MultiplexedCall,
    entry: SyscallEntry<'a>,
    default: ReturnValue,
) {
    let earlier = multiplexed.iter_mut().find(|(other, _)| *other == call);
    let counts = |than| entry.alternatives.is_empty() || is_stricter(entry.return_value, than);
    match earlier {
        None if counts(default) => multiplexed.push((call, entry)),
        // As in `decision`, the first entry without conditions wins.
        Some((_, earlier)) if !earlier.alternatives.is_empty() && counts(earlier.return_value) => {
            *earlier = entry;
        }
        None | Some(_) => {}
    }
}

/// Turns an entry about a multiplexed system call into one about the multiplexer, with a
/// condition on its first argument.
fn for_multiplexer<'a>(call: &MultiplexedCall, entry: SyscallEntry<'a>) -> SyscallEntry<'a> {
    let comparison = Comparison::Masked {
        mask: call.mask,
        value: call.value,
    };
    SyscallEntry {
        number: call.number,
        alternatives: Cow::Owned(vec![vec![Condition {
            index: 0,
            comparison,
        }]]),
        ..entry
    }
}

/// Compares actions as the kernel does: as signed numbers, of which the smallest is the
/// strictest (seccomp(2)).
fn is_stricter(return_value: ReturnValue, than: ReturnValue) -> bool {
    let action =
        |return_value: ReturnValue| (return_value & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    action(return_value) < action(than)
}

/// Combines the entries for one number. As in libseccomp, the first entry without conditions
/// overrides all others. If all have conditions, they are tried in order.
fn decision(entries: &[SyscallEntry], wide: bool) -> Result<Decision> {
    if let Some(unconditional) = entries.iter().find(|entry| entry.alternatives.is_empty()) {
        return Ok(Decision::Always(unconditional.return_value));
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut return_values: HashMap<&[Condition], ReturnValue> = HashMap::new();
    for entry in entries {
        for conditions in entry.alternatives.iter() {
            match return_values.insert(conditions, entry.return_value) {
                None => rules.push(Rule {
                    conditions: conditions.clone(),
                    return_value: entry.return_value,
                }),
                Some(earlier) => ensure!(
                    earlier == entry.return_value,
                    "linux.seccomp.syscalls[{}]: an earlier entry has another action for {:?} with the same args",
                    entry.index,
                    entry.name
                ),
            }
        }
        ensure!(rules.len() <= MAX_RULES, too_long());
    }
    Ok(Decision::Conditional { rules, wide })
}
