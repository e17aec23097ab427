//! `events`: what a container uses as runc's JSON, notices when its memory has run out, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Kind, Outcome, Runtime, View, blocks_in_poll, differs, needs, on_v2, only_rt, trials,
    wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        statistics_have_the_keys_and_types_of_runc,
        a_line_is_printed_each_interval_until_the_container_ends,
        running_out_of_memory_is_notified_before_the_end,
        a_container_that_is_not_running_has_no_events,
        an_interval_is_a_duration_greater_than_0,
    ]
}

/// Uses CPU, memory and a block device, if the root is on one.
const BUSY: &str = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; \
     busybox dd if=/dev/zero of=/tmp/file bs=64k count=8 conv=fsync 2>/dev/null; \
     echo ready; sleep 1000";

/// Keys that Debian's runc 1.1.5 does not have and that runc 1.5 has, on cgroup v2.
const NEWER: [&str; 4] = ["cpu.psi", "memory.psi", "blkio.psi", "memory.usage.max"];

fn statistics_have_the_keys_and_types_of_runc() {
    differs(Kind::Crun, "has no events");
    only_rt("the test runs runc itself");
    needs("runc", "runc");
    let views = if on_v2() {
        &[View::Host][..]
    } else {
        &[View::Host, View::V2]
    };
    for view in views {
        let runtime = Runtime::new().view(*view);
        let bundle = Bundle::with_runtime(&runtime).writable().sh(BUSY);
        let container = bundle.run_detached();
        container.wait_for("ready");
        let ours = statistics(&runtime.call(&["events", "--stats", bundle.id()]).run());
        container.end();
        let theirs = statistics_of_runc(&runtime, &bundle);
        let (mut ours, theirs) = (shape(&ours), shape(&theirs));
        if *view == View::V2 || on_v2() {
            assert_eq!(
                ours.contains_key("cpu.psi"),
                Path::new("/proc/pressure/cpu").exists()
            );
            ours.retain(|key, _| {
                theirs.contains_key(key) || !NEWER.iter().any(|newer| key.starts_with(newer))
            });
        }
        assert_eq!(ours, theirs);
    }
}

/// The statistics of the same bundle under Debian's runc, with a `--root` of its own.
fn statistics_of_runc(runtime: &Runtime, bundle: &Bundle) -> Value {
    let root = runtime.home().join("runc");
    let (root, path) = (root.to_str().unwrap(), bundle.path().to_str().unwrap());
    let id = format!("{}-runc", bundle.id());
    let call = |args: &[&str]| {
        let program = [Kind::Runc.program(), "--root", root];
        runtime.call_as_is([&program, args].concat())
    };
    bundle.write();
    let run = call(&["run", "--detach", "--bundle", path, &id]);
    let output = run.output().with_extension("out");
    run.run().assert_ok();
    wait_until("the container of runc is ready", || {
        std::fs::read_to_string(&output).unwrap().contains("ready")
    });
    let statistics = statistics(&call(&["events", "--stats", &id]).run());
    call(&["delete", "--force", &id]).run().assert_ok();
    statistics
}

/// The data of the only line, which is about statistics.
fn statistics(outcome: &Outcome) -> Value {
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    let line: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(line["type"], "stats");
    assert_eq!(line.as_object().unwrap().len(), 3);
    line["data"].clone()
}

/// The path of each key and the types of its values. Elements of an array have one path.
fn shape(value: &Value) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut shape = BTreeMap::new();
    add_shape(String::new(), value, &mut shape);
    shape
}

fn add_shape(path: String, value: &Value, shape: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    for (key, member) in value.as_object().into_iter().flatten() {
        add_shape(
            format!("{path}.{key}").trim_start_matches('.').to_owned(),
            member,
            shape,
        );
    }
    for element in value.as_array().into_iter().flatten() {
        add_shape(format!("{path}[]"), element, shape);
    }
    shape.entry(path).or_default().insert(kind);
}

fn a_line_is_printed_each_interval_until_the_container_ends() {
    differs(Kind::Crun, "has no events");
    differs(
        Kind::Runc,
        "with cgroup v1 it goes on until the container is deleted",
    );
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let call = bundle
        .runtime()
        .call(&["events", "--interval=20ms", bundle.id()]);
    let events = call.start();
    wait_until("two lines of events", || {
        events.stdout().lines().count() >= 2
    });
    container.kill("KILL").assert_ok();
    let outcome = events.wait().assert_ok();
    for line in outcome.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["type"], "stats");
        assert_eq!(line["id"], bundle.id());
        assert!(line["data"]["pids"].is_object(), "{line}");
    }
}

fn running_out_of_memory_is_notified_before_the_end() {
    differs(Kind::Crun, "has no events");
    differs(
        Kind::Runc,
        "with cgroup v1 it goes on until the container is deleted",
    );
    let bundle = Bundle::new()
        .set("/linux/resources/memory", json!({ "limit": 16_777_216 }))
        .sh("exec busybox tail /dev/zero");
    let container = bundle.create();
    let call = bundle
        .runtime()
        .call(&["events", "--interval=1h", bundle.id()]);
    let events = call.start();
    wait_until("events waits", || blocks_in_poll(events.pid()));
    container.start().assert_ok();
    let outcome = events.wait().assert_ok();
    let expected = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", bundle.id());
    assert!(!outcome.stdout.is_empty(), "{outcome}");
    for line in outcome.stdout.lines() {
        assert_eq!(line, expected);
    }
}

fn a_container_that_is_not_running_has_no_events() {
    differs(Kind::Crun, "has no events");
    let bundle = Bundle::new().sh("exit 0");
    let container = bundle.run_detached();
    container.wait_stopped();
    for flags in [&[][..], &["--stats"]] {
        let outcome = container.call("events", flags).assert_code(1);
        let text = format!("container with id {} is not running", bundle.id());
        outcome.assert_refused(&text);
    }
    let outcome = bundle.runtime().call(&["events", "another"]).run();
    outcome
        .assert_code(1)
        .assert_refused("container does not exist");
}

fn an_interval_is_a_duration_greater_than_0() {
    differs(Kind::Crun, "has no events");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.create();
    for (interval, text) in [
        ("0s", "duration interval must be greater than 0"),
        ("-5s", "duration interval must be greater than 0"),
        ("5", "-interval: "),
        ("often", "-interval: "),
    ] {
        let flag = format!("--interval={interval}");
        let outcome = container.call("events", &[&flag]);
        assert_eq!(outcome.code(), 1, "{outcome}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains(text), "{interval}: {outcome}");
    }
    container
        .call("events", &["--stats", "--interval=1m0.5s"])
        .assert_ok();
}
