//! What managers parse: `state`, `list` and `ps` beside those of Debian's runc, byte for byte.

use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{Bundle, only_rt, skip, trials, wait_gone};

pub(super) fn tests() -> Vec<Trial> {
    trials![outputs_are_those_of_runc]
}

/// What two runtimes say of the same bundle, once what has to differ is taken out.
fn said(program: &str, root: &str, bundle: &Bundle) -> Vec<(String, String)> {
    let call = |words: &[&str]| {
        let mut command = Command::new(program);
        command.args(["--root", root]).args(words);
        // What the container inherits must not keep the answer open.
        if words[0] == "create" {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), output.stdout)
    };
    let (id, path) = (bundle.id(), bundle.path().to_str().unwrap());
    assert_eq!(call(&["create", "--bundle", path, id]).0, Some(0));
    let mut all = Vec::new();
    let state: Value = serde_json::from_slice(&call(&["state", id]).1).unwrap();
    let (number, created) = (state["pid"].to_string(), state["created"].as_str().unwrap());
    let mut ask = |when: &str| {
        let words: [&[&str]; 7] = [
            &["state", id],
            &["list"],
            &["list", "-q"],
            &["list", "--format", "json"],
            &["ps", "--format", "json", id],
            &["ps", id, "-o", "pid,user"],
            &["ps", id],
        ];
        for words in words {
            let (code, text) = call(words);
            let text = String::from_utf8(text).unwrap();
            let text = match words {
                // What the process is called before it is started is its own affair.
                ["ps", _] => text.lines().next().unwrap_or_default().to_owned(),
                ["ps", ..] => text.replace(&format!("{number:>7}"), " NUMBER"),
                _ => text,
            };
            let text = text.replace(&number, "NUMBER");
            let text = text.replace(created, "CREATED");
            // A table is as wide as its cells, and Go leaves out zeros at the end of a time.
            let text = match words {
                ["list"] => text.split_whitespace().collect::<Vec<_>>().join(" "),
                _ => text,
            };
            let shown = format!("{code:?} {text}");
            all.push((format!("{when}: {words:?}"), shown));
        }
    };
    ask("created");
    assert_eq!(call(&["start", id]).0, Some(0));
    ask("running");
    assert_eq!(call(&["kill", id, "KILL"]).0, Some(0));
    wait_gone(number.parse().unwrap());
    ask("stopped");
    assert_eq!(call(&["delete", id]).0, Some(0));
    ask("gone");
    all
}

fn outputs_are_those_of_runc() {
    only_rt("it is compared with runc");
    if !fs::exists("/usr/sbin/runc").unwrap() {
        skip("no runc to compare with");
    }
    let annotations = json!({"z": "<a href='x'>&", "a": "line\u{2028}two", "é": "\u{7f}\"\\"});
    let bundle = Bundle::new().set("/annotations", annotations);
    let bundle = bundle.args(&["/probe", "sleep"]);
    bundle.write();
    let home = bundle.runtime().home();
    let roots = ["ours", "theirs"].map(|name| home.join(name).to_str().unwrap().to_owned());
    let ours = said(env!("CARGO_BIN_EXE_rt"), &roots[0], &bundle);
    let theirs = said("/usr/sbin/runc", &roots[1], &bundle);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}
