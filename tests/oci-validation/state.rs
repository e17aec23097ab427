//! runtime.md, "State": the properties of a container's state.

use std::fs;
use std::path::Path;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::common::sleeper;
use crate::harness::{
    Container, Directory, Kind, alive, namespace_of, trials, violates, wait_gone, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_required_properties_are_there,
        the_version_is_a_semantic_version,
        the_version_is_that_of_the_runtime,
        the_status_follows_the_lifecycle,
        the_status_is_created_until_the_program_is_executed,
        the_pid_is_the_pid_of_the_container_process,
        the_bundle_is_absolute,
        annotations_are_in_the_state,
        without_annotations_the_property_is_absent_or_empty,
        the_state_is_one_json_value,
        every_invocation_finds_the_container,
    ]
}

/// Checks the state against schema/state-schema.json.
#[track_caller]
fn assert_schema(state: &Value) {
    for name in ["ociVersion", "id", "status", "bundle"] {
        assert!(
            state[name].is_string(),
            "{name}: REQUIRED, a string: {state}"
        );
    }
    let status = state["status"].as_str().unwrap();
    assert!(
        ["creating", "created", "running", "stopped"].contains(&status),
        "{state}"
    );
    // "REQUIRED when status is created or running on Linux"
    let required = status == "created" || status == "running";
    assert!(!required || state["pid"].as_i64() > Some(0), "{state}");
    assert!(
        state.get("pid").is_none_or(|pid| pid.as_i64() >= Some(0)),
        "{state}"
    );
    let annotations = state.get("annotations").and_then(Value::as_object);
    let mut values = annotations.into_iter().flat_map(serde_json::Map::values);
    assert!(values.all(Value::is_string), "{state}");
}

fn the_required_properties_are_there() {
    let bundle = sleeper();
    let container = bundle.create();
    assert_schema(&container.state());
    assert_eq!(container.state()["id"], bundle.id());
    container.start().assert_ok();
    assert_schema(&container.state());
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    container.wait_stopped();
    assert_schema(&container.state());
}

/// "version of the Open Container Initiative Runtime Specification with which the state complies"
fn the_version_is_a_semantic_version() {
    let bundle = sleeper();
    let state = bundle.create().state();
    let version = state["ociVersion"].as_str().unwrap().to_owned();
    let core = version.split(['-', '+']).next().unwrap();
    let numbers: Vec<u64> = core
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!((numbers.len(), numbers[0]), (3, 1), "{version}");
}

/// The same version, whatever that of config.json is.
fn the_version_is_that_of_the_runtime() {
    let version = |of_config| {
        let bundle = sleeper().set("/ociVersion", json!(of_config));
        let state = bundle.create().state();
        state["ociVersion"].as_str().unwrap().to_owned()
    };
    assert_eq!(version("1.0.0"), version("1.0.2"));
}

/// `created`: "the container process has neither exited nor executed the user-specified program", which holds while a
/// startContainer hook runs.
fn the_status_is_created_until_the_program_is_executed() {
    violates(Kind::Crun, "says that it runs");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo > /hook/began; read line < /hook/end"] }]);
    let files = Directory::new();
    nix::unistd::mkfifo(&files.join("end"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let bundle = sleeper()
        .bind(files.path(), "/hook", &["bind"])
        .set("/hooks/startContainer", hook);
    let container = bundle.create();
    let start = bundle.runtime().call(&["start", bundle.id()]).start();
    wait_until("the hook", || files.join("began").exists());
    assert_eq!(container.status(), "created");
    fs::write(files.join("end"), "go\n").unwrap();
    start.wait().assert_ok();
    assert_eq!(container.status(), "running");
}

fn the_status_follows_the_lifecycle() {
    let bundle = sleeper();
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    container.start().assert_ok();
    assert_eq!(container.status(), "running");
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    assert_eq!(container.status(), "stopped");
}

/// "For hooks executed in the runtime namespace, it is the pid as seen by the runtime."
fn the_pid_is_the_pid_of_the_container_process() {
    let bundle = sleeper();
    let container = bundle.create();
    let pid = container.pid();
    assert!(alive(pid));
    let namespace = namespace_of(&pid.to_string(), "pid");
    assert_ne!(namespace, namespace_of("self", "pid"));
    container.start().assert_ok();
    assert_eq!(container.pid(), pid);
    assert_eq!(namespace_of(&pid.to_string(), "pid"), namespace);
}

/// "the absolute path to the container's bundle directory", even if `create` was given a relative path.
fn the_bundle_is_absolute() {
    let bundle = sleeper();
    bundle.write();
    let call = bundle
        .runtime()
        .call(&["create", "--bundle", ".", bundle.id()]);
    call.with(|command| command.current_dir(bundle.path()))
        .run()
        .assert_ok();
    let state = bundle.container().state();
    let path = Path::new(state["bundle"].as_str().unwrap());
    assert_eq!(path, bundle.path());
}

fn annotations_are_in_the_state() {
    let annotations = json!({"com.example.key": "value", "com.example.empty": ""});
    let bundle = sleeper().set("/annotations", annotations.clone());
    let state = bundle.create().state();
    for (key, value) in annotations.as_object().unwrap() {
        assert_eq!(&state["annotations"][key], value);
    }
}

fn without_annotations_the_property_is_absent_or_empty() {
    let bundle = sleeper().remove("/annotations");
    let state = bundle.create().state();
    let annotations = state.get("annotations").and_then(Value::as_object);
    assert!(annotations.is_none_or(serde_json::Map::is_empty), "{state}");
}

/// "When serialized in JSON": standard output has nothing but the JSON value.
fn the_state_is_one_json_value() {
    let bundle = sleeper();
    let outcome = bundle.create().call("state", &[]).assert_ok();
    assert!(serde_json::from_str::<Value>(&outcome.stdout).is_ok_and(|state| state.is_object()));
    assert_eq!(outcome.stderr, "");
}

/// "The entity using a runtime to create a container MUST be able to use the operations … against
/// that same container."
fn every_invocation_finds_the_container() {
    let bundle = sleeper();
    let created = bundle.create();
    let found: Container = bundle.container();
    assert_eq!(found.state(), created.state());
    found.start().assert_ok();
    assert_eq!(created.status(), "running");
}
