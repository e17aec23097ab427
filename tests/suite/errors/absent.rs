//! What is missing, and is neither the program nor where it is to run: engines take the words
//! "no such file or directory" and "executable file not found" for exit status 127, "command not
//! found". So nothing else may say them.

use std::fs;
use std::os::unix::fs::symlink;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, Kind, Outcome, Runtime, Traces, only_rt, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        the_program_alone_reads_as_not_found,
        what_a_config_names_reads_otherwise,
        what_the_command_line_names_reads_otherwise,
        what_the_log_says_reads_otherwise,
        hooks_read_otherwise,
        a_guest_reads_otherwise,
    ]
}

/// In small letters, as Podman (oci_util.go) and Docker (daemon/errors.go) look for them.
const WORDS: [&str; 3] = [
    "no such file or directory",
    "executable file not found",
    "open executable",
];

fn reads_as_not_found(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

#[track_caller]
fn assert_reads_otherwise(outcome: &Outcome, subject: &str) {
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.one_line().contains(subject), "{outcome}");
    assert!(!reads_as_not_found(&outcome.stderr), "{outcome}");
}

/// Made, and started if that works.
fn outcome(bundle: &Bundle) -> Outcome {
    let before = Traces::of(bundle);
    let outcome = bundle.run();
    before.assert_unchanged(bundle);
    outcome
}

fn the_program_alone_reads_as_not_found() {
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
        assert!(reads_as_not_found(&outcome.stderr), "{outcome}");
    }
}

fn mapped(bundle: Bundle) -> Bundle {
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = bundle.namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", ids.clone());
    bundle.set("/linux/gidMappings", ids)
}

fn what_a_config_names_reads_otherwise() {
    only_rt("runc's errors read so, whatever is missing");
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
    for (bundle, place) in cases {
        assert_reads_otherwise(&outcome(&bundle), place);
    }
}

fn hooks_read_otherwise() {
    only_rt("runc's errors read so, whatever is missing");
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
            assert_reads_otherwise(&outcome(&bundle), &format!("hooks.{moment}[0]"));
        }
    }
}

fn what_the_command_line_names_reads_otherwise() {
    only_rt("runc's errors read so, whatever is missing");
    let empty = Directory::new();
    let dangling = empty.join("link");
    symlink("/nonexistent", &dangling).unwrap();
    let bundle = Bundle::new().sh("exit 0");
    bundle.write();
    let at = bundle.path().to_str().unwrap().to_owned();
    let here = empty.path().to_str().unwrap();
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
        (&["create", "-b", here, "x"], "config.json"),
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
        (&["start", "nobody"], "container does not exist"),
    ];
    for (words, subject) in cases {
        let outcome = bundle.runtime().call(words).run();
        assert_reads_otherwise(&outcome, subject);
    }
    let flags = ["--pidfd-socket", "/nonexistent/pidfd"];
    let outcome = bundle.call("create", &flags).run();
    assert_reads_otherwise(&outcome, flags[1]);
    let call = bundle.call("run", &[]);
    let call = call.with(|command| command.env("NOTIFY_SOCKET", "/nonexistent/notify"));
    assert_reads_otherwise(&call.run(), "NOTIFY_SOCKET");
    let terminal = bundle.set("/process/terminal", json!(true));
    let flags = ["--console-socket", "/nonexistent/socket"];
    let outcome = terminal.call("create", &flags).run();
    assert_reads_otherwise(&outcome, "/nonexistent/socket");
}

/// What goes to the shim of containerd is the last error there.
fn what_the_log_says_reads_otherwise() {
    let runtime = Runtime::new();
    let log = runtime.home().join("log.json");
    let words = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let runtime = words.iter().fold(runtime, |all, word| all.global(word));
    let bundle = Bundle::with_runtime(&runtime);
    let bundle = bundle.bind("/nonexistent".as_ref(), "/tmp", &["bind"]);
    let outcome = bundle.run().assert_refused("/nonexistent");
    let written = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error", "{written}");
    let said = last["msg"].as_str().unwrap();
    assert!(said.contains("/nonexistent"), "{written}");
    if Kind::under_test() == Kind::Rt {
        assert!(!reads_as_not_found(said), "{written}");
        assert_eq!(outcome.one_line(), said);
    }
}

/// A process that is to join a container.
fn a_guest_reads_otherwise() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let exec = |words: &[&str]| {
        let words: Vec<&str> = ["exec"].iter().chain(words).copied().collect();
        bundle.runtime().call(&words).run()
    };
    // Where a program is to run belongs to it: Docker's users expect 127 of both.
    for words in [
        &[container.id(), "no-such-program"] as &[&str],
        &[container.id(), "/bin/no-such-program"],
        &["--cwd", "/nonexistent", container.id(), "true"],
    ] {
        let outcome = exec(words).assert_refused("");
        assert!(reads_as_not_found(&outcome.stderr), "{outcome}");
    }
    only_rt("runc's errors read so, whatever is missing");
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
    for (words, subject) in cases {
        assert_reads_otherwise(&exec(words), subject);
    }
}
