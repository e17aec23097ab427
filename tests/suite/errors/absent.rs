//! Texts of errors about missing files. Engines map "no such file or directory" and "executable
//! file not found" to exit status 127, "command not found". So only errors about the program or its
//! working directory may contain these texts.

use std::fs;
use std::os::unix::fs::symlink;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, HostState, Kind, Outcome, Runtime, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_missing_program_is_reported_as_not_found,
        a_missing_file_of_the_config_is_reported_otherwise,
        a_missing_file_of_the_command_line_is_reported_otherwise,
        a_missing_file_is_logged_otherwise,
        a_missing_hook_is_reported_otherwise,
        a_missing_file_of_exec_is_reported_otherwise,
    ]
}

/// The texts that Podman (oci_util.go) and Docker (daemon/errors.go) search for, in lower case.
const NOT_FOUND_TEXTS: [&str; 3] = [
    "no such file or directory",
    "executable file not found",
    "open executable",
];

fn is_not_found_text(text: &str) -> bool {
    let text = text.to_lowercase();
    NOT_FOUND_TEXTS.iter().any(|phrase| text.contains(phrase))
}

#[track_caller]
fn assert_reported_otherwise(outcome: &Outcome, subject: &str) {
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.one_line().contains(subject), "{outcome}");
    assert!(!is_not_found_text(&outcome.stderr), "{outcome}");
}

/// Runs the container and asserts that nothing of it remains.
fn outcome(bundle: &Bundle) -> Outcome {
    let before = HostState::of(bundle);
    let outcome = bundle.run();
    before.assert_unchanged(bundle);
    outcome
}

fn a_missing_program_is_reported_as_not_found() {
    let script = "#!/bin/no-such-shell\n";
    let missing = [
        Bundle::new().args(&["no-such-program"]),
        Bundle::new().args(&["/bin/no-such-program"]),
        Bundle::new().args(&["/no/such/directory/program"]),
        Bundle::new()
            .args(&["/script"])
            .executable("script", script),
        Bundle::new().args(&["/link"]).symlink("link", "/nowhere"),
    ];
    for bundle in missing {
        let outcome = outcome(&bundle).assert_refused("");
        assert!(is_not_found_text(&outcome.stderr), "{outcome}");
    }
}

fn mapped(bundle: Bundle) -> Bundle {
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = bundle.namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", ids.clone());
    bundle.set("/linux/gidMappings", ids)
}

fn a_missing_file_of_the_config_is_reported_otherwise() {
    only_rt("runc's errors contain these texts whatever is missing");
    let node = |path: &str| json!({"path": path, "type": "c", "major": 1, "minor": 3});
    let overlay = json!({
        "destination": "/tmp", "type": "overlay", "source": "overlay",
        "options": ["lowerdir=/nonexistent/a:/nonexistent/b"],
    });
    let nothing = "/nonexistent/thing".as_ref();
    let cases = [
        (
            Bundle::new().set("/root/path", json!("nothing")),
            "root.path",
        ),
        (
            Bundle::new().set("/root/path", json!("/nonexistent")),
            "root.path",
        ),
        (Bundle::new().bind(nothing, "/tmp", &["bind"]), "mounts[7]"),
        (
            Bundle::new().bind(nothing, "/tmp", &["rbind", "ro"]),
            "mounts[7]",
        ),
        (
            mapped(Bundle::new()).bind(nothing, "/tmp", &["bind"]),
            "mounts[",
        ),
        (Bundle::new().mount(overlay), "mounts[7]"),
        (
            Bundle::new().namespace("network", Some("/nonexistent/net")),
            "linux.namespaces[",
        ),
        (
            Bundle::new().namespace("pid", Some("/proc/4194305/ns/pid")),
            "linux.namespaces[",
        ),
        (
            Bundle::new().namespace("user", Some("/nonexistent/user")),
            "linux.namespaces[",
        ),
        (
            Bundle::new().namespace("ipc", Some("/nonexistent/ipc")),
            "linux.namespaces[",
        ),
        (
            Bundle::new().set("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"})),
            "linux.sysctl",
        ),
        (
            mapped(Bundle::new()).set("/linux/devices", json!([node("/dev/no-such-device")])),
            "linux.devices[0]",
        ),
        (
            Bundle::new().set("/linux/resources/unified", json!({"no.such.file": "1"})),
            "linux.resources.unified",
        ),
    ];
    for (bundle, field) in cases {
        assert_reported_otherwise(&outcome(&bundle), field);
    }
}

