//! Instructions, built from the end of a program to its beginning.
//!
//! Jumps go forward only, and those with a condition no further than 255
//! instructions (linux/filter.h). Built backwards, whatever a jump leads to is
//! there already: equal ends are shared, and where one is out of reach, a copy
//! or a long jump is put in between.

use std::collections::HashMap;

use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

use super::profile::Answer;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
pub(super) const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
pub(super) const IF_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;

/// The furthest that a comparison jumps.
const REACH: usize = u8::MAX as usize;

/// A place in the program that can be jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// What is at a label.
struct Place {
    /// Its instruction, counted from the end of the program.
    at: usize,
    /// The nearest one that leads to it.
    nearest: usize,
    /// When it is no more than that.
    returns: Option<Answer>,
}

/// A program that grows at its beginning.
#[derive(Default)]
pub(super) struct Code {
    /// The last one first.
    instructions: Vec<sock_filter>,
    places: Vec<Place>,
    returns: HashMap<Answer, Label>,
}

impl Code {
    pub(super) fn len(&self) -> usize {
        self.instructions.len()
    }

    pub(super) fn finish(mut self) -> BpfProgram {
        self.instructions.reverse();
        self.instructions
    }

    /// Answers, which ends the program.
    pub(super) fn answer(&mut self, answer: Answer) -> Label {
        if let Some(label) = self.returns.get(&answer) {
            return *label;
        }
        let label = self.push(RETURN, answer, (0, 0));
        self.places[label.0].returns = Some(answer);
        self.returns.insert(answer, label);
        label
    }

    /// Loads a part of the call, of which only the bits of `mask` count, and goes on at `next`.
    pub(super) fn load(&mut self, place: u32, mask: u32, next: Label) -> Label {
        if self.places[next.0].returns.is_some() {
            return next; // Whatever is loaded.
        }
        self.follow_with(next);
        if mask != u32::MAX {
            self.push(AND, mask, (0, 0));
        }
        self.push(LOAD, place, (0, 0))
    }

    /// Goes on at `hit` or at `miss`, depending on a comparison with what is loaded.
    pub(super) fn compare(&mut self, code: u32, value: u32, hit: Label, miss: Label) -> Label {
        if hit == miss {
            return hit;
        }
        // What brings the other one near may come between.
        self.bring_near(hit, 1);
        self.bring_near(miss, 0);
        let (hit, miss) = (self.distance(hit), self.distance(miss));
        // Both are within reach.
        self.push(code, value, (hit as u8, miss as u8))
    }

    /// How many instructions lie between the next one and `label`.
    fn distance(&self, label: Label) -> usize {
        self.len() - 1 - self.places[label.0].nearest
    }

    /// The same to the instruction itself. A program that long is refused.
    fn far(&self, label: Label) -> u32 {
        u32::try_from(self.len() - 1 - self.places[label.0].at).unwrap_or(u32::MAX)
    }

    /// Sees that a comparison reaches `label`, even when some more instructions come between.
    fn bring_near(&mut self, label: Label, more: usize) {
        if self.distance(label) + more > REACH {
            self.repeat(label);
        }
    }

    /// Sees that the next instruction is followed by what is at `label`.
    fn follow_with(&mut self, label: Label) {
        if self.distance(label) > 0 {
            self.repeat(label);
        }
    }

    fn repeat(&mut self, label: Label) {
        let (code, k) = match self.places[label.0].returns {
            Some(answer) => (RETURN, answer),
            None => (JUMP, self.far(label)),
        };
        let instruction = instruction(code, k, (0, 0));
        self.places[label.0].nearest = self.len();
        self.instructions.push(instruction);
    }

    fn push(&mut self, code: u32, k: u32, jumps: (u8, u8)) -> Label {
        self.places.push(Place {
            at: self.len(),
            nearest: self.len(),
            returns: None,
        });
        self.instructions.push(instruction(code, k, jumps));
        Label(self.places.len() - 1)
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
