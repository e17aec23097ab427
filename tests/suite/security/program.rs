//! The runtime's own executable, as a container can reach it through /proc/PID/exe (CVE-2019-5736).

use std::fs::{self, File};

use crate::runner::Test;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::harness::{Bundle, Running, needs_strace, only_rt, trials, withheld_capabilities};
use crate::process::init::with_init;

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_runtime_is_executed_from_a_readonly_mount,
        without_mount_setattr_the_runtime_is_executed_from_a_sealed_copy,
        the_program_of_pid_1_cannot_be_written,
        a_descriptor_of_the_program_of_pid_1_cannot_be_written_after_its_end,
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

/// The container's root has all capabilities of the host's root, and tries every way to write:
/// directly, through a descriptor, by a remount, and in a bind mount of the file.
fn the_program_of_pid_1_cannot_be_written() {
    let all = caps();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let script = "exec 2>/dev/null 5</proc/1/exe 6</proc/1/root
        ( : >/proc/1/exe ) && echo truncated
        ( : >>/proc/1/exe ) && echo opened
        ( : >>/proc/self/fd/5 ) && echo reopened
        mount -o remount,bind,rw /proc/1/exe && echo remounted
        mount -o remount,bind,rw /proc/self/fd/5 && echo remounted
        mount --bind /proc/1/exe /tmp && echo bound
        touch /tmp/file
        mount --bind /proc/1/exe /tmp/file && { mount -o remount,bind,rw /tmp/file; ( : >>/tmp/file ) && echo written; }
        chmod 777 /proc/1/exe && echo changed
        echo tried";
    let bundle = with_init(Bundle::new())
        .capabilities(&all)
        .set("/process/noNewPrivileges", serde_json::json!(false))
        .sh(script);
    let program = fs::read(bundle.runtime().program()).unwrap();
    let said = bundle.run().assert_ok().stdout;
    assert_eq!(said, "tried\n");
    assert!(fs::read(bundle.runtime().program()).unwrap() == program);
    // Not only because the file is in use.
    let bundle = bundle.sh("echo up; exec sleep 1000");
    let container = bundle.run_detached();
    container.wait_for("up");
    assert_eq!(protection(container.pid()), Protection::Mount);
    container.end();
}

fn caps() -> Vec<String> {
    let withheld = withheld_capabilities();
    let all = caps::all();
    let names = all.iter().map(ToString::to_string);
    names.filter(|name| !withheld.contains(name)).collect()
}

/// Nothing executes the file then, so that the kernel does not refuse a write with ETXTBSY.
fn a_descriptor_of_the_program_of_pid_1_cannot_be_written_after_its_end() {
    use std::os::fd::AsRawFd;
    let bundle = with_init(Bundle::new()).sh("echo up; exec sleep 1000");
    let copy = bundle.runtime().home().join("program");
    fs::copy(bundle.runtime().program(), &copy).unwrap();
    let root = bundle.runtime().root();
    let words = [
        copy.as_path(),
        "--root".as_ref(),
        &root,
        "run".as_ref(),
        "--detach".as_ref(),
        "--bundle".as_ref(),
        bundle.path(),
        bundle.id().as_ref(),
    ];
    bundle.write();
    let words = words.iter().map(|word| word.to_str().unwrap()).collect();
    bundle.runtime().call_as_is(words).run().assert_ok();
    let container = bundle.container();
    let program = File::open(format!("/proc/{}/exe", container.pid())).unwrap();
    container.end();
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let opened = fs::OpenOptions::new().write(true).open(path);
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EROFS));
    // The same file through its own path can be written: only the mount is read-only.
    fs::OpenOptions::new().write(true).open(&copy).unwrap();
}
