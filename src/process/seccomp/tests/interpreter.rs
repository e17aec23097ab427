//! An interpreter of filters, and a direct evaluation of profiles to compare it with.

use std::collections::HashMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use crate::process::seccomp::architectures::Family;
use seccompiler::sock_filter;

/// A system call as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) audit: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

/// Runs a filter as the kernel does (bpf(4), seccomp(2)).
pub(super) fn interpret(program: &[sock_filter], call: &Call) -> u32 {
    let load = |offset: u32| match offset {
        0 => call.number,
        4 => call.audit,
        _ => {
            let arg = call.args[(offset as usize - 16) / 8];
            (arg >> (8 * (offset % 8))) as u32
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
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
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            other => panic!("unexpected instruction: {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const X86: u32 = 0x4000_0003;

const KILL: u32 = 0;
const ENOSYS: u32 = 0x0005_0000 | 38;

fn action(name: &str, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

/// Whether all conditions hold, as libseccomp documents them.
fn holds(conditions: &[LinuxSeccompArg], args: &[u64; 6], wide: bool) -> bool {
    use LinuxSeccompOperator as Operator;
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    conditions.iter().all(|condition| {
        let argument = args[condition.index()] & width;
        let value = condition.value() & width;
        let two = condition.value_two().unwrap_or(0) & width;
        match condition.op() {
            Operator::ScmpCmpNe => argument != value,
            Operator::ScmpCmpLt => argument < value,
            Operator::ScmpCmpLe => argument <= value,
            Operator::ScmpCmpEq => argument == value,
            Operator::ScmpCmpGe => argument >= value,
            Operator::ScmpCmpGt => argument > value,
            Operator::ScmpCmpMaskedEq => argument & value == two & value,
        }
    })
}

/// A profile that is evaluated entry by entry for each call.
pub(super) struct ReferenceProfile<'a> {
    default: u32,
    own: u32,
    architectures: Vec<ArchitectureEntries<'a>>,
}

/// The entries for one architecture.
struct ArchitectureEntries<'a> {
    audit: u32,
    x32: bool,
    wide: bool,
    first: u32,
    newest: Option<u32>,
    entries: HashMap<u32, Vec<&'a LinuxSyscall>>,
}

impl<'a> ReferenceProfile<'a> {
    pub(super) fn new(profile: &'a LinuxSeccomp, family: &Family) -> ReferenceProfile<'a> {
        let listed = profile.architectures().clone().unwrap_or_default();
        let served = family.iter().enumerate();
        let served = served.filter(|(i, (name, _))| *i == 0 || listed.contains(name));
        let parts = served.map(|(_, (name, architecture))| {
            let mut entries: HashMap<u32, Vec<&LinuxSyscall>> = HashMap::new();
            for entry in profile.syscalls().iter().flatten() {
                for number in entry.names().iter().filter_map(|n| architecture.number(n)) {
                    entries.entry(number).or_default().push(entry);
                }
            }
            ArchitectureEntries {
                audit: architecture.audit,
                x32: *name == Arch::ScmpArchX32,
                wide: architecture.wide,
                first: architecture.first,
                newest: entries.keys().max().copied(),
                entries,
            }
        });
        ReferenceProfile {
            default: action(
                &profile.default_action().to_string(),
                profile.default_errno_ret(),
            ),
            own: family[0].1.audit,
            architectures: parts.collect(),
        }
    }

    /// Whether the result depends on the arguments.
    pub(super) fn is_conditional(&self, audit: u32, number: u32) -> bool {
        let parts = self.architectures.iter().filter(|part| part.audit == audit);
        let mut entries = parts.filter_map(|part| part.entries.get(&number)).flatten();
        entries.any(|entry| entry.args().is_some())
    }

    pub(super) fn return_value(&self, call: &Call) -> u32 {
        let is_x32 = call.audit == X86_64 && call.number >> 30 != 0;
        let mut parts = self.architectures.iter();
        let Some(part) = parts.find(|part| part.audit == call.audit && part.x32 == is_x32) else {
            // The number -1, which is not a system call.
            let none = call.number == u32::MAX && call.audit == self.own;
            return if none { self.default } else { KILL };
        };
        let lenient = [0x7fff_0000, 0x7ffc_0000, 0x7ff0_0000];
        let newest = part.newest.filter(|newest| *newest > part.first);
        if newest.is_some_and(|newest| call.number > newest)
            && !lenient.contains(&(self.default & 0xffff_0000))
        {
            return ENOSYS;
        }
        let mut conditional = None;
        for entry in part.entries.get(&call.number).into_iter().flatten() {
            let return_value = action(&entry.action().to_string(), entry.errno_ret());
            if return_value == self.default {
                continue;
            }
            let args = entry.args().as_deref().unwrap_or_default();
            if args.is_empty() {
                return return_value;
            }
            let of = |index| args.iter().filter(|arg| arg.index() == index).count();
            let about = if (0..6).any(|index| of(index) > 1) {
                args.chunks(1).any(|one| holds(one, &call.args, part.wide))
            } else {
                holds(args, &call.args, part.wide)
            };
            if about {
                conditional = conditional.or(Some(return_value));
            }
        }
        conditional.unwrap_or(self.default)
    }
}
