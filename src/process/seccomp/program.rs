//! From ranges of numbers to a program.
//!
//! ```text
//!     load the architecture
//!     is it x86-64? ── no ──▶ is it x86? ── no ──▶ .. ──▶ kill
//!     load the number
//!     number >= middle? ── no ──▶ number >= quarter? ── no ──▶ ..
//!           .. ──▶ answer, or look at arguments, answer
//! ```

use std::collections::HashMap;

use anyhow::{Result, ensure};
use seccompiler::BpfProgram;

use super::architectures::Architecture;
use super::arguments::decide;
use super::code::{Code, IF_EQUAL, Label};
use super::profile::Profile;
use super::rules::{FOREIGN, Range, Verdict, ranges};
use super::search::{self, search};
use super::{LONGEST, too_long};

/// Where in `struct seccomp_data` the parts of a call lie, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// # Errors
/// For a program that the kernel would not take, and for contradictions.
pub(super) fn compile(profile: &Profile) -> Result<BpfProgram> {
    let mut code = Code::default();
    let mut verdicts = HashMap::new();
    let mut next = code.answer(FOREIGN);
    let told_apart = profile.architectures.chunk_by(|a, b| a.audit == b.audit);
    let told_apart: Vec<&[&Architecture]> = told_apart.collect();
    for shared in told_apart.into_iter().rev() {
        let ranges = numbers(profile, shared)?;
        let found = by_number(&mut code, &ranges, profile, &mut verdicts);
        let section = code.load(NUMBER, u32::MAX, found);
        next = code.compare(IF_EQUAL, shared[0].audit, section, next);
        ensure!(code.len() < LONGEST, too_long());
    }
    code.load(ARCHITECTURE, u32::MAX, next);
    Ok(code.finish())
}

/// All numbers by which a call can come from architectures that the kernel does
/// not tell apart.
fn numbers(profile: &Profile, shared: &[&Architecture]) -> Result<Vec<Range>> {
    let mut all = Vec::new();
    let mut last = 0;
    for architecture in shared {
        all.extend(ranges(profile, architecture)?);
        last = architecture.last;
    }
    if last < u32::MAX {
        let range = |first, answer| Range {
            first,
            verdict: Verdict::Answer(answer),
        };
        all.push(range(last + 1, FOREIGN));
        // Not a call: by this number a tracer tells the kernel to make none.
        all.push(range(u32::MAX, profile.default));
    }
    Ok(all)
}

/// Finds the range that the number is in, and does as it says. Equal verdicts
/// are built once, for whichever number and architecture.
fn by_number(
    code: &mut Code,
    ranges: &[Range],
    profile: &Profile,
    verdicts: &mut HashMap<Verdict, Label>,
) -> Label {
    let mut known: HashMap<&Verdict, usize> = HashMap::new();
    let numbered: Vec<search::Range> = ranges
        .iter()
        .enumerate()
        .map(|(i, range)| search::Range {
            first: range.first,
            outcome: *known.entry(&range.verdict).or_insert(i),
        })
        .collect();
    search(code, &numbered, u32::MAX, &mut |code, i| {
        let verdict = &ranges[i].verdict;
        if let Some(label) = verdicts.get(verdict) {
            return *label;
        }
        let label = match verdict {
            Verdict::Answer(answer) => code.answer(*answer),
            Verdict::Depends { rules, wide } => {
                let default = code.answer(profile.default);
                decide(code, rules, *wide, default)
            }
        };
        verdicts.insert(verdict.clone(), label);
        label
    })
}
