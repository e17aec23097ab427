//! The outputs that managers parse: `state`, `list` and `ps` are compared with those of Debian's
//! runc, byte for byte.

use std::process::{Command, Stdio};

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, needs, only_rt, trials, wait_gone};

pub(super) fn tests() -> Vec<Test> {
    trials![outputs_are_identical_to_those_of_runc]
}

/// The outputs of a runtime for a bundle. Pids and times are replaced, since they differ.
fn outputs(program: &str, root: &str, bundle: &Bundle) -> Vec<(String, String)> {
    let call = |args: &[&str]| {
        let mut command = Command::new(program);
        command.args(["--root", root]).args(args);
        // The container inherits these streams and would keep the pipes open.
        if args[0] == "create" {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), output.stdout)
    };
    let (id, path) = (bundle.id(), bundle.path().to_str().unwrap());
    assert_eq!(call(&["create", "--bundle", path, id]).0, Some(0));
    let mut all = Vec::new();
    let state: Value = serde_json::from_slice(&call(&["state", id]).1).unwrap();
    let (pid, created) = (state["pid"].to_string(), state["created"].as_str().unwrap());
    let mut record = |when: &str| {
        let args: [&[&str]; 7] = [
            &["state", id],
            &["list"],
            &["list", "-q"],
            &["list", "--format", "json"],
            &["ps", "--format", "json", id],
            &["ps", id, "-o", "pid,user"],
            &["ps", id],
        ];
        for args in args {
            let (code, text) = call(args);
            let text = String::from_utf8(text).unwrap();
            let text = match args {
                // The name of the process before the start may differ.
                ["ps", _] => text.lines().next().unwrap_or_default().to_owned(),
                ["ps", ..] => text.replace(&format!("{pid:>7}"), " PID"),
                _ => text,
            };
            let text = text.replace(&pid, "PID");
            let text = text.replace(created, "CREATED");
            // Each is of the version with which its state complies.
            let text = ["1.3.0", "1.0.2-dev"].iter().fold(text, |text, version| {
                text.replace(&format!("\"ociVersion\": \"{version}\""), "VERSION")
                    .replace(&format!("\"ociVersion\":\"{version}\""), "VERSION")
            });
            // The widths of columns depend on the cells, and Go omits trailing zeros of a time.
            let text = match args {
                ["list"] => text.split_whitespace().collect::<Vec<_>>().join(" "),
                _ => text,
            };
            let result = format!("{code:?} {text}");
            all.push((format!("{when}: {args:?}"), result));
        }
    };
    record("created");
    assert_eq!(call(&["start", id]).0, Some(0));
    record("running");
    assert_eq!(call(&["kill", id, "KILL"]).0, Some(0));
    wait_gone(pid.parse().unwrap());
    record("stopped");
    assert_eq!(call(&["delete", id]).0, Some(0));
    record("gone");
    all
}

fn outputs_are_identical_to_those_of_runc() {
    only_rt("the test compares rt with runc");
    needs("runc", "runc");
    needs("ps", "procps");
    let annotations = json!({"z": "<a href='x'>&", "a": "line\u{2028}two", "é": "\u{7f}\"\\"});
    let bundle = Bundle::new().set("/annotations", annotations);
    let bundle = bundle.args(&["/probe", "sleep"]);
    bundle.write();
    let home = bundle.runtime().home();
    let roots = ["ours", "theirs"].map(|name| home.join(name).to_str().unwrap().to_owned());
    let ours = outputs(env!("CARGO_BIN_EXE_rt"), &roots[0], &bundle);
    let theirs = outputs("/usr/sbin/runc", &roots[1], &bundle);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}
