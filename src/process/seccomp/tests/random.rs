//! Random profiles, reproducible by their seed.

use serde_json::{Value, json};

const ACTIONS: [&str; 7] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_LOG",
    "SCMP_ACT_ALLOW",
];
const ARCHITECTURES: [&str; 4] = [
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_S390X",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
/// The operators of real profiles occur more often.
const WEIGHTED_OPERATORS: [&str; 10] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_EQ",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_MASKED_EQ",
];
/// On all architectures, on some (`chown32`, `_llseek`, `uselib`), with another number on x32 (`execve`, `ioctl`),
/// newer than libseccomp (`mseal`, `file_setattr`), and unknown.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "execve",
    "ioctl",
    "clone",
    "personality",
    "statx",
    "openat2",
    "chown32",
    "futex_waitv",
    "no_such_call",
    "close",
    "fstat",
    "mmap",
    "kill",
    "prctl",
    "unshare",
    "bpf",
    "clone3",
    "_llseek",
    "uselib",
    "mseal",
    "file_setattr",
    "readv",
];
/// socketcall(2), ipc(2), and what they multiplex.
const MULTIPLEXED: [&str; 12] = [
    "socket",
    "bind",
    "recv",
    "accept4",
    "sendmsg",
    "socketcall",
    "shmat",
    "msgget",
    "semop",
    "semtimedop",
    "shmctl",
    "ipc",
];

/// Marsaglia's xorshift.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// Half of the values are close to each other, in one half or in both.
    fn value(&mut self) -> u64 {
        if self.below(2) == 0 {
            let bits = self.of(&[2, 8, 31, 32, 33, 63]);
            return self.below(1 << bits);
        }
        self.below(4) << self.of(&[0, 0, 32]) | self.below(3)
    }

    fn errno(&mut self, action: &str) -> Option<u64> {
        let has = ["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"].contains(&action);
        // libseccomp refuses 4095.
        (has && self.below(2) == 0).then(|| self.below(4095))
    }

    pub(super) fn profile(&mut self) -> Value {
        let default = self.of(&ACTIONS);
        let errno = self.errno(default);
        let listed = ARCHITECTURES.iter().filter(|_| self.below(2) == 0);
        let listed: Vec<_> = listed.collect();
        let syscalls: Vec<_> = (0..self.below(12)).map(|_| self.entry()).collect();
        json!({
            "defaultAction": default, "defaultErrnoRet": errno,
            "architectures": listed, "syscalls": syscalls,
        })
    }

    /// A profile with many entries for a few system calls and their first arguments.
    pub(super) fn conflicting(&mut self) -> Value {
        let syscalls: Vec<_> = (0..30).map(|_| self.conflicting_entry()).collect();
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHITECTURES,
            "syscalls": syscalls,
        })
    }

    fn conflicting_entry(&mut self) -> Value {
        let (count, shift) = (self.of(&[1, 1, 2, 3]), self.of(&[0, 0, 32]));
        let mut sum = 0;
        let args = (0..count).map(|index| {
            let op = self.of(&WEIGHTED_OPERATORS);
            let [value, two] = [0; 2].map(|_| self.below(9) << shift | self.below(3));
            sum += value + (value & two) * u64::from(op == "SCMP_CMP_MASKED_EQ");
            json!({"index": index, "op": op, "value": value, "valueTwo": two})
        });
        let args: Vec<_> = args.collect();
        // Entries with equal conditions get equal actions: otherwise the profile is invalid.
        json!({
            "names": self.of(&[["socket", "ioctl"], ["clone", "read"]]),
            "action": "SCMP_ACT_ERRNO", "errnoRet": 1 + sum % 2, "args": args,
        })
    }

    fn entry(&mut self) -> Value {
        let names: Vec<_> = (0..=self.below(4)).map(|_| self.name()).collect();
        let action = self.of(&ACTIONS);
        let args: Vec<_> = (0..self.below(4)).map(|_| self.condition()).collect();
        json!({"names": names, "action": action, "errnoRet": self.errno(action), "args": args})
    }

    fn name(&mut self) -> &'static str {
        match self.below(4) {
            0 => self.of(&MULTIPLEXED),
            _ => self.of(&NAMES),
        }
    }

    fn condition(&mut self) -> Value {
        let operators = match self.below(2) {
            0 => &OPERATORS[..],
            _ => &WEIGHTED_OPERATORS,
        };
        json!({
            "index": self.below(6), "op": self.of(operators),
            "value": self.value(), "valueTwo": self.value(),
        })
    }
}
