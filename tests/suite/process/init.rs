//! `rt.init`: a small init is PID 1, and the process is its child.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Config, HostState, only_rt, trials, wait_until};
use crate::users::map;
use crate::users::rootless::callers::{ALL, Caller};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        pid_1_says_what_it_is,
        pid_1_has_only_the_standard_streams,
        pid_1_has_the_rights_of_the_process,
        pid_1_has_less_than_300_kib_of_private_memory,
        pid_1_sleeps_until_a_signal,
        the_exit_status_is_that_of_the_process,
        orphans_are_reaped,
        the_process_sees_nothing_else_of_the_init,
        a_program_that_cannot_be_executed_is_reported_as_without,
        hooks_run_and_the_state_is_as_without,
        other_commands_work,
        it_works_in_every_kind_of_container,
        a_filter_that_forbids_a_call_of_pid_1_is_refused,
        a_value_or_a_pid_namespace_that_does_not_fit_is_refused,
        two_processes_must_be_allowed,
        a_program_that_the_user_may_not_execute_is_refused,
    ]
}

pub(super) const DOCKER: &str = include_str!("../configs/docker-plain.json");

pub(crate) fn with_init(bundle: Bundle) -> Bundle {
    only_rt("the annotation is one of rt");
    bundle.set("/annotations/rt.init", json!("true"))
}

fn docker_profile() -> Value {
    Config::parse(DOCKER).get("/linux/seccomp").clone()
}

/// With what a manager sets: a user, capabilities, limits, Docker's profile.
fn restricted() -> Bundle {
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    with_init(Bundle::new())
        .set(
            "/process/user",
            json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 7], "umask": 0o27 }),
        )
        .capabilities(&["CAP_KILL"])
        .set("/process/noNewPrivileges", json!(true))
        .set("/process/rlimits", limits)
        .set("/linux/personality", json!({ "domain": "LINUX32" }))
        .set("/linux/seccomp", docker_profile())
}

fn pid_1_says_what_it_is() {
    let bundle = with_init(Bundle::new()).sh("cat /proc/1/comm /proc/1/cmdline; echo; echo $$");
    let said = bundle.run().assert_ok().stdout;
    let args = ["rt-init", "2", "--", "/bin/sh", "-c", "cat /proc/1/comm"].join("\0");
    assert!(said.starts_with(&format!("rt-init\n{args}")), "{said:?}");
    assert!(said.ends_with("\n2\n"), "{said:?}");
}

fn pid_1_has_only_the_standard_streams() {
    let bundle = with_init(Bundle::new()).sh("ls /proc/1/fd");
    let outcome = bundle.call("run", &[]).leaking().run();
    assert_eq!(outcome.assert_ok().stdout, "0\n1\n2\n");
}

fn pid_1_has_the_rights_of_the_process() {
    let read = "for file in status limits personality; do cat /proc/$pid/$file; done";
    let script = format!("pid=1; {read}; echo process; pid=$$; {read}");
    let said = restricted().sh(&script).run().assert_ok().stdout;
    let (init, process) = said.split_once("process\n").unwrap();
    let rights = |text: &str| {
        let names = [
            "Umask",
            "Uid",
            "Gid",
            "Groups",
            "Cap",
            "NoNewPrivs",
            "Seccomp",
            "Max",
            "0",
        ];
        let lines = text
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(rights(init), rights(process));
    for line in [
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
        "Seccomp_filters:\t1",
        "CapBnd:\t0000000000000020",
    ] {
        assert!(init.contains(line), "no {line:?} in {init}");
    }
}

fn pid_1_has_less_than_300_kib_of_private_memory() {
    let container = with_init(Bundle::new()).sh("echo up; exec sleep 1000");
    let container = container.run_detached();
    container.wait_for("up");
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", container.pid())).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let numbers = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok());
    assert!(numbers.sum::<u32>() < 300, "{rollup}");
    container.end();
}

/// In rt_sigtimedwait(2) without a timeout: the third argument is null.
fn pid_1_sleeps_until_a_signal() {
    let bundle = with_init(Bundle::new()).sh("echo up; exec sleep 1000");
    let container = bundle.run_detached();
    container.wait_for("up");
    let path = format!("/proc/{}/syscall", container.pid());
    let call = format!("{} ", libc::SYS_rt_sigtimedwait);
    wait_until("PID 1 to wait", || {
        let text = fs::read_to_string(&path).unwrap();
        text.starts_with(&call) && text.split(' ').nth(3) == Some("0x0")
    });
    container.end();
}

fn the_exit_status_is_that_of_the_process() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let bundle = with_init(Bundle::new()).sh(script);
        // The kernel ends the other processes.
        drop(bundle.run().assert_code(status));
        let bundle = bundle.sh(&format!("sleep 1000 & {script}"));
        drop(bundle.run().assert_code(status));
    }
}

