//! The spellings of flags, and the effects of the global flags.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{call, call_in};
use crate::harness::{Bundle, Directory, Kind, Runtime, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        version_has_the_lines_that_engines_parse,
        a_link_called_runc_answers_as_runc,
        help_is_printed_with_exit_status_0,
        flags_accept_one_dash_or_two,
        a_flag_can_be_true_or_false,
        flags_may_follow_the_id,
        a_relative_root_is_below_the_working_directory,
        debug_logs_messages,
        debug_logs_each_step_with_its_time,
        without_debug_nothing_is_logged,
    ]
}

fn version_has_the_lines_that_engines_parse() {
    for flag in ["--version", "-v", "-version"] {
        let output = call(&[flag]).assert_ok().stdout;
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[0].contains(" version "), "{output}");
        assert!(
            lines.iter().any(|line| line.starts_with("commit: ")),
            "{output}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("spec: 1.")),
            "{output}"
        );
        if Kind::under_test() == Kind::Rt {
            assert_eq!(
                lines[0],
                format!("rt version {}", env!("CARGO_PKG_VERSION"))
            );
            assert_eq!(lines[2..], ["spec: 1.3.0"]);
        }
    }
}

/// containerd's go-runc accepts only the name `runc`.
fn a_link_called_runc_answers_as_runc() {
    differs(Kind::Crun, "is always crun");
    let home = Directory::new();
    let runtime = Runtime::new();
    let link = home.join("runc");
    std::os::unix::fs::symlink(runtime.program(), &link).unwrap();
    let args = vec![link.to_str().unwrap(), "--version"];
    let output = runtime.call_as_is(args).run().assert_ok().stdout;
    let lines: Vec<&str> = output.lines().collect();
    let version = lines[0].strip_prefix("runc version 1.");
    assert!(version.is_some(), "{output}");
    assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."));
    if Kind::under_test() == Kind::Rt {
        let own = concat!("+rt.", env!("CARGO_PKG_VERSION"));
        assert!(lines[0].ends_with(own), "{output}");
        let args = vec![link.to_str().unwrap(), "bogus"];
        let outcome = runtime.call_as_is(args).run();
        let line = "rt: No help topic for 'bogus': rt help lists the commands\n";
        assert_eq!(outcome.stderr, line);
    }
}

fn help_is_printed_with_exit_status_0() {
    differs(Kind::Crun, "has no -h");
    let mut verbs = vec![
        "run", "create", "start", "state", "kill", "delete", "list", "ps", "spec", "features",
    ];
    if Kind::under_test() == Kind::Rt {
        verbs.extend(["network", "check", "diff", "info", "events", "stats"]);
    }
    let of_help = [&["help", "help"] as &[&str], &["help", "-h"]];
    for args in of_help {
        assert!(call(args).assert_ok().stdout.contains("help"));
    }
    let mut of_all = vec![&["--help"] as &[&str], &["-h"], &["help"], &[]];
    if Kind::under_test() == Kind::Rt {
        of_all.extend(of_help);
    }
    for args in of_all {
        let output = call(args).assert_ok().stdout;
        for verb in &verbs {
            assert!(output.contains(verb), "{verb} in {output}");
        }
    }
    for verb in verbs {
        for args in [[verb, "--help"], [verb, "-h"]] {
            assert!(call(&args).assert_ok().stdout.contains(verb));
        }
    }
}

fn flags_accept_one_dash_or_two() {
    differs(Kind::Crun, "one dash is only for single letters");
    let bundle = Bundle::new().sh("exit 4");
    bundle.write();
    let directory = bundle.path().to_str().unwrap();
    for flags in [
        ["-bundle", directory],
        ["--bundle", directory],
        ["-b", directory],
    ] {
        let args = ["run", flags[0], flags[1], "-no-new-keyring", bundle.id()];
        bundle.runtime().call(&args).run().assert_code(4);
    }
    let joined = format!("-bundle={directory}");
    bundle
        .runtime()
        .call(&["run", &joined, bundle.id()])
        .run()
        .assert_code(4);
}

fn a_flag_can_be_true_or_false() {
    differs(Kind::Crun, "its flags without a value accept none");
    let bundle = Bundle::new().sh("exit 0");
    bundle.call("run", &["--keep=false"]).run().assert_ok();
    assert_eq!(
        bundle
            .runtime()
            .call(&["list", "--quiet=true"])
            .run()
            .stdout,
        ""
    );
    bundle.call("run", &["--keep=true"]).run().assert_ok();
    let kept = bundle.runtime().call(&["list", "-q"]).run().stdout;
    assert_eq!(kept, format!("{}\n", bundle.id()));
    let outcome = bundle.runtime().call(&["list", "--quiet=perhaps"]).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
}

