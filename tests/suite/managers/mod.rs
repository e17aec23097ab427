//! What real managers write: configs of containerd, the Kubernetes CRI, Docker, Podman and Buildah.
//!
//! Four of them run with nothing changed but paths, joined namespaces and args, and
//! every field is confirmed from inside or from the host. The others use fields
//! that are not applied yet, and the refusal names the first of them.

mod confirm;

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Config, Directory, Holder, Report, Runtime, Traces, only_rt, remove_cgroup, trials,
};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        containerd_plain_is_applied_field_by_field,
        containerd_rich_is_applied_field_by_field,
        cri_plain_is_applied_field_by_field,
        cri_rich_is_applied_field_by_field,
        the_template_is_applied_field_by_field,
        the_last_error_in_the_log_says_why,
        the_other_configs_are_refused_by_the_first_field_not_applied,
    ]
}

fn containerd_plain_is_applied_field_by_field() {
    confirm(include_str!("../configs/containerd-plain.json"));
}

fn containerd_rich_is_applied_field_by_field() {
    confirm(include_str!("../configs/containerd-rich.json"));
}

fn cri_plain_is_applied_field_by_field() {
    confirm(include_str!("../configs/cri-plain.json"));
}

fn cri_rich_is_applied_field_by_field() {
    confirm(include_str!("../configs/cri-rich.json"));
}

fn the_template_is_applied_field_by_field() {
    confirm(include_str!("../harness/template.json"));
}

/// The pod: what the configs join.
fn pod() -> Holder {
    Holder::new(&["--pid", "--fork", "--net", "--ipc", "--uts"])
}

/// The config with sources and namespaces that exist here, and the probe as its process.
fn adapt(text: &str, pod: &Holder) -> Bundle {
    let mut config = Config::parse(text);
    // The report is read from a pipe; terminals have tests of their own.
    config.remove("/process/terminal");
    config.set("/process/args", json!(["/probe", "report"]));
    let bundle = Bundle::new();
    let sources = bundle.path().join("sources");
    fs::create_dir(&sources).unwrap();
    for index in 0..config.items("/mounts").len() {
        let mount = config.items("/mounts")[index].clone();
        if mount["type"] == "bind" {
            let source = sources.join(index.to_string());
            make_source(&source, mount["destination"].as_str().unwrap());
            config.set(&format!("/mounts/{index}/source"), json!(source));
        }
    }
    for index in 0..config.items("/linux/namespaces").len() {
        let namespace = config.items("/linux/namespaces")[index].clone();
        if !namespace["path"].is_null() {
            let link = confirm::link_of(namespace["type"].as_str().unwrap());
            config.set(
                &format!("/linux/namespaces/{index}/path"),
                json!(pod.path(link)),
            );
        }
    }
    bundle.with_config(config)
}

fn make_source(source: &Path, destination: &str) {
    if destination.starts_with("/etc/") {
        fs::write(source, format!("content of {destination}\n")).unwrap();
    } else {
        fs::create_dir(source).unwrap();
    }
}

/// Removes the parents that a cgroupsPath has made.
struct Parents(Option<String>);

impl Drop for Parents {
    fn drop(&mut self) {
        if let Some(parent) = self.0.as_deref().and_then(|path| path.split('/').nth(1)) {
            remove_cgroup(parent);
        }
    }
}

fn confirm(text: &str) {
    let pod = pod();
    let bundle = adapt(text, &pod);
    let config = bundle.config();
    let _parents = Parents(config.get("/linux/cgroupsPath").as_str().map(str::to_owned));
    let container = bundle.create();
    let state = container.state();
    assert_eq!(state["annotations"], config.get("/annotations").clone());
    confirm::cgroup(&bundle, container.pid());
    container.start().assert_ok();
    container.wait_stopped();
    let seen = Report::parse(&container.stdout());
    container.delete().assert_ok();

    confirm::process(config, &seen);
    confirm::capabilities(config, &seen);
    confirm::namespaces(config, &seen, &pod);
    confirm::mounts(config, &seen);
    confirm::masks(config, &seen);
    confirm::devices(config, &seen);
    confirm_sysctls(text, &pod);
}

