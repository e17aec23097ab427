//! `exec --process FILE`: the file replaces the container's `process` completely.

use std::fs;
use std::io::Write;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{call, described, exec, probe, probe_described, process_file, running, through};
use crate::harness::{Bundle, Kind, differs, needs_strace, only_rt, skip, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_process_file_replaces_the_configured_process,
        flags_that_change_the_process_are_ignored,
        all_fields_of_the_process_are_applied,
        limits_are_raised_and_lowered,
        missing_fields_have_their_defaults,
        the_oom_score_is_unchanged_if_none_is_given,
        the_initial_and_final_cpu_affinity_are_set,
        the_initial_cpus_are_set_before_the_cgroup_is_joined,
        cpus_that_do_not_exist_are_refused,
        invalid_fields_are_refused_by_name,
        unknown_fields_are_ignored,
        an_unreadable_process_file_is_reported,
        an_endless_process_file_is_refused,
        the_process_file_may_be_a_pipe,
        a_relative_process_file_path_starts_at_the_callers_directory,
    ]
}

fn the_process_file_replaces_the_configured_process() {
    let bundle = Bundle::new()
        .user(1000, 1000)
        .set("/process/env/-", json!("OWN=1"));
    let (bundle, _container) = running(bundle);
    let process = json!({
        "cwd": "/", "args": ["/probe", "report"], "user": {"uid": 0, "gid": 0}, "env": ["A=1"],
    });
    let file = bundle.runtime().home().join("p.json");
    fs::write(&file, process.to_string()).unwrap();
    let seen = call(&bundle, &["-p", file.to_str().unwrap()], &[]).assert_report();
    assert_eq!(seen["uid"], 0);
    assert_eq!(seen["env"], json!(["A=1", "HOME=/root"]));
}

/// As in runc.
fn flags_that_change_the_process_are_ignored() {
    let (bundle, _container) = running(Bundle::new());
    let file = process_file(&bundle, &["/probe", "report"], &[]);
    let file = file.to_str().unwrap();
    let flags = [
        "--process",
        file,
        "-u",
        "7",
        "--cwd",
        "/etc",
        "-e",
        "A=1",
        "--cap",
        "CAP_SYS_ADMIN",
    ];
    let seen = call(&bundle, &flags, &["ignored", "arguments"]).assert_report();
    assert_eq!((&seen["uid"], &seen["cwd"]), (&json!(0), &json!("/")));
    assert_eq!(seen.env("A"), None);
    assert!(
        !seen
            .capabilities("bounding")
            .contains(&"CAP_SYS_ADMIN".to_owned())
    );
}

fn all_fields_of_the_process_are_applied() {
    let (bundle, _container) = running(Bundle::new());
    let sets = json!({"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    let seen = probe_described(
        &bundle,
        &[
            (
                "/user",
                json!({"uid": 7, "gid": 8, "umask": 0o77, "additionalGids": [9]}),
            ),
            ("/cwd", json!("/etc")),
            ("/env", json!(["PATH=/bin", "A=1", "A=2"])),
            ("/capabilities", sets),
            ("/noNewPrivileges", json!(false)),
            ("/oomScoreAdj", json!(500)),
            (
                "/rlimits",
                // Not RLIMIT_NOFILE, which the Go runtime in runc raises by itself.
                json!([{"type": "RLIMIT_CORE", "soft": 17, "hard": 18}]),
            ),
        ],
    );
    assert_eq!(seen["uids"], json!([7, 7, 7, 7]));
    assert_eq!(seen["gids"], json!([8, 8, 8, 8]));
    assert_eq!(seen["groups"], json!([9]));
    assert_eq!(seen["cwd"], "/etc");
    assert_eq!(seen["env"], json!(["PATH=/bin", "A=2", "HOME=/"]));
    assert_eq!(seen.capabilities("bounding"), ["CAP_CHOWN", "CAP_KILL"]);
    assert_eq!(seen["no_new_privs"], 0);
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!([17, 18]));
    differs(
        Kind::Runc,
        "Debian's old one sets neither umask nor OOM score of an exec process",
    );
    assert_eq!(seen["oom_score_adj"], "500");
    assert_eq!(seen["umask"], 0o77);
}