/// cri-o and users write `delete ID --force`.
fn flags_may_follow_the_id() {
    differs(Kind::Crun, "accepts flags only before the id");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.create();
    bundle
        .runtime()
        .call(&["delete", container.id(), "--force"])
        .run()
        .assert_ok();
    assert_eq!(bundle.runtime().call(&["list", "-q"]).run().stdout, "");
}

fn a_relative_root_is_below_the_working_directory() {
    let home = Directory::new();
    fs::create_dir(home.join("root")).unwrap();
    let runtime = Runtime::new().global("--root").global("root");
    call_in(&runtime, home.path(), &["list"]).assert_ok();
}

/// The messages of a debug log. Asserts that no timestamp is earlier than the previous one.
#[track_caller]
fn steps(log: &str) -> Vec<String> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert!(lines.iter().all(|line| line["level"] == "debug"), "{log}");
    let times = lines.iter().map(|line| line["time"].as_str().unwrap());
    let times: Vec<&str> = times.collect();
    let format = "2026-01-01T00:00:00.000000Z";
    assert!(
        times.iter().all(|time| time.len() == format.len()) && times.is_sorted(),
        "{log}"
    );
    let texts = lines
        .iter()
        .map(|line| line["msg"].as_str().unwrap().to_owned());
    texts.collect()
}

#[track_caller]
fn assert_in_order(messages: &[String], expected: &[&str]) {
    let mut messages = messages.iter();
    for text in expected {
        assert!(
            messages.any(|one| one.starts_with(text)),
            "{text} is missing or out of order"
        );
    }
}

fn debug_logs_each_step_with_its_time() {
    only_rt("runc logs other messages");
    let runtime = Runtime::new().global("--debug");
    let log = runtime.home().join("debug.json");
    let runtime = runtime.global("--log-format=json").global("--log");
    let runtime = runtime.global(log.to_str().unwrap());
    let logged = || {
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        steps(&text)
    };
    let (creation, start) = (
        [
            "OpenRoot",
            "Clone",
            "Mount: mounts[0]: mount ",
            "Uid: process.user.uid: ",
            "Start",
        ],
        ["Limit", "Seccomp", "Exec: process.args[0]: "],
    );
    Bundle::with_runtime(&runtime)
        .sh("exit 0")
        .run()
        .assert_ok();
    assert_in_order(&logged(), &[&creation as &[&str], &start].concat());

    let bundle = Bundle::with_runtime(&runtime).args(&["/probe", "sleep"]);
    let container = bundle.create();
    let texts = logged();
    assert_in_order(&texts, &creation);
    assert!(!texts.iter().any(|text| text.starts_with("Exec:")));
    runtime.call(&["start", bundle.id()]).run().assert_ok();
    assert_in_order(&logged(), &start);

    runtime
        .call(&["exec", bundle.id(), "/bin/true"])
        .run()
        .assert_ok();
    let expected = [
        "Clone",
        "Uid",
        "Executable: process.args[0]: ",
        "Exec: process.args[0]: ",
    ];
    assert_in_order(&logged(), &expected);
    container.end();
}

/// With a seccomp filter that kills the process if it writes a message, and with a memory limit
/// that leaves no room for one.
fn without_debug_nothing_is_logged() {
    only_rt("runc fails with such a filter and such a limit");
    let limit = json!({"type": "RLIMIT_AS", "soft": 0, "hard": 0});
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["sendto", "sendmsg", "write"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]});
    for debug in [false, true] {
        let runtime = Runtime::new();
        let runtime = if debug {
            runtime.global("--debug")
        } else {
            runtime
        };
        let bundle = Bundle::with_runtime(&runtime).args(&["/bin/true"]);
        let outcome = bundle
            .set("/linux/seccomp", filter.clone())
            .run()
            .assert_ok();
        assert_eq!(outcome.stderr.is_empty(), !debug, "{outcome}");
        // The kernel cannot load the program and kills the process inside execve(2).
        let bundle = Bundle::with_runtime(&runtime).args(&["/bin/true"]);
        let outcome = bundle.set("/process/rlimits", json!([limit])).run();
        assert!(!outcome.stderr.contains("out of memory"), "{outcome}");
    }
}

fn debug_logs_messages() {
    differs(Kind::Crun, "prints nothing");
    let runtime = Runtime::new().global("--debug");
    let bundle = Bundle::with_runtime(&runtime).sh("exit 0");
    let outcome = bundle.run().assert_ok();
    assert!(!outcome.stderr.is_empty(), "{outcome}");
}