/// A thousand in a burst.
fn orphans_are_reaped() {
    let script =
        "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; echo made; exec sleep 1000";
    let bundle = with_init(Bundle::new()).sh(script);
    let container = bundle.run_detached();
    container.wait_for("made");
    let pid = container.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    wait_until("only the process to be left", || {
        let children = fs::read_to_string(&children).unwrap();
        children.split_whitespace().count() == 1
    });
    container.end();
}

fn the_process_sees_nothing_else_of_the_init() {
    let seen = with_init(Bundle::new()).probe();
    seen.assert_only_stdio();
    seen.assert_signals_untouched();
    let without = Bundle::new().probe();
    for same in [
        "uids",
        "groups",
        "umask",
        "cwd",
        "env",
        "no_new_privs",
        "hostname",
    ] {
        assert_eq!(seen[same], without[same], "{same}");
    }
}

fn a_program_that_cannot_be_executed_is_reported_as_without() {
    let programs = [
        "/missing",
        "missing",
        "/etc/passwd",
        "/script",
        "/format",
        "/bin",
    ];
    for program in programs {
        let bundle = Bundle::new()
            .executable("script", "#!/missing\n")
            .executable("format", "text\n")
            .with_id("failing")
            .args(&[program]);
        let outcomes = |bundle: &Bundle| {
            let run = bundle.run();
            let mut outcomes = vec![(run.code(), run.stderr)];
            let call = bundle.call("create", &[]);
            let output = call.output().with_extension("err");
            let create = call.run();
            outcomes.push((create.code(), create.stderr.clone()));
            if create.code() == 0 {
                let start = bundle.container().start();
                outcomes.push((start.code(), start.stderr));
                bundle.container().wait_stopped();
                outcomes.push((0, fs::read_to_string(&output).unwrap()));
                bundle.container().delete().assert_ok();
            }
            outcomes
        };
        let without = outcomes(&bundle);
        let bundle = with_init(bundle);
        let before = HostState::of(&bundle);
        assert_eq!(outcomes(&bundle), without, "{program}");
        before.assert_unchanged(&bundle);
    }
}

fn hooks_run_and_the_state_is_as_without() {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat /proc/$$/status /proc/1/comm > /tmp/hook"] }]);
    let bundle = with_init(Bundle::new())
        .set("/hooks/startContainer", hook)
        .mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }))
        .sh("while read -r line; do case $line in Uid*|rt*) echo \"$line\";; esac; done < /tmp/hook; echo up; exec sleep 1000");
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    let pid = container.pid();
    container.start().assert_ok();
    assert_eq!(
        (container.status().as_str(), container.pid()),
        ("running", pid)
    );
    assert!(container.wait_for("up").starts_with("Uid:\t0"));
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm, "rt-init\n");
    container.end();
}

fn other_commands_work() {
    let bundle = with_init(Bundle::new()).sh("echo up; exec sleep 1000");
    let container = bundle.run_detached();
    container.wait_for("up");
    let exec = container.call("exec", &["/bin/sh", "-c", "cat /proc/1/comm; kill -0 2"]);
    assert_eq!(exec.assert_ok().stdout, "rt-init\n");
    let ps = container.call("ps", &[]).assert_ok().stdout;
    assert!(
        ps.contains("rt-init 2 -- /bin/sh") && ps.contains("sleep 1000"),
        "{ps}"
    );
    container.call("pause", &[]).assert_ok();
    assert_eq!(container.status(), "paused");
    container.call("resume", &[]).assert_ok();
    container
        .call("update", &["--pids-limit", "20"])
        .assert_ok();
    container.kill("TERM").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
}