fn a_missing_hook_is_reported_otherwise() {
    only_rt("runc's errors contain these texts whatever is missing");
    for moment in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
    ] {
        for path in ["/nonexistent/hook", "/proc/self/no-such-file"] {
            let hook = json!([{"path": path}]);
            let bundle = Bundle::new().sh("exit 0");
            let bundle = bundle.set(&format!("/hooks/{moment}"), hook);
            assert_reported_otherwise(&outcome(&bundle), &format!("hooks.{moment}[0]"));
        }
    }
}

fn a_missing_file_of_the_command_line_is_reported_otherwise() {
    only_rt("runc's errors contain these texts whatever is missing");
    let empty = Directory::new();
    let dangling = empty.join("link");
    symlink("/nonexistent", &dangling).unwrap();
    let bundle = Bundle::new().sh("exit 0");
    bundle.write();
    let at = bundle.path().to_str().unwrap().to_owned();
    let without_config = empty.path().to_str().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--log", "/nonexistent/log", "list"], "--log"),
        (
            &["--root", "/nonexistent/root", "list"],
            "/nonexistent/root",
        ),
        (
            &["create", "-b", "/nonexistent", "x"],
            "bundle /nonexistent",
        ),
        (&["create", "-b", without_config, "x"], "config.json"),
        (
            &["create", "-b", dangling.to_str().unwrap(), "x"],
            "bundle ",
        ),
        (&["run", "./no-such-bundle"], "bundle "),
        (
            &["create", "--pid-file", "/nonexistent/pid", "-b", &at, "x"],
            "pid file",
        ),
        (&["spec", "-b", "/nonexistent"], "/nonexistent/config.json"),
        (&["start", "no-such-container"], "container does not exist"),
    ];
    for (args, subject) in cases {
        let outcome = bundle.runtime().call(args).run();
        assert_reported_otherwise(&outcome, subject);
    }
    let flags = ["--pidfd-socket", "/nonexistent/pidfd"];
    let outcome = bundle.call("create", &flags).run();
    assert_reported_otherwise(&outcome, flags[1]);
    let call = bundle.call("run", &[]);
    let call = call.with(|command| command.env("NOTIFY_SOCKET", "/nonexistent/notify"));
    assert_reported_otherwise(&call.run(), "NOTIFY_SOCKET");
    let terminal = bundle.set("/process/terminal", json!(true));
    let flags = ["--console-socket", "/nonexistent/socket"];
    let outcome = terminal.call("create", &flags).run();
    assert_reported_otherwise(&outcome, "/nonexistent/socket");
}

/// containerd's shim reads the last error in the log.
fn a_missing_file_is_logged_otherwise() {
    let runtime = Runtime::new();
    let log = runtime.home().join("log.json");
    let args = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let runtime = args
        .iter()
        .fold(runtime, |runtime, arg| runtime.global(arg));
    let bundle = Bundle::with_runtime(&runtime);
    let bundle = bundle.bind("/nonexistent".as_ref(), "/tmp", &["bind"]);
    let outcome = bundle.run().assert_refused("/nonexistent");
    let written = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error", "{written}");
    let message = last["msg"].as_str().unwrap();
    assert!(message.contains("/nonexistent"), "{written}");
    if Kind::under_test() == Kind::Rt {
        assert!(!is_not_found_text(message), "{written}");
        assert_eq!(outcome.one_line(), message);
    }
}

/// Errors about the process of `exec`.
fn a_missing_file_of_exec_is_reported_otherwise() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let exec = |args: &[&str]| {
        let args: Vec<&str> = ["exec"].iter().chain(args).copied().collect();
        bundle.runtime().call(&args).run()
    };
    // A missing working directory counts like a missing program: Docker's users expect 127.
    for args in [
        &[container.id(), "no-such-program"] as &[&str],
        &[container.id(), "/bin/no-such-program"],
        &["--cwd", "/nonexistent", container.id(), "true"],
    ] {
        let outcome = exec(args).assert_refused("");
        assert!(is_not_found_text(&outcome.stderr), "{outcome}");
    }
    only_rt("runc's errors contain these texts whatever is missing");
    let cases: [(&[&str], &str); 3] = [
        (
            &["--process", "/nonexistent/process", container.id()],
            "--process",
        ),
        (
            &["--pid-file", "/nonexistent/pid", container.id(), "true"],
            "pid file",
        ),
        (&["--cgroup", "nowhere", container.id(), "true"], "--cgroup"),
    ];
    for (args, subject) in cases {
        assert_reported_otherwise(&exec(args), subject);
    }
}