fn confirm_sysctls(text: &str, pod: &Holder) {
    let table = Config::parse(text).get("/linux/sysctl").clone();
    for (key, value) in table.as_object().into_iter().flatten() {
        let bundle = adapt(text, pod).args(&["/probe", "sysctl", key]);
        let _parents = Parents(
            bundle
                .config()
                .get("/linux/cgroupsPath")
                .as_str()
                .map(str::to_owned),
        );
        assert_eq!(
            bundle.run().assert_ok().stdout.trim(),
            value.as_str().unwrap(),
            "{key}"
        );
    }
}

/// containerd shows its user the last entry of the log with the level "error".
fn the_last_error_in_the_log_says_why() {
    let home = Directory::new();
    let log = home.join("log.json");
    let runtime = Runtime::new().global("--log").global(log.to_str().unwrap());
    let runtime = runtime.global("--log-format").global("json");
    let bundle = Bundle::with_runtime(&runtime).args(&["nosuchprogram"]);
    bundle
        .call("create", &[])
        .run()
        .assert_refused("nosuchprogram");
    let text = fs::read_to_string(&log).unwrap();
    let mut entries = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = entries.rfind(|entry| entry["level"] == "error").unwrap();
    let message = last["msg"].as_str().unwrap();
    assert!(
        message.contains("executable file not found in $PATH"),
        "{last}"
    );
    assert!(last["time"].as_str().unwrap().contains('T'), "{last}");
}

const OTHERS: [(&str, &str); 14] = [
    (
        "buildah-plain",
        include_str!("../configs/buildah-plain.json"),
    ),
    ("buildah-rich", include_str!("../configs/buildah-rich.json")),
    (
        "cri-systemd-plain",
        include_str!("../configs/cri-systemd-plain.json"),
    ),
    (
        "cri-systemd-rich",
        include_str!("../configs/cri-systemd-rich.json"),
    ),
    ("docker-plain", include_str!("../configs/docker-plain.json")),
    ("docker-rich", include_str!("../configs/docker-rich.json")),
    (
        "docker-systemd-plain",
        include_str!("../configs/docker-systemd-plain.json"),
    ),
    (
        "docker-systemd-rich",
        include_str!("../configs/docker-systemd-rich.json"),
    ),
    ("podman-plain", include_str!("../configs/podman-plain.json")),
    ("podman-rich", include_str!("../configs/podman-rich.json")),
    (
        "podman-rootless-plain",
        include_str!("../configs/podman-rootless-plain.json"),
    ),
    (
        "podman-rootless-rich",
        include_str!("../configs/podman-rootless-rich.json"),
    ),
    (
        "podman-systemd-plain",
        include_str!("../configs/podman-systemd-plain.json"),
    ),
    (
        "podman-systemd-rich",
        include_str!("../configs/podman-systemd-rich.json"),
    ),
];

/// Fields of the specification that are not applied yet, as a refusal calls them.
const NOT_APPLIED: [&str; 6] = [
    "/process/apparmorProfile",
    "/process/selinuxLabel",
    "/linux/uidMappings",
    "/linux/gidMappings",
    "/linux/mountLabel",
    "/linux/intelRdt",
];

/// Without such a field, what is not there on this machine stops a config:
/// the network namespace of its pod, or a directory that it mounts.
const ABSENT: [&str; 2] = ["linux.namespaces", "mounts"];

fn the_other_configs_are_refused_by_the_first_field_not_applied() {
    only_rt("runc and crun apply these fields");
    for (name, text) in OTHERS {
        let mut config = Config::parse(text);
        config.set("/root/path", json!("rootfs"));
        let bundle = Bundle::new().with_config(config);
        let mut expected: Vec<String> = NOT_APPLIED
            .iter()
            .filter(|pointer| asks(bundle.config().get(pointer)))
            .map(|pointer| pointer[1..].replace('/', "."))
            .collect();
        let kinds = bundle.config().items("/linux/namespaces");
        if expected.is_empty()
            || kinds
                .iter()
                .any(|kind| kind["type"] == "user" || kind["type"] == "time")
        {
            expected.extend(ABSENT.map(str::to_owned));
        }
        let before = Traces::of(&bundle);
        let outcome = bundle.run().assert_refused("");
        let line = outcome.one_line();
        assert!(
            line.starts_with(&format!("rt run: {}: ", bundle.id())),
            "{name}: {line}"
        );
        assert!(
            expected.iter().any(|field| line.contains(field)),
            "{name}: none of {expected:?} in {line}"
        );
        before.assert_unchanged(&bundle);
    }
}

/// Nulls, false, 0 and empty lists ask for nothing.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(_) | Value::Bool(true) => true,
    }
}
