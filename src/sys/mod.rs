//! Thin wrappers of the system calls that `nix` does not wrap.
//!
//! All `unsafe` code of the crate is in this module.
#![allow(
    unsafe_code,
    reason = "system calls without a safe wrapper in nix are made here only"
)]

mod bpf;
mod c_string;
mod clone;
mod entry;
mod fd;
mod gate;
mod init;
mod keyring;
mod listener;
mod mount;
mod pass;
mod probe;
mod pty;
mod seccomp;
mod signal;
mod start;
mod task;
mod xattr;

pub(crate) use bpf::{
    BpfInstruction, bpf_attach_device_program, bpf_detach_device_program, bpf_load_device_program,
    bpf_own_device_programs,
};
pub(crate) use clone::{
    Cloned, Forked, clone_vfork, clone3, exit, fork, pidfd_open, pidfd_send_signal,
    try_clone_into_cgroup,
};
pub(crate) use entry::{close_passed_fds, sanitize_descriptors};
pub(crate) use fd::{
    CloseBatch, accept, anonymous_file, anonymous_program, bind_datagram_at, close_all_except,
    close_range, connect, connect_stream, duplicate_to, listen_at, loopback_up, namespace_type,
    read_record, read_to_end, read_to_string, recv, send, setdomainname, socketpair,
};
pub(crate) use init::INIT_NAME;
pub(crate) use keyring::{describe_key, join_session_keyring, set_key_permissions};
pub(crate) use listener::{ListenerFailure, Program, execve_with_listener};
pub(crate) use mount::{
    FsConfig, MountAttr, OpenTree, fsconfig, fsmount, fsopen, fspick, has_mount_setattr, mount_id,
    mount_setattr, move_mount, open_tree, open_tree_nofollow,
};
pub(crate) use pass::{
    MAX_PASSED_FDS, Received, receive_descriptor, receive_descriptors, recv_with_descriptor,
    send_all_with_descriptor, send_descriptor, send_descriptors,
};
pub(crate) use probe::{try_close_range, try_open_tree, try_pidfd_open};
pub(crate) use pty::{
    Size, pty_number, pty_peer, pty_unlock, set_controlling_terminal, set_terminal_size,
    terminal_size,
};
pub(crate) use seccomp::{seccomp_set_filter, supports_seccomp_flag};
pub(crate) use signal::{
    Ended, block_all, block_all_and_reserved, default_signal, prlimit, unblock_all, wait,
};
pub use start::before_c_library;
pub(crate) use start::{SEALED_COMMANDS, is_on_read_only_mount};
pub(crate) use task::{
    CpuMask, NodeMask, Pointers, capbset_drop, capset, clear_cloexec, execute_again, execve,
    execveat, getcwd, ids_at_execve, ioprio_set, sched_setaffinity, sched_setattr, set_cloexec,
    set_mempolicy,
};
pub(crate) use xattr::{fgetxattr, flistxattr, fsetxattr, xattrs, xattrs_in};

use nix::errno::Errno;

/// Converts the return value of a system call: -1 becomes the error in `errno`.
fn check(ret: libc::c_long) -> nix::Result<libc::c_long> {
    Errno::result(ret)
}