fn it_works_in_every_kind_of_container() {
    let script = "cat /proc/1/comm; echo $$; exit 3";
    let said = |bundle: Bundle, flags: &[&str]| {
        let bundle = with_init(bundle).sh(script);
        let before = HostState::of(&bundle);
        let said = bundle.call("run", flags).run().assert_code(3).stdout;
        assert_eq!(said, "rt-init\n2\n");
        before.assert_unchanged(&bundle);
    };
    said(restricted(), &[]);
    said(Bundle::new(), &["--no-pivot"]);
    said(Bundle::new(), &["--no-new-keyring"]);
    said(Bundle::new().without_namespace("cgroup"), &[]);
    said(map(Bundle::new(), &[(0, 100_000, 65_536)]), &[]);
    for caller in ALL {
        said(Caller::new(caller).bundle(), &[]);
    }
}

fn a_filter_that_forbids_a_call_of_pid_1_is_refused() {
    for call in [
        "execveat",
        "prctl",
        "madvise",
        "rt_sigtimedwait",
        "wait4",
        "kill",
        "rt_sigqueueinfo",
        "ioctl",
        "exit_group",
    ] {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": [call], "action": "SCMP_ACT_ERRNO" }],
        });
        let bundle = with_init(Bundle::new()).set("/linux/seccomp", filter);
        let text =
            format!("annotations: rt.init: \"true\": linux.seccomp does not allow {call}(2)");
        bundle.assert_refused(&[&text]);
    }
    // A condition that PID 1 meets.
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["wait4"], "action": "SCMP_ACT_ERRNO", "args": [
            { "index": 0, "value": 7, "op": "SCMP_CMP_EQ" },
        ] }],
    });
    let bundle = with_init(Bundle::new()).set("/linux/seccomp", filter);
    bundle.sh("exit 3").run().assert_code(3);
}

fn a_value_or_a_pid_namespace_that_does_not_fit_is_refused() {
    for value in ["", "1", "yes"] {
        let bundle = with_init(Bundle::new()).set("/annotations/rt.init", json!(value));
        bundle.assert_refused(&[&format!("annotations: rt.init: {value:?}")]);
    }
    let text = "annotations: rt.init: \"true\": init is PID 1 of a pid namespace";
    let shared = with_init(Bundle::new()).without_namespace("pid");
    shared.assert_refused(&[text]);
    let joined = with_init(Bundle::new()).namespace("pid", Some("/proc/self/ns/pid"));
    joined.assert_refused(&[text]);
    let off = Bundle::new().set("/annotations/rt.init", json!("false"));
    let said = off.sh("echo $$").run().assert_ok().stdout;
    assert_eq!(said, "1\n");
}

fn two_processes_must_be_allowed() {
    let bundle = with_init(Bundle::new()).set("/linux/resources/pids", json!({ "limit": 1 }));
    bundle.assert_refused(&[
        "annotations: rt.init: clone the process: ",
        "linux.resources.pids.limit",
    ]);
}

/// A copy of rt that only root may execute.
fn a_program_that_the_user_may_not_execute_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let bundle = with_init(Bundle::new()).user(1000, 1000);
    let program = bundle.runtime().home().join("program");
    fs::copy(bundle.runtime().program(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    bundle.write();
    let before = HostState::of(&bundle);
    let root = bundle.runtime().root();
    let words = vec![
        program.to_str().unwrap(),
        "--root",
        root.to_str().unwrap(),
        "run",
        "--bundle",
        bundle.path().to_str().unwrap(),
        bundle.id(),
    ];
    let outcome = bundle.runtime().call_as_is(words).run();
    let outcome =
        outcome.assert_refused("annotations: rt.init: execute rt as user 1000: permission denied");
    outcome.one_line();
    before.assert_unchanged(&bundle);
}
