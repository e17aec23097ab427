//! `SCMP_ACT_NOTIFY`: an agent decides about system calls (config-linux.md, "Seccomp").

mod program;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;

use crate::runner::Test;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use serde_json::{Value, json};

use super::{UNPRIVILEGED, allowing_but};
use crate::exec::{call as exec, running};
use crate::harness::{Bundle, HostState, Kind, differs, only_in_the_matrix, only_rt, skip, trials};
use program::{Agent, Verdict};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        an_agent_decides_about_a_call,
        the_agent_gets_the_container_process_state_once,
        a_process_of_exec_has_a_listener_of_its_own,
        a_filter_with_an_agent_needs_no_privileges_of_the_process,
        the_runtime_makes_no_call_under_the_filter,
        the_process_is_the_same_for_the_runtime,
        with_an_init_the_agent_gets_the_pid_of_the_process,
        an_absent_agent_is_an_error_of_start,
        an_agent_that_stalls_is_an_error,
        without_its_agent_a_call_fails,
        a_failure_of_execve_under_an_agent_is_reported,
        tiny_limits_do_not_stop_the_hand_over,
        a_path_without_the_action_is_ignored,
        contradictions_are_refused_by_name,
        flags_reach_the_kernel,
        run_takes_the_process_with_it,
    ]
}

/// A profile that asks the agent at `path` about mkdir.
fn asking(path: &std::path::Path) -> Value {
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    let mut profile = allowing_but(rule);
    profile["listenerPath"] = json!(path);
    profile
}

/// A bundle that asks an agent about mkdir, which fails with EXDEV.
fn asked() -> (Bundle, Agent) {
    let bundle = Bundle::new().writable();
    let agent = Agent::start(bundle.path(), |_| Verdict::Fail(libc::EXDEV));
    let profile = asking(&agent.path);
    (bundle.set("/linux/seccomp", profile), agent)
}

const HANGS: &str = "1.1 hangs in the foreground with an agent";

const MKDIR: &str = "mkdir /made 2>&1; echo $?";
const EXDEV: &str = "mkdir: can't create directory '/made': Invalid cross-device link\n1\n";

fn an_agent_decides_about_a_call() {
    differs(Kind::Runc, HANGS);
    let (bundle, _agent) = asked();
    assert_eq!(bundle.sh(MKDIR).run().assert_ok().stdout, EXDEV);
    let bundle = Bundle::new().writable();
    let agent = Agent::start(bundle.path(), |_| Verdict::Continue);
    let bundle = bundle.set("/linux/seccomp", asking(&agent.path)).sh(MKDIR);
    assert_eq!(bundle.run().assert_ok().stdout, "0\n");
    assert!(bundle.rootfs().join("made").is_dir());
    let bundle = Bundle::new().writable();
    let agent = Agent::start(bundle.path(), |_| Verdict::Return(0));
    let bundle = bundle.set("/linux/seccomp", asking(&agent.path)).sh(MKDIR);
    assert_eq!(bundle.run().assert_ok().stdout, "0\n");
    assert!(!bundle.rootfs().join("made").exists());
}

fn the_agent_gets_the_container_process_state_once() {
    let (bundle, agent) = asked();
    let bundle = bundle
        .set(
            "/linux/seccomp/listenerMetadata",
            json!("MKNOD=/dev/null;x=\"ü\""),
        )
        .set("/annotations", json!({"org.example": "a"}))
        .sh("mkdir /made; echo done; exec sleep 1000");
    let container = bundle.create();
    container.start().assert_ok();
    let message = agent.message();
    let (state, pid) = (message.state, container.pid());
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], pid);
    assert_eq!(state["metadata"], "MKNOD=/dev/null;x=\"ü\"");
    assert_eq!(state["state"]["id"], bundle.id());
    assert_eq!(state["state"]["pid"], pid);
    assert_eq!(state["state"]["annotations"]["org.example"], "a");
    assert_eq!(state["state"]["bundle"], json!(bundle.path()));
    assert_eq!(state["ociVersion"], state["state"]["ociVersion"]);
    // runc installs the filter while it creates the container.
    let status = match bundle.runtime().kind() {
        Kind::Rt => "created",
        Kind::Runc | Kind::Crun => "creating",
    };
    assert_eq!(state["state"]["status"], status);
    assert_eq!(message.rest, 0);
    container.wait_for("done");
    assert!(agent.is_idle());
    container.delete_force().assert_ok();
}

fn a_process_of_exec_has_a_listener_of_its_own() {
    differs(Kind::Runc, HANGS);
    let (bundle, agent) = asked();
    let (bundle, container) = running(bundle);
    let first = agent.message().state;
    let outcome = exec(&bundle, &[], &["/bin/busybox", "sh", "-c", MKDIR]).run();
    assert_eq!(outcome.assert_ok().stdout, EXDEV);
    let second = agent.message().state;
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(second["state"]["pid"], container.pid());
    assert_eq!(second["state"]["status"], "running");
}

