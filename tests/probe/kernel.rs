//! System calls that no crate wraps.
#![allow(
    unsafe_code,
    reason = "no crate wraps these calls, and nothing here outlives a test"
)]

use std::ffi::{CStr, CString};

/// The description of this process's session keyring: `type;uid;gid;perm;name`.
pub(crate) fn session_keyring() -> Option<String> {
    const SESSION: libc::c_long = -3;
    const DESCRIBE: libc::c_long = 6;
    let mut text = [0u8; 512];
    // SAFETY: the kernel writes at most `text.len()` bytes into `text`.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            DESCRIBE,
            SESSION,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    let length = usize::try_from(length).ok().filter(|l| *l <= text.len())?;
    let text = CStr::from_bytes_until_nul(&text[..length]).ok()?;
    Some(text.to_string_lossy().into_owned())
}

/// The I/O scheduling class and level of this process, in the form of ioprio_get(2).
pub(crate) fn io_priority() -> libc::c_long {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: this call takes two numbers and accesses no memory of this process.
    unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) }
}

/// The label that a security module has given to the session keyring.
pub(crate) fn session_keyring_label() -> nix::Result<String> {
    const SESSION: libc::c_long = -3;
    const GET_SECURITY: libc::c_long = 17;
    let mut text = vec![0u8; 4096];
    let (key, label, size) = (SESSION, text.as_mut_ptr(), text.len());
    // SAFETY: the kernel writes at most `size` bytes, with a NUL at the end, to `label`.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, GET_SECURITY, key, label, size) };
    nix::errno::Errno::result(length)?;
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}

/// The scheduling policy and its attributes, as sched_getattr(2) returns them.
pub(crate) fn scheduler() -> Option<libc::sched_attr> {
    // SAFETY: the structure has numbers only, for which zero is valid.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of_val(&attributes);
    // SAFETY: the kernel writes at most `size` bytes to `attributes`.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    (done == 0).then_some(attributes)
}

/// The mode with its flags, and the nodes, as get_mempolicy(2) returns them.
pub(crate) fn memory_policy() -> Option<(libc::c_int, Vec<usize>)> {
    const NODES: usize = 1024;
    let (mut mode, mut nodes) = (0, [0u8; NODES / 8]);
    // SAFETY: the kernel writes one number to `mode` and `NODES` bits to `nodes`.
    let done = unsafe {
        let (mode, nodes) = (&raw mut mode, nodes.as_mut_ptr());
        libc::syscall(libc::SYS_get_mempolicy, mode, nodes, NODES + 1, 0, 0)
    };
    let set = (0..NODES).filter(|node| nodes[node / 8] & 1 << (node % 8) != 0);
    (done == 0).then(|| (mode, set.collect()))
}

/// Makes a system call of the native architecture by its number.
pub(crate) fn call_native(number: u64, args: [u64; 6]) -> nix::Result<()> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: not guaranteed here. The test that passes the number and the arguments is responsible for the effects.
    let result = unsafe { libc::syscall(number.cast_signed(), a, b, c, d, e, f) };
    nix::errno::Errno::result(result).map(drop)
}

/// Makes a system call as a 32-bit program does (`int 0x80`), by its i386 number.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_i386(number: u64, args: [u64; 6]) -> nix::Result<()> {
    let [a, b, c, d, ..] = args;
    let result: i32;
    // SAFETY: as above. rbx, which the compiler reserves, is restored;
    // the kernel changes no other register but rax, and r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {a}",
            "int 0x80",
            "xchg rbx, {a}",
            a = inout(reg) a => _,
            inlateout("eax") number as u32 => result,
            in("ecx") b as u32, in("edx") c as u32, in("esi") d as u32, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result {
        -4095..0 => Err(nix::errno::Errno::from_raw(-result)),
        _ => Ok(()),
    }
}

/// The names of the network interfaces.
pub(crate) fn interfaces() -> Vec<CString> {
    let mut names = Vec::new();
    // SAFETY: returns null, or an array that ends with an entry of index 0.
    let list = unsafe { libc::if_nameindex() };
    let mut entry = list;
    // SAFETY: `entry` walks the array up to the entry that ends it.
    while !entry.is_null() && unsafe { (*entry).if_index } != 0 {
        // SAFETY: all other entries have a name that ends with NUL.
        names.push(unsafe { CStr::from_ptr((*entry).if_name) }.to_owned());
        // SAFETY: the array has at least one more entry.
        entry = unsafe { entry.add(1) };
    }
    if !list.is_null() {
        // SAFETY: `list` came from `if_nameindex` and is not used again.
        unsafe { libc::if_freenameindex(list) };
    }
    names
}

/// The flags of a network interface (`IFF_UP` and the rest).
pub(crate) fn interface_flags(name: &CStr) -> Option<i32> {
    // SAFETY: no pointers; the result is checked.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return None;
    }
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the kernel reads the name and writes the flags inside `request`.
    let result = unsafe { libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut request) };
    // SAFETY: `socket` was opened above and is not used again.
    unsafe { libc::close(socket) };
    // SAFETY: after success the kernel has filled the flags.
    (result == 0).then(|| i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// The soft and the hard limit; `u64::MAX` means unlimited.
pub(crate) fn rlimit(resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one `rlimit`.
    let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (result == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// The time of a clock in nanoseconds.
pub(crate) fn clock(number: libc::clockid_t) -> Option<i64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec`.
    let result = unsafe { libc::clock_gettime(number, &raw mut time) };
    (result == 0).then(|| time.tv_sec * 1_000_000_000 + time.tv_nsec)
}

/// All signals except those that runtimes do not forward.
fn signals() -> libc::sigset_t {
    // SAFETY: all-zero bytes are a valid `sigset_t`.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes the set.
    unsafe { libc::sigfillset(&raw mut set) };
    for signal in [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG, libc::SIGCONT] {
        // SAFETY: changes the set, which is initialised.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    set
}

pub(crate) fn block_signals() {
    let set = signals();
    // SAFETY: reads the set.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for a blocked signal. Unlike nix, it supports real-time signals.
pub(crate) fn next_signal() -> Option<i32> {
    let set = signals();
    let mut number = 0;
    // SAFETY: reads the set and writes the number.
    let result = unsafe { libc::sigwait(&raw const set, &raw mut number) };
    (result == 0).then_some(number)
}

/// Makes a system call by its number.
///
/// The arguments must not point to memory of this process. They are numbers, null, or invalid pointers, which the
/// kernel refuses.
pub(crate) fn syscall(number: libc::c_long, arguments: [libc::c_long; 6]) -> nix::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the tests pass no address of anything that lives here.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    nix::errno::Errno::result(result).map(drop)
}

/// Ends only the calling thread (_exit(2), "C library/kernel differences").
pub(crate) fn end_this_thread() -> i32 {
    // SAFETY: the call takes a number, and nothing of this thread is used again.
    unsafe { libc::syscall(libc::SYS_exit, 0) as i32 }
}
