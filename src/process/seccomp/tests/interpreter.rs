//! An interpreter of filters.

use seccompiler::sock_filter;

/// A system call as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

/// What a filter has decided.
pub(super) struct Verdict {
    pub(super) return_value: u32,
    /// How many instructions have led to it.
    pub(super) instructions: usize,
    /// Whether the number of the call was read.
    pub(super) reads_number: bool,
}

pub(super) fn interpret(program: &[sock_filter], call: &Call) -> u32 {
    run(program, call).return_value
}

/// Runs a filter as the kernel does (bpf(4), seccomp(2)).
pub(super) fn run(program: &[sock_filter], call: &Call) -> Verdict {
    let load = |offset: u32| match offset {
        0 => call.number,
        4 => call.audit,
        _ => {
            let arg = call.args[(offset as usize - 16) / 8];
            (arg >> (8 * (offset % 8))) as u32
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    let (mut instructions, mut reads_number) = (0, false);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        instructions += 1;
        let holds = match code {
            0x20 => {
                reads_number |= k == 0;
                accumulator = load(k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => {
                return Verdict {
                    return_value: k,
                    instructions,
                    reads_number,
                };
            }
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            other => panic!("unexpected instruction: {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}
