//! Evaluates the compiled filter for a call, as the kernel does: whether the filter permits what
//! `rt` itself has to do under it.

use nix::libc;
use seccompiler::sock_filter;

use super::Seccomp;
use super::architectures::HOST_FAMILY;
use super::code::{AND, IF_EQUAL, IF_GREATER_OR_EQUAL, JUMP, LOAD};

/// The offsets of `nr`, `arch` and `args` in `struct seccomp_data`, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

impl Seccomp {
    /// Whether the host's system call `name` is carried out with these arguments.
    pub(in crate::process) fn permits(&self, name: &str, args: [u64; 6]) -> bool {
        let Some((_, host)) = HOST_FAMILY.first() else {
            return false;
        };
        let Some(number) = host.number(name) else {
            return false;
        };
        let load = |offset| match offset {
            NUMBER => number,
            ARCHITECTURE => host.audit,
            _ => {
                let offset = offset.saturating_sub(ARGUMENTS);
                let argument = args.get(offset as usize / 8).copied();
                (argument.unwrap_or_default() >> (8 * (offset % 8))) as u32
            }
        };
        [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG].contains(&evaluate(&self.program, load))
    }
}

/// The return value of a program of [`super::code`], which always ends in a return.
fn evaluate(program: &[sock_filter], load: impl Fn(u32) -> u32) -> u32 {
    let mut accumulator = 0;
    let mut rest = program.iter();
    while let Some(&sock_filter { code, jt, jf, k }) = rest.next() {
        let skip = match u32::from(code) {
            LOAD => {
                accumulator = load(k);
                0
            }
            AND => {
                accumulator &= k;
                0
            }
            JUMP => k as usize,
            IF_EQUAL => usize::from(if accumulator == k { jt } else { jf }),
            IF_GREATER_OR_EQUAL => usize::from(if accumulator >= k { jt } else { jf }),
            _ => return k,
        };
        if skip > 0 {
            rest.nth(skip - 1);
        }
    }
    libc::SECCOMP_RET_KILL_PROCESS
}
