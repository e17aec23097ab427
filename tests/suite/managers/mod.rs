//! What real managers write: configs of containerd, the Kubernetes CRI, Docker, Podman and Buildah.
//!
//! Each runs with nothing changed but paths, joined namespaces, the program behind the hook, and args, and
//! every field is confirmed from inside or from the machine's files. Five ask for what not every machine has
//! (AppArmor; limits that only CAP_SYS_RESOURCE raises): elsewhere they are refused by the name of the field.

mod confirm;
mod daemon;
mod filter;
mod limits;
mod mounts;
mod profile;
mod refusals;
mod rights;
mod rootless;
mod scene;

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::harness::{
    Bundle, Config, Directory, Kind, Report, Runtime, differs, on_v2, skip, trials,
    withheld_capabilities,
};
use profile::Profile;
use scene::Scene;

pub(crate) fn tests() -> Vec<Trial> {
    let mut all = trials![
        buildah_plain_is_applied_field_by_field,
        buildah_rich_is_applied_field_by_field,
        containerd_plain_is_applied_field_by_field,
        containerd_rich_is_applied_field_by_field,
        cri_plain_is_applied_field_by_field,
        cri_rich_is_applied_field_by_field,
        cri_systemd_plain_is_applied_field_by_field,
        cri_systemd_rich_is_applied_field_by_field,
        docker_plain_is_applied_field_by_field,
        docker_rich_is_applied_field_by_field,
        docker_systemd_plain_is_applied_field_by_field,
        docker_systemd_rich_is_applied_field_by_field,
        podman_plain_is_applied_field_by_field,
        podman_rich_is_applied_field_by_field,
        podman_rootless_plain_is_applied_field_by_field,
        podman_rootless_rich_is_applied_field_by_field,
        podman_systemd_plain_is_applied_field_by_field,
        podman_systemd_rich_is_applied_field_by_field,
        the_template_is_applied_field_by_field,
        capabilities_that_the_machine_withholds_are_warned_of,
        the_last_error_in_the_log_says_why,
    ];
    all.extend(refusals::tests());
    all
}

/// One of the configurations by its file's name.
macro_rules! config {
    ($name:literal) => {
        $crate::harness::Config::parse(include_str!(concat!("../configs/", $name, ".json")))
    };
}
use config;

fn buildah_plain_is_applied_field_by_field() {
    confirm(config!("buildah-plain"));
}

fn buildah_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "a mount with `shared` stays private");
    confirm(config!("buildah-rich"));
}

fn containerd_plain_is_applied_field_by_field() {
    confirm(config!("containerd-plain"));
}

fn containerd_rich_is_applied_field_by_field() {
    confirm(config!("containerd-rich"));
}

fn cri_plain_is_applied_field_by_field() {
    confirm(config!("cri-plain"));
}

fn cri_rich_is_applied_field_by_field() {
    confirm(config!("cri-rich"));
}

fn cri_systemd_plain_is_applied_field_by_field() {
    confirm(config!("cri-systemd-plain"));
}

fn cri_systemd_rich_is_applied_field_by_field() {
    confirm(config!("cri-systemd-rich"));
}

fn docker_plain_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks are told another status");
    confirm(config!("docker-plain"));
}

fn docker_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks are told another status");
    confirm(config!("docker-rich"));
}

fn docker_systemd_plain_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks are told another status");
    confirm(config!("docker-systemd-plain"));
}

fn docker_systemd_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks are told another status");
    confirm(config!("docker-systemd-rich"));
}

fn podman_plain_is_applied_field_by_field() {
    confirm(config!("podman-plain"));
}

fn podman_rich_is_applied_field_by_field() {
    confirm(config!("podman-rich"));
}

fn podman_rootless_plain_is_applied_field_by_field() {
    confirm_rootless(config!("podman-rootless-plain"));
}

fn podman_rootless_rich_is_applied_field_by_field() {
    confirm_rootless(config!("podman-rootless-rich"));
}

fn podman_systemd_plain_is_applied_field_by_field() {
    confirm(config!("podman-systemd-plain"));
}

fn podman_systemd_rich_is_applied_field_by_field() {
    confirm(config!("podman-systemd-rich"));
}

fn the_template_is_applied_field_by_field() {
    confirm(Config::template());
}

/// config.md: "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be
/// granted", but MUST log a warning. Here without the user namespace in which the user holds them all.
fn capabilities_that_the_machine_withholds_are_warned_of() {
    for kind in [Kind::Runc, Kind::Crun] {
        differs(kind, "it refuses, against the specification");
    }
    let withheld = withheld_capabilities();
    if withheld.is_empty() {
        skip("this machine withholds none");
    }
    let config = config!("podman-rootless-rich");
    let scene = Scene::new(config.clone(), &[]);
    let call = scene.bundle.call("run", &[]);
    let outcome = call.run().assert_ok();
    for name in &withheld {
        assert!(outcome.stderr.contains(name), "{name}: {outcome}");
    }
    let seen = Report::parse(&outcome.stdout);
    confirm::capabilities(&config, &seen, &withheld);
}

fn confirm(config: Config) {
    let profile = Profile::load(&config);
    rights::need_limits(&config);
    confirm_scene(config.clone(), Scene::new);
    profile::confirm_outside(&config);
    drop(profile);
}

fn confirm_rootless(config: Config) {
    if !on_v2() {
        differs(Kind::Crun, "it refuses both versions of cgroups at once");
    }
    confirm_scene(config, Scene::rootless);
}

fn confirm_scene(config: Config, make: fn(Config, &[String]) -> Scene) {
    let asked = scene::questions(&config);
    let scene = make(config.clone(), &asked);
    let created = scene.create();
    let state = created.container.state();
    assert_eq!(state["annotations"], *config.get("/annotations"));
    let pid = created.container.pid();
    limits::confirm(&scene, pid);
    let seen = created.report();

    if let Some(daemon) = &scene.daemon {
        daemon.confirm(&scene.bundle, pid, &seen);
    }
    confirm::process(scene.config(), &seen);
    confirm::capabilities(&config, &seen, &BTreeSet::new());
    confirm::namespaces(&scene, &seen);
    confirm::maps(&scene, &seen);
    confirm::terminal(&config, &seen);
    confirm::masks(&config, &seen);
    confirm::devices(&config, &seen);
    confirm::sysctls(&config, &seen);
    profile::confirm(&config, &seen);
    mounts::confirm(&scene, &seen);
    limits::confirm_devices(&scene, &seen);
    if config.get("/linux/seccomp").is_object() {
        let mut unfiltered = config.clone();
        unfiltered.remove("/linux/seccomp");
        let free = make(unfiltered, &asked).create().report();
        filter::confirm(&config, &seen, &free);
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
