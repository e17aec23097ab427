//! The runtime's own executable, as a container can reach it through /proc/PID/exe (CVE-2019-5736).

use std::fs::{self, File};

use crate::runner::Test;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::harness::{Bundle, Running, needs_strace, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_runtime_is_executed_from_a_readonly_mount,
        without_mount_setattr_the_runtime_is_executed_from_a_sealed_copy,
    ]
}

/// How the executable is protected from writes.
#[derive(Debug, PartialEq, Eq)]
enum Protection {
    Mount,
    Seals,
    Nothing,
}

fn protection(pid: i32) -> Protection {
    let program = File::open(format!("/proc/{pid}/exe")).unwrap();
    if fstatvfs(&program)
        .unwrap()
        .flags()
        .contains(FsFlags::ST_RDONLY)
    {
        return Protection::Mount;
    }
    match fcntl(&program, FcntlArg::F_GET_SEALS) {
        Ok(seals) if SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_WRITE) => {
            Protection::Seals
        }
        Ok(_) | Err(Errno::EINVAL) => Protection::Nothing,
        Err(errno) => panic!("seals: {errno}"),
    }
}

/// Checks the runtime process that waits for `run`, and the one that waits for `exec`.
fn check(before: &[&str], process: impl Fn(&Running) -> i32, expected: Protection) {
    only_rt("it inspects rt's own executable");
    let bundle = Bundle::new().sh("echo up; read -r end");
    let input = || std::io::pipe().unwrap();
    let (reader, _writer) = input();
    let call = bundle.call_through(before, "run", &[]);
    let running = call.with(|command| command.stdin(reader)).start();
    running.wait_for("up");
    assert_eq!(protection(process(&running)), expected);
    let (reader, _writer) = input();
    let arguments = ["exec", bundle.id(), "/bin/sh", "-c", "echo up; read -r end"];
    let call = bundle.runtime().call_through(before, &arguments);
    let exec_process = call.with(|command| command.stdin(reader)).start();
    exec_process.wait_for("up");
    assert_eq!(protection(process(&exec_process)), expected);
}

fn the_runtime_is_executed_from_a_readonly_mount() {
    check(&[], Running::pid, Protection::Mount);
}

fn without_mount_setattr_the_runtime_is_executed_from_a_sealed_copy() {
    needs_strace();
    // As before Linux 5.12.
    let inject = "inject=mount_setattr:error=ENOSYS";
    let child = |strace: &Running| {
        let pid = strace.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split(' ').next().unwrap().parse().unwrap()
    };
    // Without -f only the runtime's own calls fail, not those of init.
    check(
        &["strace", "-o", "/dev/null", "-e", inject],
        child,
        Protection::Seals,
    );
}
