//! What the program does before the C library has started.
//!
//! Who makes a process that a container can see executes itself once more, from
//! where nobody can write to its file (`seal.rs`). Done here that costs a fifth of
//! what it costs later: at its start the C library asks the processor about itself
//! some forty times (cpuid), and in a virtual machine each answer takes microseconds.
//!
//! Nothing of the C library works yet: neither errno, which is the thread's, nor
//! memcpy(3) and its like, of which none is chosen yet. So there are system calls by
//! number here, and nothing is moved that is longer than a pointer. What fails is left
//! for later: `seal.rs` looks again, and has words for it.

use std::ffi::{c_char, c_int};

use syscalls::{Sysno, raw};

use super::mount::{AT_EMPTY_PATH, MountAttr, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};

/// Verbs that make a process which a container can see before it is another program.
pub(crate) const SEALED: [&str; 3] = ["create", "exec", "run"];

static READ_ONLY: MountAttr = MountAttr {
    set: libc::MOUNT_ATTR_RDONLY,
    clear: 0,
    propagation: 0,
    userns_fd: 0,
};

/// Executes this program once more, from a copy of its file's mount that is read-only
/// and attached nowhere, where one of the `words` is a verb of [`SEALED`]. The copy is
/// gone from every mount namespace as soon as its descriptor is closed, which
/// execve(2) does: nobody can change its attributes again.
///
/// Returns where the file is on a read-only mount already, and where the kernel
/// refuses: without the right to mount, in a sandbox, before Linux 5.12, or when the
/// file's own mount is out of sight.
///
/// # Safety
/// `words` are the `count` arguments of the program and null, then its environment
/// and null, as the kernel lays them on the stack.
pub unsafe fn execute_read_only(count: c_int, words: *const *const c_char) {
    let count = count.unsigned_abs() as usize;
    // SAFETY: so many strings are there, by the condition of this function.
    let is_sealed = |i| SEALED.iter().any(|verb| unsafe { is(*words.add(i), verb) });
    if !(1..count).any(is_sealed) {
        return;
    }
    let (here, empty) = (libc::AT_FDCWD as usize, c"".as_ptr() as usize);
    let path = c"/proc/self/exe".as_ptr() as usize;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let at = AT_EMPTY_PATH as usize;
    let how = (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH) as usize;
    // SAFETY: the path is a static string that ends in NUL. Both descriptors are new,
    // nobody else's. `words` are by the condition of this function what execve(2)
    // takes. The structure is static, of the announced size, and only read.
    unsafe {
        let Some(file) = call(Sysno::openat, [here, path, flags, 0, 0]) else {
            return;
        };
        // That asks the mount, too.
        let may_write = call(Sysno::faccessat2, [file, empty, libc::W_OK as usize, at, 0]);
        if may_write.is_some()
            && let Some(mount) = call(Sysno::open_tree, [file, empty, how, 0, 0])
        {
            let (attr, size) = (&raw const READ_ONLY as usize, size_of::<MountAttr>());
            if call(Sysno::mount_setattr, [mount, empty, at, attr, size]).is_some() {
                let (words, environment) = (words as usize, words.add(count + 1) as usize);
                call(Sysno::execveat, [mount, empty, words, environment, at]);
            }
            call(Sysno::close, [mount, 0, 0, 0, 0]);
        }
        call(Sysno::close, [file, 0, 0, 0, 0]);
    }
}

/// Whether a string that ends in NUL is `word`.
///
/// # Safety
/// There is one.
unsafe fn is(string: *const c_char, word: &str) -> bool {
    let mut at = string.cast::<u8>();
    for byte in word.bytes() {
        // SAFETY: all before was equal, so not the end. Volatile: no call of strcmp(3)
        // is to be made of this.
        if unsafe { at.read_volatile() } != byte {
            return false;
        }
        // SAFETY: the NUL is there at the latest.
        at = unsafe { at.add(1) };
    }
    // SAFETY: as above.
    unsafe { at.read_volatile() == 0 }
}

/// What the kernel answers, if that is no error.
///
/// # Safety
/// As of the system call.
unsafe fn call(number: Sysno, [a, b, c, d, e]: [usize; 5]) -> Option<usize> {
    // SAFETY: the caller's.
    let answer = unsafe { raw::syscall5(number as usize, a, b, c, d, e) };
    (answer <= isize::MAX as usize).then_some(answer)
}
