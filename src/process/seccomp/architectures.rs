//! The architectures that a kernel supports, and the numbers of their system calls.
//!
//! A filter sees the number of a system call and the architecture from which it is made. A
//! 64-bit kernel supports its own system calls and those of its 32-bit predecessor. x32
//! shares the `AUDIT_ARCH_*` value and the registers of x86-64, and has its own numbers from
//! 2^30.

use oci_spec::runtime::Arch;
use syscalls::{aarch64, arm, riscv64, x86, x86_64};

/// An architecture with its own system call numbers.
#[derive(Debug)]
pub(super) struct Architecture {
    /// The value that a filter sees (`AUDIT_ARCH_*` of linux/audit.h).
    pub(super) audit: u32,
    /// The first and the last of its numbers.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Whether arguments have 64 bits; otherwise only the lower 32 are significant.
    pub(super) wide: bool,
    /// Whether socketcall(2) and ipc(2) multiplex other system calls.
    pub(super) multiplexes: bool,
    numbers: fn(&str) -> Option<u32>,
}

impl Architecture {
    /// The number of a system call, if it exists on this architecture.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        (self.numbers)(name)
    }
}

/// The architectures that one kernel supports, with their names in the specification. The
/// kernel's own comes first; those with the same `AUDIT_ARCH_*` value are adjacent.
pub(super) type Family = [(Arch, &'static Architecture)];

pub(super) const X86_64_FAMILY: &Family = &[
    (Arch::ScmpArchX86_64, &X86_64),
    (Arch::ScmpArchX32, &X32),
    (Arch::ScmpArchX86, &X86),
];
pub(super) const AARCH64_FAMILY: &Family =
    &[(Arch::ScmpArchAarch64, &AARCH64), (Arch::ScmpArchArm, &ARM)];
pub(super) const RISCV64_FAMILY: &Family = &[(Arch::ScmpArchRiscv64, &RISCV64)];

/// The family of the host.
pub(super) const HOST_FAMILY: &Family = if cfg!(target_arch = "x86_64") {
    X86_64_FAMILY
} else if cfg!(target_arch = "aarch64") {
    AARCH64_FAMILY
} else if cfg!(target_arch = "riscv64") {
    RISCV64_FAMILY
} else {
    panic!("no table of system calls for this architecture")
};

/// Every architecture that a profile may list. Those outside of the family have no effect.
pub(super) const ALL_ARCHITECTURES: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// The bit that marks the number of an x32 system call (asm/unistd.h).
const X32_BIT: u32 = 1 << 30;

static X86_64: Architecture = Architecture {
    audit: 0xc000_003e,
    first: 0,
    last: X32_BIT - 1,
    wide: true,
    multiplexes: false,
    numbers: |name| find(X86_64_CALLS, name),
};

static X86: Architecture = Architecture {
    audit: 0x4000_0003,
    first: 0,
    last: u32::MAX,
    wide: false,
    multiplexes: true,
    numbers: |name| find(X86_CALLS, name),
};

/// Registers have 64 bits, but `long` and pointers have 32.
static X32: Architecture = Architecture {
    audit: X86_64.audit,
    first: X32_BIT,
    last: u32::MAX,
    wide: false,
    multiplexes: false,
    numbers: |name| match X32_CALLS.binary_search_by_key(&name, |call| call.0) {
        Ok(i) => X32_CALLS[i].1.map(|number| X32_BIT | number),
        Err(_) => find(X86_64_CALLS, name).map(|number| X32_BIT | number),
    },
};

static AARCH64: Architecture = Architecture {
    audit: 0xc000_00b7,
    first: 0,
    last: u32::MAX,
    wide: true,
    multiplexes: false,
    numbers: |name| find(AARCH64_CALLS, name),
};

static ARM: Architecture = Architecture {
    audit: 0x4000_0028,
    first: 0,
    last: u32::MAX,
    wide: false,
    multiplexes: false,
    numbers: |name| {
        let private = ARM_PRIVATE_CALLS.iter().find(|call| call.0 == name);
        private.map(|call| call.1).or_else(|| find(ARM_CALLS, name))
    },
};

static RISCV64: Architecture = Architecture {
    audit: 0xc000_00f3,
    first: 0,
    last: u32::MAX,
    wide: true,
    multiplexes: false,
    numbers: |name| find(RISCV64_CALLS, name),
};

/// A name and its number.
type Call = (&'static str, u32);

fn find(calls: &[Call], name: &str) -> Option<u32> {
    let found = calls.binary_search_by_key(&name, |call| call.0);
    found.ok().map(|i| calls[i].1)
}

/// The table of an architecture, sorted by name at compile time. A binary search takes nine
/// steps; the lookup of the syscalls crate compares all names one by one.
macro_rules! calls {
    ($architecture:ident) => {{
        const COUNT: usize = $architecture::Sysno::count();
        const CALLS: [Call; COUNT] = {
            let mut calls = [("", 0); COUNT];
            let (mut id, mut found) = (0, 0);
            while found < COUNT {
                if let Some(call) = $architecture::Sysno::new(id) {
                    calls[found] = (without_raw_prefix(call.name()), id as u32);
                    found += 1;
                }
                id += 1;
            }
            sorted(calls)
        };
        &CALLS
    }};
}

const X86_64_CALLS: &[Call] = calls!(x86_64);
const X86_CALLS: &[Call] = calls!(x86);
const AARCH64_CALLS: &[Call] = calls!(aarch64);
const ARM_CALLS: &[Call] = calls!(arm);
const RISCV64_CALLS: &[Call] = calls!(riscv64);

/// Removes the `r#` of a name that is a keyword of Rust: `r#break`.
const fn without_raw_prefix(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', bytes @ ..] => match std::str::from_utf8(bytes) {
            Ok(plain) => plain,
            Err(_) => name,
        },
        _ => name,
    }
}

/// Insertion sort, evaluated at compile time.
const fn sorted<const N: usize>(mut calls: [Call; N]) -> [Call; N] {
    let mut i = 1;
    while i < N {
        let call = calls[i];
        let mut place = i;
        while place > 0 && is_before(call.0, calls[place - 1].0) {
            calls[place] = calls[place - 1];
            place -= 1;
        }
        calls[place] = call;
        i += 1;
    }
    calls
}

const fn is_before(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}

/// Where x32 differs from x86-64 (asm/unistd_x32.h): system calls whose data has another layout
/// have numbers from 512, and some system calls do not exist (`None`).
const X32_CALLS: &[(&str, Option<u32>)] = &[
    ("_sysctl", None),
    ("create_module", None),
    ("epoll_ctl_old", None),
    ("epoll_wait_old", None),
    ("execve", Some(520)),
    ("execveat", Some(545)),
    ("get_kernel_syms", None),
    ("get_robust_list", Some(531)),
    ("get_thread_area", None),
    ("getsockopt", Some(542)),
    ("io_setup", Some(543)),
    ("io_submit", Some(544)),
    ("ioctl", Some(514)),
    ("kexec_load", Some(528)),
    ("move_pages", Some(533)),
    ("mq_notify", Some(527)),
    ("nfsservctl", None),
    ("preadv", Some(534)),
    ("preadv2", Some(546)),
    ("process_vm_readv", Some(539)),
    ("process_vm_writev", Some(540)),
    ("ptrace", Some(521)),
    ("pwritev", Some(535)),
    ("pwritev2", Some(547)),
    ("query_module", None),
    ("readv", Some(515)),
    ("recvfrom", Some(517)),
    ("recvmmsg", Some(537)),
    ("recvmsg", Some(519)),
    ("rt_sigaction", Some(512)),
    ("rt_sigpending", Some(522)),
    ("rt_sigqueueinfo", Some(524)),
    ("rt_sigreturn", Some(513)),
    ("rt_sigtimedwait", Some(523)),
    ("rt_tgsigqueueinfo", Some(536)),
    ("sendmmsg", Some(538)),
    ("sendmsg", Some(518)),
    ("set_robust_list", Some(530)),
    ("set_thread_area", None),
    ("setsockopt", Some(541)),
    ("sigaltstack", Some(525)),
    ("timer_create", Some(526)),
    ("uselib", None),
    ("vmsplice", Some(532)),
    ("vserver", None),
    ("waitid", Some(529)),
    ("writev", Some(516)),
];

/// `__ARM_NR_*` of asm/unistd.h, which the syscalls crate lacks.
const ARM_PRIVATE_CALLS: &[Call] = &[
    ("breakpoint", 0xf0001),
    ("cacheflush", 0xf0002),
    ("usr26", 0xf0003),
    ("usr32", 0xf0004),
    ("set_tls", 0xf0005),
    ("get_tls", 0xf0006),
];

/// A system call that can also be made through a multiplexer: the number of socketcall(2) or
/// ipc(2), and the value of the masked first argument that selects the call.
#[derive(PartialEq, Eq)]
pub(super) struct MultiplexedCall {
    pub(super) number: u32,
    pub(super) value: u64,
    pub(super) mask: u64,
}

impl Architecture {
    /// How to make a system call through socketcall(2) or ipc(2), if that is possible.
    pub(super) fn multiplexed(&self, name: &str) -> Option<MultiplexedCall> {
        if !self.multiplexes {
            return None;
        }
        let find = |calls: &[Call]| calls.iter().find(|call| call.0 == name).map(|call| call.1);
        let multiplexed = |multiplexer, value: u32, mask| {
            Some(MultiplexedCall {
                number: self.number(multiplexer)?,
                value: u64::from(value),
                mask,
            })
        };
        if let Some(value) = find(SOCKETCALL) {
            return multiplexed("socketcall", value, u64::MAX);
        }
        // The upper 16 bits are a version (linux/ipc.h), with which a program must not evade a rule.
        multiplexed("ipc", find(IPC)?, 0xffff)
    }
}

/// The calls of socketcall(2) (linux/net.h).
const SOCKETCALL: &[Call] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The calls of ipc(2) (linux/ipc.h).
const IPC: &[Call] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