fn a_filter_with_an_agent_needs_no_privileges_of_the_process() {
    differs(Kind::Runc, HANGS);
    for (uid, none) in UNPRIVILEGED {
        let (bundle, _agent) = asked();
        let bundle = bundle
            .user(uid, uid)
            .set("/process/noNewPrivileges", json!(none))
            .set("/process/capabilities", json!({"bounding": ["CAP_KILL"]}));
        super::assert_rights(&bundle.probe(), uid, none);
        assert_eq!(bundle.sh(MKDIR).run().stdout, EXDEV, "{uid} {none}");
    }
}

/// The default action asks the agent about everything. The first call is execve(2), so no call of the
/// runtime waits for the agent.
fn the_runtime_makes_no_call_under_the_filter() {
    only_rt("runc refuses SCMP_ACT_NOTIFY as the default action");
    if cfg!(not(target_arch = "x86_64")) {
        skip("the number is that of x86-64");
    }
    for none in [true, false] {
        let bundle = Bundle::new();
        let agent = Agent::start(bundle.path(), |_| Verdict::Continue);
        let profile = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path});
        let bundle = bundle
            .set("/linux/seccomp", profile)
            .set("/process/noNewPrivileges", json!(none))
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
            )
            .args(&["/bin/busybox", "echo", "said"]);
        assert_eq!(bundle.run().assert_ok().stdout, "said\n");
        assert_eq!(agent.calls().first(), Some(&59));
    }
}

/// Another task executes the program than the one that was created. It must not show.
fn the_process_is_the_same_for_the_runtime() {
    let (bundle, _agent) = asked();
    let bundle = bundle
        .sh("trap 'exit 7' TERM; echo up; ls /proc/self/task | wc -l; while :; do sleep 1; done");
    let container = bundle.create();
    let (pid, before) = (container.pid(), container.state()["created"].clone());
    container.start().assert_ok();
    container.wait_for("up\n1\n");
    assert_eq!(
        (container.pid(), container.status().as_str()),
        (pid, "running")
    );
    assert_eq!(container.state()["created"], before);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    assert_eq!(tasks.count(), 1);
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert!(["sh\n", "busybox\n"].contains(&&*comm), "{comm}");
    container.kill("TERM").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
    let (bundle, _agent) = asked();
    assert_eq!(bundle.sh("exit 7").run().code(), 7);
}

fn with_an_init_the_agent_gets_the_pid_of_the_process() {
    only_rt("rt.init is rt's");
    let (bundle, agent) = asked();
    let bundle = bundle
        .set("/annotations", json!({"rt.init": "true"}))
        .sh("mkdir /made 2>&1; exec sleep 1000");
    let container = bundle.run_detached();
    let state = agent.message().state;
    container.wait_for("cross-device");
    assert_eq!(state["state"]["pid"], container.pid());
    let pid = &state["pid"];
    assert_ne!(*pid, state["state"]["pid"]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(
        status.contains(&format!("\nPPid:\t{}\n", container.pid())),
        "{status}"
    );
    container.delete_force().assert_ok();
}

fn an_absent_agent_is_an_error_of_start() {
    let (bundle, agent) = asked();
    let absent = json!(bundle.path().join("absent"));
    let bundle = bundle.set("/linux/seccomp/listenerPath", absent);
    drop(agent);
    if bundle.runtime().kind() != Kind::Rt {
        bundle.args(&["/bin/true"]).run().assert_code(1);
        return;
    }
    let message = "linux.seccomp.listenerPath: ";
    let bundle = bundle.args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_code(1).assert_refused(message);
    assert!(
        outcome.one_line().contains("is the seccomp agent running?"),
        "{outcome}"
    );
    let container = bundle.create();
    let outcome = container.start().assert_code(1).assert_refused(message);
    outcome.one_line();
    // A socket on which nobody listens any more.
    let socket = bundle.path().join("stale");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let bundle = bundle.set("/linux/seccomp/listenerPath", json!(socket));
    bundle
        .run()
        .assert_code(1)
        .assert_refused(message)
        .one_line();
    before.assert_nothing_added(&bundle);
}

/// Nobody accepts the connections of this socket, and no other has room to wait.
fn an_agent_that_stalls_is_an_error() {
    only_rt("runc waits for as long as it takes");
    only_in_the_matrix(); // Rt waits for 10 seconds.
    let (bundle, _agent) = asked();
    let path = bundle.path().join("stalled.sock");
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || socket(family, kind, flags, None).unwrap();
    let (listener, address) = (open(), UnixAddr::new(&path).unwrap());
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = open();
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => waiting.push(client),
            Err(errno) => break assert_eq!(errno, Errno::EAGAIN),
        }
    }
    let bundle = bundle.set("/linux/seccomp/listenerPath", json!(path));
    let bundle = bundle.args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_code(1);
    let outcome = outcome.assert_refused("linux.seccomp.listenerPath: ");
    let line = outcome.one_line();
    assert!(line.contains("did not answer for 10 seconds"), "{line}");
    before.assert_nothing_added(&bundle);
}

