//! Which configurations are accepted and which are refused, with the error texts.

use super::*;
use serde_json::json;

use crate::log;

mod types;

fn refused(text: &str) -> String {
    log::format_error(&parse(text.as_bytes()).unwrap_err())
}

/// The smallest valid configuration, with `value` at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/"},
    });
    let mut at = &mut config;
    for name in pointer.split('/').skip(1) {
        at = match (name.parse::<usize>(), at) {
            (Ok(index), at) if index == 0 && at.is_null() => {
                *at = json!([null]);
                &mut at[0]
            }
            (_, at) => &mut at[name],
        };
    }
    *at = value;
    config
}

#[track_caller]
fn assert_refused(pointer: &str, value: Value, text: &str) {
    assert_eq!(refused(&with(pointer, value).to_string()), text);
}

#[track_caller]
fn assert_accepted(pointer: &str, value: Value) -> Spec {
    let config = with(pointer, value).to_string();
    parse(config.as_bytes())
        .unwrap_or_else(|error| panic!("{}: {config}", log::format_error(&error)))
}

/// A config.json as a container manager wrote it.
fn manager_config(name: &str) -> Value {
    let path = format!(
        "{}/tests/suite/configs/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// `cri-systemd-plain` has a slice in its cgroupsPath, which without `--systemd-cgroup` is part of
/// an ordinary path. `podman-rootless-rich` was written for a runtime that is root in a user
/// namespace of podman's.
const MANAGER_CONFIGS: [&str; 18] = [
    "buildah-plain",
    "buildah-rich",
    "containerd-plain",
    "containerd-rich",
    "cri-plain",
    "cri-rich",
    "cri-systemd-plain",
    "cri-systemd-rich",
    "docker-plain",
    "docker-rich",
    "docker-systemd-plain",
    "docker-systemd-rich",
    "podman-plain",
    "podman-rich",
    "podman-rootless-plain",
    "podman-rootless-rich",
    "podman-systemd-plain",
    "podman-systemd-rich",
];

#[test]
fn configurations_of_managers_are_accepted() {
    for name in MANAGER_CONFIGS {
        parse(manager_config(name).to_string().as_bytes()).unwrap();
    }
}

#[test]
fn a_syntax_error_has_a_line_and_a_column() {
    assert_eq!(
        refused("{]"),
        "config.json: line 1 column 2: key must be a string"
    );
    assert_eq!(
        refused("{\n \"ociVersion\": yes\n}"),
        "config.json: line 2 column 16: expected value"
    );
    assert_eq!(refused(""), "config.json: is empty");
    assert_eq!(refused("[]"), "config.json: not a JSON object");
}

#[test]
fn an_error_about_an_unknown_name_has_the_field_and_the_name() {
    assert_refused(
        "/linux/namespaces",
        json!([{"type": "pid"}, {"type": "foo"}]),
        r#"linux.namespaces[1].type: unknown value "foo": one of "mount", "cgroup", "uts", "ipc", "user", "pid", "network", "time""#,
    );
    assert_refused(
        "/linux/namespaces",
        json!([{"type": "nett"}]),
        r#"linux.namespaces[0].type: unknown value "nett": did you mean "network"?"#,
    );
    assert_refused(
        "/process/rlimits",
        json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        "process.rlimits[0].type: unknown value \"RLIMIT_FOO\"",
    );
    assert_refused(
        "/linux/devices",
        json!([{"type": "a", "path": "/dev/x", "major": 1, "minor": 1}]),
        r#"linux.devices[0].type: unknown value "a": one of "b", "c", "p", "u""#,
    );
    assert_refused(
        "/linux/resources/devices",
        json!([{"allow": true, "type": "p"}]),
        r#"linux.resources.devices[0].type: unknown value "p": one of "a", "b", "c""#,
    );
}

#[test]
fn a_missing_required_property_is_named() {
    let cases = [
        ("/ociVersion", json!(null), "ociVersion: required"),
        (
            "/ociVersion",
            json!("2.0.0"),
            "ociVersion: \"2.0.0\": only version 1 is supported",
        ),
        ("/root", json!(null), "root: required"),
        ("/root", json!({}), "root.path: required"),
        ("/process/cwd", json!(""), "process.cwd: required"),
        (
            "/process/args",
            json!([]),
            "process.args: at least one entry is required: [\"sh\"]",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "hard": 1}]),
            "process.rlimits[0].soft: required",
        ),
        (
            "/mounts",
            json!([{"destination": "/a"}, {}]),
            "mounts[1].destination: required",
        ),
        (
            "/linux/namespaces",
            json!([{"path": "/a"}]),
            "linux.namespaces[0].type: required",
        ),
        (
            "/hooks",
            json!({"poststop": [{"path": "/a"}, {"args": ["a"]}]}),
            "hooks.poststop[1].path: required",
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/x", "major": 1}]),
            "linux.devices[0].minor: required",
        ),
        (
            "/linux/resources/devices",
            json!([{"access": "rwm"}]),
            "linux.resources.devices[0].allow: required",
        ),
        (
            "/linux/seccomp",
            json!({"architectures": ["SCMP_ARCH_X86"]}),
            "linux.seccomp.defaultAction: required",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}),
            "linux.seccomp.syscalls[0].action: required",
        ),
    ];
    for (pointer, value, text) in cases {
        assert_refused(pointer, value, text);
    }
}

