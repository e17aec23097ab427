//! Compiles a profile to a BPF program.
//!
//! ```text
//!     load the architecture
//!     is it x86-64? ── no ──▶ is it x86? ── no ──▶ .. ──▶ kill
//!     load the number
//!     number >= middle? ── no ──▶ number >= quarter? ── no ──▶ ..
//!           .. ──▶ return, or compare arguments and return
//! ```

use std::collections::HashMap;

use anyhow::{Result, ensure};
use seccompiler::BpfProgram;

use super::architectures::Architecture;
use super::arguments::decide;
use super::code::{IF_EQUAL, Label, ProgramBuilder};
use super::profile::Profile;
use super::rules::{Decision, Range, UNLISTED_ARCHITECTURE, ranges};
use super::search::{self, search};
use super::{MAX_INSTRUCTIONS, too_long};

/// Offsets in `struct seccomp_data`, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// # Errors
/// When the program is longer than the kernel accepts, or entries contradict each other.
pub(super) fn compile(profile: &Profile) -> Result<BpfProgram> {
    let mut code = ProgramBuilder::default();
    let mut decisions = HashMap::new();
    let mut next = code.ret(UNLISTED_ARCHITECTURE);
    let by_audit = profile.architectures.chunk_by(|a, b| a.audit == b.audit);
    let by_audit: Vec<&[&Architecture]> = by_audit.collect();
    for shared in by_audit.into_iter().rev() {
        let ranges = numbers(profile, shared)?;
        let found = by_number(&mut code, &ranges, profile, &mut decisions);
        let section = code.load(NUMBER, u32::MAX, found);
        next = code.compare(IF_EQUAL, shared[0].audit, section, next);
        ensure!(code.len() < MAX_INSTRUCTIONS, too_long());
    }
    code.load(ARCHITECTURE, u32::MAX, next);
    Ok(code.finish())
}

/// The ranges of all numbers of architectures that share one `AUDIT_ARCH_*` value, as x86-64
/// and x32 do.
fn numbers(profile: &Profile, shared: &[&Architecture]) -> Result<Vec<Range>> {
    let mut all = Vec::new();
    let mut last = 0;
    for architecture in shared {
        all.extend(ranges(profile, architecture)?);
        last = architecture.last;
    }
    if last < u32::MAX {
        let range = |first, return_value| Range {
            first,
            decision: Decision::Always(return_value),
        };
        all.push(range(last + 1, UNLISTED_ARCHITECTURE));
        // Not a system call: a tracer sets this number (-1) to skip a call (ptrace(2)).
        all.push(range(u32::MAX, profile.default));
    }
    Ok(all)
}

/// Finds the range of the number and performs its decision. Equal decisions are compiled once,
/// for all numbers and architectures.
fn by_number(
    code: &mut ProgramBuilder,
    ranges: &[Range],
    profile: &Profile,
    decisions: &mut HashMap<Decision, Label>,
) -> Label {
    let mut known: HashMap<&Decision, usize> = HashMap::new();
    let numbered: Vec<search::Range> = ranges
        .iter()
        .enumerate()
        .map(|(i, range)| search::Range {
            first: range.first,
            outcome: *known.entry(&range.decision).or_insert(i),
        })
        .collect();
    search(code, &numbered, u32::MAX, &mut |code, i| {
        let decision = &ranges[i].decision;
        if let Some(label) = decisions.get(decision) {
            return *label;
        }
        let label = match decision {
            Decision::Always(return_value) => code.ret(*return_value),
            Decision::Conditional { rules, wide } => {
                let default = code.ret(profile.default);
                decide(code, rules, *wide, default)
            }
        };
        decisions.insert(decision.clone(), label);
        label
    })
}
