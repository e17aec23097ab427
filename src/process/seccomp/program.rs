//! From ranges of numbers to instructions.
//!
//! ```text
//!     load the architecture
//!     is it x86-64? ── no ──▶ is it x86? ── no ──▶ .. ──▶ kill
//!     load the number
//!     number >= middle? ── no ──▶ number >= quarter? ── no ──▶ ..
//!           .. ──▶ answer, or load arguments, compare, answer
//! ```
//!
//! Jumps go forward only, and those with a condition no further than 255
//! instructions (linux/filter.h).

use anyhow::{Result, ensure};
use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

use super::architectures::Architecture;
use super::profile::{Answer, Condition, Profile, Test};
use super::rules::{FOREIGN, Range, Rule, Verdict, ranges};
use super::{LONGEST, too_long};

/// Where in `struct seccomp_data` the parts of a call lie, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const IF_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

/// # Errors
/// For a program that the kernel would not take, and for contradictions.
pub(super) fn compile(profile: &Profile) -> Result<BpfProgram> {
    let mut program = Program(Vec::new());
    program.push(LOAD, ARCHITECTURE);
    for shared in profile.architectures.chunk_by(|a, b| a.audit == b.audit) {
        let ranges = numbers(profile, shared)?;
        program.section(shared[0].audit, &ranges, profile.default);
        ensure!(program.0.len() < LONGEST, too_long());
    }
    program.push(RETURN, FOREIGN);
    Ok(program.0)
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

struct Program(BpfProgram);

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    Next,
    /// The end of the condition: it holds.
    Pass,
    /// The end of the rule: it does not apply.
    Fail,
}

/// A comparison whose goals are not known yet.
struct Open {
    at: usize,
    hit: To,
    miss: To,
    /// Where the condition ends.
    pass: usize,
}

impl Program {
    fn push(&mut self, code: u32, k: u32) -> usize {
        self.0.push(instruction(code, k));
        self.0.len() - 1
    }

    /// Everything about the calls of what the kernel takes for one architecture.
    fn section(&mut self, audit: u32, ranges: &[Range], default: Answer) {
        let test = self.push(IF_EQUAL, audit);
        self.push(LOAD, NUMBER);
        self.search(ranges, default);
        self.unless(test);
    }

    /// Lets the comparison at `test`, when it fails, jump to the end of the program.
    fn unless(&mut self, test: usize) {
        let distance = self.0.len() - test - 1;
        match u8::try_from(distance) {
            Ok(near) => self.0[test].jf = near,
            Err(_) => {
                self.0[test].jt = 1;
                let far = u32::try_from(distance).unwrap_or(u32::MAX);
                self.0.insert(test + 1, instruction(JUMP, far));
            }
        }
    }

    /// Finds the range that the number is in, and does as it says.
    fn search(&mut self, ranges: &[Range], default: Answer) {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        match (low, high) {
            ([], [range]) => self.verdict(&range.verdict, default),
            (_, []) => {}
            (low, high) => {
                let test = self.push(IF_GREATER_OR_EQUAL, high[0].first);
                self.search(high, default);
                self.unless(test);
                self.search(low, default);
            }
        }
    }

    fn verdict(&mut self, verdict: &Verdict, default: Answer) {
        let answer = match verdict {
            Verdict::Answer(answer) => *answer,
            Verdict::Depends { rules, wide } => {
                rules.iter().for_each(|rule| self.rule(rule, *wide));
                default
            }
        };
        self.push(RETURN, answer);
    }

    fn rule(&mut self, rule: &Rule, wide: bool) {
        let mut open = Vec::new();
        for condition in &rule.conditions {
            let first = open.len();
            self.condition(condition, wide, &mut open);
            let pass = self.0.len();
            open[first..].iter_mut().for_each(|jump| jump.pass = pass);
        }
        self.push(RETURN, rule.answer);
        let fail = self.0.len();
        for jump in open {
            let distance = |to| match to {
                To::Next => 0,
                // At most six conditions of six instructions lie between.
                To::Pass => (jump.pass - jump.at - 1) as u8,
                To::Fail => (fail - jump.at - 1) as u8,
            };
            self.0[jump.at].jt = distance(jump.hit);
            self.0[jump.at].jf = distance(jump.miss);
        }
    }

    /// The program's registers have 32 bits: first the upper halves are
    /// compared, then, if these are equal, the lower ones.
    fn condition(&mut self, condition: &Condition, wide: bool, open: &mut Vec<Open>) {
        let (low, high) = (
            ARGUMENTS + 8 * condition.index,
            ARGUMENTS + 8 * condition.index + 4,
        );
        let Compare {
            code,
            value,
            mask,
            holds,
        } = Compare::of(condition.test);
        let (hit, miss) = if holds {
            (To::Pass, To::Fail)
        } else {
            (To::Fail, To::Pass)
        };
        let upper_mask = upper(mask);
        if wide && upper_mask != 0 {
            self.load(high, upper_mask);
            if code != IF_EQUAL {
                self.compare(IF_GREATER, upper(value), hit, To::Next, open);
            }
            self.compare(IF_EQUAL, upper(value), To::Next, miss, open);
        }
        self.load(low, lower(mask));
        self.compare(code, lower(value), hit, miss, open);
    }

    fn load(&mut self, place: u32, mask: u32) {
        self.push(LOAD, place);
        if mask != u32::MAX {
            self.push(AND, mask);
        }
    }

    fn compare(&mut self, code: u32, k: u32, hit: To, miss: To, open: &mut Vec<Open>) {
        let at = self.push(code, k);
        open.push(Open {
            at,
            hit,
            miss,
            pass: 0,
        });
    }
}

/// A test in the three comparisons that there are.
struct Compare {
    code: u32,
    value: u64,
    mask: u64,
    /// Whether the test holds when the comparison does, or when it does not.
    holds: bool,
}

impl Compare {
    fn of(test: Test) -> Compare {
        let (code, value, mask, holds) = match test {
            Test::Equal(value) => (IF_EQUAL, value, u64::MAX, true),
            Test::NotEqual(value) => (IF_EQUAL, value, u64::MAX, false),
            Test::Greater(value) => (IF_GREATER, value, u64::MAX, true),
            Test::LessOrEqual(value) => (IF_GREATER, value, u64::MAX, false),
            Test::GreaterOrEqual(value) => (IF_GREATER_OR_EQUAL, value, u64::MAX, true),
            Test::Less(value) => (IF_GREATER_OR_EQUAL, value, u64::MAX, false),
            Test::Masked { mask, value } => (IF_EQUAL, value, mask, true),
        };
        Compare {
            code,
            value,
            mask,
            holds,
        }
    }
}

fn upper(value: u64) -> u32 {
    (value >> 32) as u32
}

fn lower(value: u64) -> u32 {
    value as u32
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}
