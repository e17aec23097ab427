//! The runtime's own file, as whoever sees one of its processes has it by /proc/PID/exe (CVE-2019-5736).

use std::fs::{self, File};

use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::harness::{Bundle, Running, needs_strace, only_rt, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        the_program_lies_on_a_mount_that_is_read_only,
        the_program_is_a_sealed_copy_where_no_mount_becomes_read_only,
    ]
}

/// What keeps somebody from writing to a program.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Mount,
    Seals,
    Nothing,
}

fn kept(pid: i32) -> Kept {
    let program = File::open(format!("/proc/{pid}/exe")).unwrap();
    if fstatvfs(&program)
        .unwrap()
        .flags()
        .contains(FsFlags::ST_RDONLY)
    {
        return Kept::Mount;
    }
    match fcntl(&program, FcntlArg::F_GET_SEALS) {
        Ok(seals) if SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_WRITE) => {
            Kept::Seals
        }
        Ok(_) | Err(Errno::EINVAL) => Kept::Nothing,
        Err(errno) => panic!("seals: {errno}"),
    }
}

/// The runtime that stays for `run`, and the one that stays for `exec`.
fn check(before: &[&str], process: impl Fn(&Running) -> i32, expected: Kept) {
    only_rt("what another runtime executes is its own affair");
    let bundle = Bundle::new().sh("echo up; read -r end");
    let input = || std::io::pipe().unwrap();
    let (reader, _writer) = input();
    let call = bundle.call_through(before, "run", &[]);
    let running = call.with(|command| command.stdin(reader)).start();
    running.wait_for("up");
    assert_eq!(kept(process(&running)), expected);
    let (reader, _writer) = input();
    let words = ["exec", bundle.id(), "/bin/sh", "-c", "echo up; read -r end"];
    let call = bundle.runtime().call_through(before, &words);
    let joined = call.with(|command| command.stdin(reader)).start();
    joined.wait_for("up");
    assert_eq!(kept(process(&joined)), expected);
}

fn the_program_lies_on_a_mount_that_is_read_only() {
    check(&[], Running::pid, Kept::Mount);
}

fn the_program_is_a_sealed_copy_where_no_mount_becomes_read_only() {
    needs_strace();
    // Before Linux 5.12.
    let inject = "inject=mount_setattr:error=ENOSYS";
    let child = |strace: &Running| {
        let pid = strace.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split(' ').next().unwrap().parse().unwrap()
    };
    // Without -f: what init calls is not refused.
    check(
        &["strace", "-o", "/dev/null", "-e", inject],
        child,
        Kept::Seals,
    );
}