fn limits_are_raised_and_lowered() {
    let (bundle, _container) = running(Bundle::new());
    let limit =
        |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    differs(
        Kind::Runc,
        "needs descriptors itself when the limits are set",
    );
    let low = json!([
        limit("RLIMIT_NOFILE", 3, 3),
        limit("RLIMIT_NPROC", 100, 200),
        limit("RLIMIT_CORE", 0, 0)
    ]);
    let seen = probe_described(&bundle, &[("/rlimits", low)]);
    assert_eq!(seen["rlimits"]["RLIMIT_NPROC"], json!([100, 200]));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!([0, 0]));
    let twice = json!([limit("RLIMIT_NOFILE", 3, 3), limit("RLIMIT_NOFILE", 4, 4)]);
    if Kind::under_test() == Kind::Rt {
        let outcome = described(&bundle, &["/bin/true"], &[("/rlimits", twice)]).run();
        outcome
            .assert_code(255)
            .assert_refused("process.rlimits[1]")
            .one_line();
    }
    if crate::harness::withheld_capabilities().contains("CAP_SYS_RESOURCE") {
        let high = json!([limit("RLIMIT_NOFILE", 1 << 19, 1 << 19)]);
        let outcome = described(&bundle, &["/bin/true"], &[("/rlimits", high)]).run();
        let outcome = outcome.assert_code(255);
        assert!(
            outcome.stderr.contains("peration not permitted"),
            "{outcome}"
        );
        return;
    }
    let high = json!([limit("RLIMIT_NOFILE", 1 << 19, 1 << 19)]);
    let seen = probe_described(
        &bundle,
        &[("/user", json!({"uid": 7, "gid": 7})), ("/rlimits", high)],
    );
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!([1 << 19, 1 << 19]));
}

fn missing_fields_have_their_defaults() {
    let bundle = Bundle::new()
        .set("/process/oomScoreAdj", json!(300))
        .set("/process/user/umask", json!(0o77));
    let (bundle, _container) = running(bundle);
    let file = bundle.runtime().home().join("p.json");
    fs::write(
        &file,
        r#"{"cwd": "/", "args": ["/probe", "report"], "env": ["PATH=/bin"]}"#,
    )
    .unwrap();
    let seen = call(&bundle, &["-p", file.to_str().unwrap()], &[]).assert_report();
    assert_eq!(
        (&seen["uid"], &seen["gid"], &seen["umask"]),
        (&json!(0), &json!(0), &json!(0o22))
    );
    assert_eq!(seen["no_new_privs"], 0);
    assert_eq!(seen["groups"], json!([]));
    differs(Kind::Runc, "without `capabilities` it keeps the caller's");
    assert_eq!(
        seen.capabilities("effective"),
        [""; 0],
        "without `capabilities` there are none"
    );
}

fn the_oom_score_is_unchanged_if_none_is_given() {
    let (bundle, _container) = running(Bundle::new());
    let file = process_file(&bundle, &["/probe", "report"], &[]);
    let script = "echo 123 > /proc/self/oom_score_adj && exec \"$@\"";
    let flags = ["--process", file.to_str().unwrap()];
    let call = through(&bundle, &["sh", "-c", script, "sh"], &flags, &[]);
    assert_eq!(call.assert_report()["oom_score_adj"], "123");
}

fn the_initial_and_final_cpu_affinity_are_set() {
    differs(
        Kind::Runc,
        "Debian's old one lacks process.execCPUAffinity, newer runc has it",
    );
    if fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|all| all.trim() == "0") {
        skip("this host has only one CPU");
    }
    let (bundle, _container) = running(Bundle::new());
    let all = probe(&bundle, &[])["cpus"].clone();
    for (affinity, expected) in [
        (json!({"initial": "0", "final": "1"}), json!([1])),
        (json!({"final": "0"}), json!([0])),
        (json!({}), all.clone()),
        (json!({"final": "0-1"}), json!([0, 1])),
    ] {
        let seen = probe_described(&bundle, &[("/execCPUAffinity", affinity.clone())]);
        assert_eq!(seen["cpus"], expected, "{affinity}");
    }
}

/// config.md, execCPUAffinity: "to be run on initially, before the transition to container's cgroup".
fn the_initial_cpus_are_set_before_the_cgroup_is_joined() {
    only_rt("Debian's old one lacks process.execCPUAffinity");
    needs_strace();
    let (bundle, _container) = running(Bundle::new());
    let affinity = json!({"initial": "0"});
    let file = process_file(&bundle, &["/bin/true"], &[("/execCPUAffinity", affinity)]);
    let trace = bundle.runtime().home().join("trace");
    let calls = "trace=sched_setaffinity,clone3,write";
    let to = trace.to_str().unwrap();
    let strace = ["strace", "-f", "-y", "-s", "9", "-o", to, "-e", calls];
    let flags = ["--process", file.to_str().unwrap()];
    through(&bundle, &strace, &flags, &[]).run().assert_ok();
    let trace = fs::read_to_string(trace).unwrap();
    let place = |holds: &dyn Fn(&str) -> bool| trace.lines().position(holds);
    let set = place(&|line| line.contains("sched_setaffinity(0, ") && line.contains("[0"));
    let joined = place(&|line| {
        line.contains("CLONE_INTO_CGROUP")
            || line.contains("write(") && line.contains("</sys/fs/cgroup/")
    });
    assert!(set.is_some() && joined.is_some() && set < joined, "{trace}");
}

