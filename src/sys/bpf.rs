//! bpf(2): the programs that control access to devices in cgroup v2.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::check;

/// One instruction, `struct bpf_insn` (Documentation/bpf/standardization/instruction-set.rst).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct BpfInstruction {
    pub(crate) code: u8,
    /// The target and the source register, four bits each.
    registers: u8,
    /// Instructions to jump over, or a byte offset from the address in a register.
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

impl BpfInstruction {
    pub(crate) const fn new(
        code: u8,
        (target, source): (u8, u8),
        offset: i16,
        immediate: i32,
    ) -> BpfInstruction {
        BpfInstruction {
            code,
            // A bit field in C, so its order depends on the byte order.
            registers: if cfg!(target_endian = "little") {
                source << 4 | target
            } else {
                target << 4 | source
            },
            offset,
            immediate,
        }
    }

    /// The target and the source register.
    #[cfg(test)]
    pub(crate) const fn registers(self) -> (u8, u8) {
        let (low, high) = (self.registers & 15, self.registers >> 4);
        if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        }
    }
}

/// Size of the attributes in every call of bpf(2), in bytes. Kernels from 6.17 to
/// before 7.2 write past the end of a shorter `union bpf_attr`.
const ATTR_SIZE: usize = 512;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C, align(8))]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    padding: [u8; ATTR_SIZE - 72],
}

/// The part that `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` read.
#[repr(C, align(8))]
struct ProgAttach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    padding: [u8; ATTR_SIZE - 16],
}

/// The part that `BPF_PROG_QUERY` reads and writes.
#[repr(C, align(8))]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: [u8; ATTR_SIZE - 28],
}

/// The part that `BPF_PROG_GET_FD_BY_ID` reads.
#[repr(C, align(8))]
struct ById {
    id: u32,
    padding: [u8; ATTR_SIZE - 4],
}

/// The part that `BPF_OBJ_GET_INFO_BY_FD` reads and writes.
#[repr(C, align(8))]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
    padding: [u8; ATTR_SIZE - 16],
}

/// `struct bpf_prog_info` up to the name (Linux 4.15).
#[repr(C, align(8))]
struct ProgInfo {
    before: [u8; 64],
    name: [u8; 16],
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// The kernel's limit on programs of one type in a cgroup (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGS: usize = 64;
/// The programs call no helper that is reserved for the GPL.
const LICENSE: &CStr = c"Apache-2.0";
/// The name by which [`bpf_own_device_programs`] recognizes a program of `rt`.
const NAME: [u8; 16] = *b"rt_devices\0\0\0\0\0\0";

/// # Safety
/// The addresses and lengths in `attr` must describe memory that `command` may read
/// or write, as it does.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> nix::Result<libc::c_long> {
    const { assert!(size_of::<T>() == ATTR_SIZE) };
    // SAFETY: `attr` has the size that is passed and is borrowed mutably. The caller
    // guarantees that the addresses in it are valid.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), ATTR_SIZE) })
}

/// Loads a program that controls access to devices (bpf(2),
/// `BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).
///
/// # Errors
/// `EINVAL` or `EACCES` when the verifier rejects the program. `EPERM` without
/// CAP_SYS_ADMIN and, before Linux 5.11, when the program exceeds RLIMIT_MEMLOCK.
pub(crate) fn bpf_load_device_program(program: &[BpfInstruction]) -> nix::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: NAME,
        prog_ifindex: 0,
        expected_attach_type: 0,
        padding: [0; _],
    };
    loop {
        // SAFETY: the instructions, in the number given, and the NUL-terminated
        // license outlive the call, which only reads them.
        match unsafe { bpf(BPF_PROG_LOAD, &mut attr) } {
            // A signal interrupted the verifier.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            done => return done.map(owned),
        }
    }
}

/// Owns a descriptor that bpf(2) returned. The kernel makes them close-on-exec.
fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel returned a new descriptor, and no other value owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn attachment(cgroup: BorrowedFd, program: BorrowedFd, flags: u32) -> ProgAttach {
    ProgAttach {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: flags,
        padding: [0; _],
    }
}

/// Attaches `program` to the cgroup v2 directory `cgroup`, beside other programs
/// (bpf(2), `BPF_F_ALLOW_MULTI`, Linux 4.15). Access to a device needs the consent of
/// all of them. The program stays attached until the cgroup is removed.
pub(crate) fn bpf_attach_device_program(
    cgroup: BorrowedFd,
    program: BorrowedFd,
) -> nix::Result<()> {
    let mut attr = attachment(cgroup, program, BPF_F_ALLOW_MULTI);
    // SAFETY: this command takes no address.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }?;
    Ok(())
}

/// Detaches `program` from `cgroup`.
pub(crate) fn bpf_detach_device_program(
    cgroup: BorrowedFd,
    program: BorrowedFd,
) -> nix::Result<()> {
    let mut attr = attachment(cgroup, program, 0);
    // SAFETY: this command takes no address.
    unsafe { bpf(BPF_PROG_DETACH, &mut attr) }?;
    Ok(())
}

/// The programs that an earlier call of `rt` attached to the cgroup v2 directory
/// `cgroup`, not to its ancestors (bpf(2), `BPF_PROG_QUERY`, Linux 4.15).
pub(crate) fn bpf_own_device_programs(cgroup: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGS];
    let mut attr = ProgQuery {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGS as u32,
        padding: [0; _],
    };
    // SAFETY: the kernel writes at most `prog_cnt` numbers to `ids`, which has that length.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    let mut programs = Vec::new();
    for id in ids.into_iter().take(attr.prog_cnt as usize) {
        let mut attr = ById {
            id,
            padding: [0; _],
        };
        // SAFETY: this command takes no address.
        let program = owned(unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }?);
        if program_name(program.as_fd())? == NAME {
            programs.push(program);
        }
    }
    Ok(programs)
}

fn program_name(program: BorrowedFd) -> nix::Result<[u8; 16]> {
    let mut info = ProgInfo {
        before: [0; _],
        name: [0; _],
    };
    let mut attr = InfoByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: size_of::<ProgInfo>() as u32,
        info: &raw mut info as u64,
        padding: [0; _],
    };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which has that
    // size. The lengths and addresses in it are zero, so the kernel writes nowhere else.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.name)
}