/// seccomp_unotify(2): when the listener is closed, the calls fail with ENOSYS.
fn without_its_agent_a_call_fails() {
    differs(Kind::Runc, HANGS);
    let bundle = Bundle::new().writable();
    let agent = Agent::that_leaves(bundle.path());
    let bundle = bundle.set("/linux/seccomp", asking(&agent.path)).sh(MKDIR);
    let stdout = bundle.run().assert_ok().stdout;
    assert!(stdout.contains("Function not implemented"), "{stdout}");
}

fn a_failure_of_execve_under_an_agent_is_reported() {
    only_rt("the error texts are rt's");
    let (bundle, _agent) = asked();
    let bundle = bundle.executable("text", "no program\n").args(&["/text"]);
    let outcome = bundle.run().assert_code(1);
    assert!(
        outcome.stderr.contains("exec /text: exec format error"),
        "{outcome}"
    );
}

fn tiny_limits_do_not_stop_the_hand_over() {
    only_rt("runc needs descriptors under the limit");
    let (bundle, _agent) = asked();
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]);
    let bundle = bundle.set("/process/rlimits", limit);
    let outcome = bundle.args(&["/bin/busybox", "mkdir", "/made"]).run();
    assert!(
        outcome.stderr.contains("Invalid cross-device link"),
        "{outcome}"
    );
}

fn a_path_without_the_action_is_ignored() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    let mut profile = allowing_but(json!([]));
    profile["listenerPath"] = json!("/nowhere/agent.sock");
    profile["listenerMetadata"] = json!("text");
    bundle.set("/linux/seccomp", profile).run().assert_ok();
}

fn contradictions_are_refused_by_name() {
    only_rt("the error texts are rt's");
    let socket = std::path::Path::new("/run/agent.sock");
    let (valid, without) = (asking(socket), allowing_but(json!([])));
    let changed = |profile: &Value, key: &str, value: Value| {
        let mut profile = profile.clone();
        *profile.pointer_mut(key).unwrap() = value;
        profile
    };
    let mut with_errno = valid.clone();
    with_errno["syscalls"][0]["errnoRet"] = json!(1);
    let mut metadata = without.clone();
    metadata["listenerMetadata"] = json!("text");
    for (profile, message) in [
        (
            changed(&valid, "/listenerPath", Value::Null),
            "linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY",
        ),
        (
            metadata,
            "linux.seccomp.listenerMetadata: not without linux.seccomp.listenerPath",
        ),
        (
            with_errno,
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_NOTIFY has no errno; remove it",
        ),
    ] {
        Bundle::new()
            .set("/linux/seccomp", profile)
            .assert_refused(&[message]);
    }
    let scheduler =
        json!({"policy": "SCHED_FIFO", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let bundle = Bundle::new().set("/linux/seccomp", valid);
    let bundle = bundle.set("/process/scheduler", scheduler);
    bundle.assert_refused(&["process.scheduler: with SCMP_ACT_NOTIFY"]);
}

/// The flags of seccomp(2) in the call, as strace shows them.
fn flags_reach_the_kernel() {
    only_rt("runc installs filters to find out what the kernel can do");
    let profile = |flags: Option<Value>| {
        let mut profile = allowing_but(json!([]));
        if let Some(flags) = flags {
            profile["flags"] = flags;
        }
        profile
    };
    for (flags, shown) in [
        (None, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (Some(json!([])), "0"),
        (
            Some(json!(["SECCOMP_FILTER_FLAG_LOG"])),
            "SECCOMP_FILTER_FLAG_LOG",
        ),
        (
            Some(json!([
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
            ])),
            "SECCOMP_FILTER_FLAG_TSYNC|SECCOMP_FILTER_FLAG_LOG|SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        ),
        // It is about the wait for an agent, and there is none.
        (Some(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), "0"),
    ] {
        let bundle = Bundle::new().args(&["/bin/true"]);
        let trace = bundle.path().join("trace");
        let bundle = bundle.set("/linux/seccomp", profile(flags));
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            trace.to_str().unwrap(),
            "-e",
            "trace=seccomp",
        ];
        bundle.call_through(&strace, "run", &[]).run().assert_ok();
        let trace = fs::read_to_string(trace).unwrap();
        assert!(
            trace.contains(&format!("(SECCOMP_SET_MODE_FILTER, {shown}, ")),
            "{shown}: {trace}"
        );
    }
    let (bundle, _agent) = asked();
    let flags = json!([
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_TSYNC"
    ]);
    let bundle = bundle.set("/linux/seccomp/flags", flags).sh(MKDIR);
    assert_eq!(bundle.run().assert_ok().stdout, EXDEV);
}

/// SIGKILL of `rt run` ends the process, although another task has executed it.
fn run_takes_the_process_with_it() {
    only_rt("with runc the process stays");
    let (bundle, _agent) = asked();
    let bundle = bundle.sh("echo up; exec sleep 1000");
    let running = bundle.call("run", &[]).start();
    running.wait_for("up");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(running.pid()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
    running.wait();
    bundle.container().wait_stopped();
    bundle.container().delete_force().assert_ok();
}
