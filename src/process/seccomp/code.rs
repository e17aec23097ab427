//! Builds a BPF program from its end to its beginning.
//!
//! BPF jumps go forward only, and conditional jumps at most 255 instructions
//! (linux/filter.h). Because the program is built backwards, the target of each jump exists
//! already, equal ends are shared, and when a target is too far away, a copy of it or an
//! unconditional jump is inserted in between.

use std::collections::HashMap;

use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

use super::profile::ReturnValue;

pub(super) const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
pub(super) const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
pub(super) const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
pub(super) const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const IF_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

/// The longest conditional jump, in instructions.
const MAX_JUMP: usize = u8::MAX as usize;

/// A jump target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// The position of a label.
struct Target {
    /// The index of its instruction, counted from the end of the program.
    at: usize,
    /// The index of the nearest instruction that has the same effect: itself, a copy, or a jump
    /// to it.
    nearest: usize,
    /// The return value, if the instruction is a return.
    returns: Option<ReturnValue>,
}

/// A program that grows at its beginning.
#[derive(Default)]
pub(super) struct ProgramBuilder {
    /// In reverse order.
    instructions: Vec<sock_filter>,
    targets: Vec<Target>,
    returns: HashMap<ReturnValue, Label>,
}

impl ProgramBuilder {
    pub(super) fn len(&self) -> usize {
        self.instructions.len()
    }

    pub(super) fn finish(mut self) -> BpfProgram {
        self.instructions.reverse();
        self.instructions
    }

    /// Returns a value, which ends the program.
    pub(super) fn ret(&mut self, return_value: ReturnValue) -> Label {
        if let Some(label) = self.returns.get(&return_value) {
            return *label;
        }
        let label = self.push(RETURN, return_value, (0, 0));
        self.targets[label.0].returns = Some(return_value);
        self.returns.insert(return_value, label);
        label
    }

    /// Loads the 32 bits at `offset` of `struct seccomp_data`, masked by `mask`, and continues at
    /// `next`.
    pub(super) fn load(&mut self, offset: u32, mask: u32, next: Label) -> Label {
        if self.targets[next.0].returns.is_some() {
            return next; // A return does not use the accumulator.
        }
        self.ensure_adjacent(next);
        if mask != u32::MAX {
            self.push(AND, mask, (0, 0));
        }
        self.push(LOAD, offset, (0, 0))
    }

    /// Jumps to `hit` if the comparison of the accumulator with `value` holds, otherwise to
    /// `miss`.
    pub(super) fn compare(&mut self, code: u32, value: u32, hit: Label, miss: Label) -> Label {
        if hit == miss {
            return hit;
        }
        // One more instruction: bringing `miss` near may insert one.
        self.ensure_reachable(hit, 1);
        self.ensure_reachable(miss, 0);
        let (hit, miss) = (self.distance(hit), self.distance(miss));
        // Neither exceeds MAX_JUMP now.
        self.push(code, value, (hit as u8, miss as u8))
    }

    /// How many instructions are between the next one and the nearest for `label`.
    fn distance(&self, label: Label) -> usize {
        self.len() - 1 - self.targets[label.0].nearest
    }

    /// How many instructions are between the next one and `label` itself. A program for which
    /// this overflows is refused as too long.
    fn far(&self, label: Label) -> u32 {
        u32::try_from(self.len() - 1 - self.targets[label.0].at).unwrap_or(u32::MAX)
    }

    /// Makes sure that a conditional jump reaches `label`, even after `more` further instructions.
    fn ensure_reachable(&mut self, label: Label, more: usize) {
        if self.distance(label) + more > MAX_JUMP {
            self.repeat(label);
        }
    }

    /// Makes sure that the instruction at `label`, or an equivalent, follows the next one.
    fn ensure_adjacent(&mut self, label: Label) {
        if self.distance(label) > 0 {
            self.repeat(label);
        }
    }

    /// Inserts a copy of a return, or a jump to any other instruction.
    fn repeat(&mut self, label: Label) {
        let (code, k) = match self.targets[label.0].returns {
            Some(return_value) => (RETURN, return_value),
            None => (JUMP, self.far(label)),
        };
        let instruction = instruction(code, k, (0, 0));
        self.targets[label.0].nearest = self.len();
        self.instructions.push(instruction);
    }

    fn push(&mut self, code: u32, k: u32, jumps: (u8, u8)) -> Label {
        self.targets.push(Target {
            at: self.len(),
            nearest: self.len(),
            returns: None,
        });
        self.instructions.push(instruction(code, k, jumps));
        Label(self.targets.len() - 1)
    }
}

fn instruction(code: u32, k: u32, (jt, jf): (u8, u8)) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