fn cpus_that_do_not_exist_are_refused() {
    only_rt("Debian's old one lacks process.execCPUAffinity");
    let (bundle, _container) = running(Bundle::new());
    for member in ["initial", "final"] {
        for cpus in ["4711", "x", "1-0", ""] {
            let affinity = json!({ member: cpus });
            let outcome =
                described(&bundle, &["/bin/true"], &[("/execCPUAffinity", affinity)]).run();
            if cpus.is_empty() {
                outcome.assert_ok();
                continue;
            }
            let place = format!("process.execCPUAffinity.{member}");
            outcome.assert_code(255).assert_refused(&place).one_line();
        }
    }
}

fn invalid_fields_are_refused_by_name() {
    only_rt("the error texts are rt's");
    let (bundle, _container) = running(Bundle::new());
    let file = bundle.runtime().home().join("p.json");
    for (text, message) in [
        ("[]", "process: not a JSON object"),
        ("{}", "process.args: required"),
        (r#"{"args": [], "cwd": "/"}"#, "process.args: "),
        (r#"{"args": ["a"]}"#, "process.cwd: required"),
        (r#"{"args": ["a"], "cwd": "a"}"#, "process.cwd: "),
        (
            r#"{"args": ["a"], "cwd": "/", "env": ["A"]}"#,
            "process.env[0]: ",
        ),
        (r#"{"args": [7], "cwd": "/"}"#, "process.args[0]: "),
        (r#"{"args": ["a\u0000"], "cwd": "/"}"#, "process.args[0]: "),
        (
            r#"{"args": ["a"], "cwd": "/", "user": {"uid": -1}}"#,
            "process.user.uid: ",
        ),
        (
            r#"{"args": ["a"], "cwd": "/", "user": {"uid": 4294967295, "gid": 0}}"#,
            "process.user.uid: ",
        ),
        (
            r#"{"args": ["a"], "cwd": "/", "rlimits": [{"type": "X", "soft": 1, "hard": 1}]}"#,
            "process.rlimits[0]",
        ),
        (
            r#"{"args": ["a"], "cwd": "/", "terminal": "yes"}"#,
            "process.terminal: ",
        ),
        ("{", "p.json: "),
        ("", "p.json: "),
    ] {
        fs::write(&file, text).unwrap();
        let outcome = exec(&bundle, &["-p", file.to_str().unwrap()], &[]);
        outcome.assert_code(255).assert_refused(message).one_line();
    }
}

/// config.md, "Extensibility".
fn unknown_fields_are_ignored() {
    let (bundle, _container) = running(Bundle::new());
    let changes = [
        ("/somethingNew", json!({"a": [1]})),
        ("/commandLine", Value::Null),
    ];
    described(&bundle, &["/bin/true"], &changes)
        .run()
        .assert_ok();
}

fn an_unreadable_process_file_is_reported() {
    let (bundle, _container) = running(Bundle::new());
    let directory = bundle.path().to_str().unwrap();
    for file in ["/nonexistent/process.json", directory] {
        let outcome = exec(&bundle, &["-p", file], &[]).assert_code(255);
        assert!(outcome.stderr.contains(file), "{outcome}");
    }
}

fn an_endless_process_file_is_refused() {
    only_rt("runc reads on");
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &["-p", "/dev/zero"], &[]).assert_code(255);
    outcome
        .assert_refused("--process /dev/zero: larger than")
        .one_line();
}

/// As in `exec -p <(jq ...)`.
fn the_process_file_may_be_a_pipe() {
    let (bundle, _container) = running(Bundle::new());
    let file = process_file(&bundle, &["/bin/echo", "from a pipe"], &[]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&fs::read(file).unwrap()).unwrap();
    drop(writer);
    let call = call(&bundle, &["-p", "/dev/stdin"], &[]);
    let outcome = call.with(|command| command.stdin(reader)).run();
    assert_eq!(outcome.assert_ok().stdout, "from a pipe\n");
}

fn a_relative_process_file_path_starts_at_the_callers_directory() {
    let (bundle, _container) = running(Bundle::new());
    process_file(&bundle, &["/bin/echo", "found"], &[]);
    let home = bundle.runtime().home().to_owned();
    let call = call(&bundle, &["-p", "process.json"], &[]);
    let outcome = call.with(|command| command.current_dir(home)).run();
    assert_eq!(outcome.assert_ok().stdout, "found\n");
}
