//! Hooks: when each kind is called, in which environment, and what happens when it fails.

mod failures;
mod inside;
mod life;
mod program;
mod when;

use std::fs;
use std::path::{Path, PathBuf};

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Report};

pub(crate) fn tests() -> Vec<Test> {
    [
        when::tests(),
        program::tests(),
        failures::tests(),
        inside::tests(),
        life::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) const PRESTART: &str = "prestart";
pub(crate) const CREATE_RUNTIME: &str = "createRuntime";
pub(crate) const CREATE_CONTAINER: &str = "createContainer";
pub(crate) const START_CONTAINER: &str = "startContainer";
pub(crate) const POSTSTART: &str = "poststart";
pub(crate) const POSTSTOP: &str = "poststop";

/// The environment of the scripts below, in which a shell finds its programs.
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// A hook that runs a shell script.
fn script(text: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", text], "env": [PATH]})
}

/// Appends a hook of this kind to those of the bundle.
pub(crate) fn add(bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    bundle.set(&format!("/hooks/{kind}/-"), hook)
}

/// The report of the probe that ran as a hook, and the state on its standard input.
pub(crate) struct Seen {
    pub(crate) report: Report,
    state: Value,
}

/// Three paths for a hook of this kind: its report and the probe as the hook sees them, and
/// the report as the test sees it.
fn places(bundle: &Bundle, kind: &str) -> (String, PathBuf, PathBuf) {
    let name = format!("seen-{kind}");
    if kind == START_CONTAINER {
        let probe = PathBuf::from("/probe");
        return (format!("/{name}"), probe, bundle.rootfs().join(name));
    }
    let file = bundle.path().join(name);
    let probe = bundle.rootfs().join("probe");
    (file.display().to_string(), probe, file)
}

/// The probe as a hook of this kind.
pub(crate) fn probe(bundle: &Bundle, kind: &str) -> Value {
    let (file, probe, _) = places(bundle, kind);
    json!({"path": probe, "args": ["the probe", "hook", file], "env": ["A=1"]})
}

/// A bundle whose process sleeps, with a writable root and the probe as a hook of this kind.
fn probing(kind: &str) -> Bundle {
    let bundle = Bundle::new().writable().args(&["/probe", "sleep"]);
    let hook = probe(&bundle, kind);
    add(bundle, kind, hook)
}

#[track_caller]
pub(crate) fn seen(bundle: &Bundle, kind: &str) -> Seen {
    let (_, _, file) = places(bundle, kind);
    let text = read(&file);
    let both: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("no report of a {kind} hook: {e}: {text}"));
    Seen {
        report: Report::parse(&both["seen"].to_string()),
        state: both["state"].clone(),
    }
}

/// A hook that appends a line to a file outside of the bundle. It reads the state, as old
/// versions of crun require.
fn note(bundle: &Bundle, line: &str) -> Value {
    script(&format!(
        "cat > /dev/null; echo {line} >> {}",
        notes(bundle).display()
    ))
}

fn notes(bundle: &Bundle) -> PathBuf {
    bundle
        .runtime()
        .home()
        .join(format!("notes-{}", bundle.id()))
}

/// The lines that hooks have written so far.
fn noted(bundle: &Bundle) -> Vec<String> {
    read(&notes(bundle)).lines().map(str::to_owned).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}