#[test]
fn a_duplicate_namespace_is_refused() {
    assert_refused(
        "/linux/namespaces",
        json!([{"type": "pid"}, {"type": "uts"}, {"type": "pid", "path": "/proc/1/ns/pid"}]),
        "linux.namespaces[2]: duplicate namespace type \"pid\": remove it, or linux.namespaces[0]",
    );
}

#[test]
fn a_section_for_another_platform_is_refused() {
    for platform in ["solaris", "windows", "vm", "zos", "freebsd"] {
        let text = format!("{platform}: for a platform other than Linux");
        assert_refused(&format!("/{platform}"), json!({"a": 1}), &text);
        assert_accepted(&format!("/{platform}"), json!({}));
    }
}

#[test]
fn empty_properties_are_accepted() {
    assert_accepted("/process/consoleSize", json!({"height": "tall"}));
    assert_accepted("/hooks", json!({"prestart": []}));
    assert_accepted("/linux/seccomp", json!(null));
    assert_accepted("/linux/seccomp", json!({}));
    assert_accepted("/linux/namespaces", json!([{"type": "pid", "path": ""}]));
    assert_accepted(
        "/linux/resources/devices",
        json!([{"allow": false, "type": "", "access": "rwm"}]),
    );
    let spec = assert_accepted("/linux/resources/pids", json!({}));
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().clone());
    assert!(resources.unwrap().pids().is_none());
}

#[test]
fn unknown_properties_are_ignored() {
    assert_accepted("/process/favouriteColour", json!({"r": 1}));
    assert_accepted("/linux/resources/memory/colour", json!("red"));
    assert_accepted("/mounts", json!([{"destination": "/a", "colour": null}]));
}

#[test]
fn unknown_capabilities_are_removed() {
    let names = json!(["CAP_KILL", "CAP_NONE_SUCH", "CAP_BPF"]);
    let spec = assert_accepted("/process/capabilities/bounding", names);
    let capabilities = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().clone());
    assert_eq!(capabilities.unwrap().bounding().as_ref().unwrap().len(), 2);
}

#[test]
fn an_unreadable_file_is_named() {
    let directory = std::env::temp_dir().join(format!("rt-bundle-{}", std::process::id()));
    let shown = directory.display().to_string();
    let path = directory.join("config.json");
    let refused = || log::format_error(&open(&directory).unwrap_err());

    assert_eq!(refused(), format!("bundle {shown}: not found (ENOENT)"));
    fs::create_dir_all(&path).unwrap();
    assert_eq!(refused(), format!("{shown}/config.json: is a directory"));
    fs::remove_dir(&path).unwrap();
    assert_eq!(
        refused(),
        format!("{shown}/config.json: not found (ENOENT)")
    );
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        refused(),
        format!("{shown}/config.json: not a regular file")
    );
    fs::remove_dir_all(&directory).unwrap();
}
