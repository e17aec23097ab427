//! Configurations that containerd, the Kubernetes CRI, Docker, Podman and Buildah have written.
//!
//! The tests change only paths, joined namespaces, the program of the hook, and args. They check every
//! field from inside the container or in files of the host. Five configurations need AppArmor or raise an
//! rlimit, which needs CAP_SYS_RESOURCE. On hosts without these the runtime has to refuse the field.

mod checked;
mod daemon;
mod fields;
mod filter;
mod limits;
mod mounts;
mod profile;
mod refusals;
mod rlimits;
mod rootless;
mod setup;

use std::collections::BTreeSet;
use std::fs;

use crate::runner::Test;
use serde_json::Value;

use crate::harness::{
    Bundle, Config, Directory, Kind, Report, Runtime, differs, on_v2, skip, trials,
    withheld_capabilities,
};
use profile::Profile;
use setup::Setup;

pub(crate) fn tests() -> Vec<Test> {
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
        withheld_capabilities_cause_a_warning,
        the_last_error_in_the_log_has_the_reason,
    ];
    all.extend(refusals::tests());
    all.extend(checked::tests());
    all
}

/// The configuration in the file of this name.
macro_rules! config {
    ($name:literal) => {
        $crate::harness::Config::parse(include_str!(concat!("../configs/", $name, ".json")))
    };
}
use config;

fn buildah_plain_is_applied_field_by_field() {
    check(config!("buildah-plain"));
}

fn buildah_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "a mount with `shared` stays private");
    check(config!("buildah-rich"));
}

fn containerd_plain_is_applied_field_by_field() {
    check(config!("containerd-plain"));
}

fn containerd_rich_is_applied_field_by_field() {
    check(config!("containerd-rich"));
}

fn cri_plain_is_applied_field_by_field() {
    check(config!("cri-plain"));
}

fn cri_rich_is_applied_field_by_field() {
    check(config!("cri-rich"));
}

fn cri_systemd_plain_is_applied_field_by_field() {
    check(config!("cri-systemd-plain"));
}

fn cri_systemd_rich_is_applied_field_by_field() {
    check(config!("cri-systemd-rich"));
}

fn docker_plain_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks get another status");
    check(config!("docker-plain"));
}

fn docker_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks get another status");
    check(config!("docker-rich"));
}

fn docker_systemd_plain_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks get another status");
    check(config!("docker-systemd-plain"));
}

fn docker_systemd_rich_is_applied_field_by_field() {
    differs(Kind::Crun, "its hooks get another status");
    check(config!("docker-systemd-rich"));
}

fn podman_plain_is_applied_field_by_field() {
    check(config!("podman-plain"));
}

fn podman_rich_is_applied_field_by_field() {
    check(config!("podman-rich"));
}

fn podman_rootless_plain_is_applied_field_by_field() {
    check_rootless(config!("podman-rootless-plain"));
}

fn podman_rootless_rich_is_applied_field_by_field() {
    check_rootless(config!("podman-rootless-rich"));
}

fn podman_systemd_plain_is_applied_field_by_field() {
    check(config!("podman-systemd-plain"));
}

fn podman_systemd_rich_is_applied_field_by_field() {
    check(config!("podman-systemd-rich"));
}

fn the_template_is_applied_field_by_field() {
    check(Config::template());
}

/// config.md: "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be
/// granted", but MUST log a warning. The test runs the configuration without the user namespace in which
/// the user has all of them.
fn withheld_capabilities_cause_a_warning() {
    for kind in [Kind::Runc, Kind::Crun] {
        differs(
            kind,
            "it refuses the configuration, contrary to the specification",
        );
    }
    let withheld = withheld_capabilities();
    if withheld.is_empty() {
        skip("the host withholds no capabilities");
    }
    let config = config!("podman-rootless-rich");
    let setup = Setup::new(config.clone(), &[]);
    let call = setup.bundle.call("run", &[]);
    let outcome = call.run().assert_ok();
    for name in &withheld {
        assert!(outcome.stderr.contains(name), "{name}: {outcome}");
    }
    let seen = Report::parse(&outcome.stdout);
    fields::capabilities(&config, &seen, &withheld);
}

fn check(config: Config) {
    let profile = Profile::load(&config);
    rlimits::need_limits(&config);
    check_setup(config.clone(), Setup::new);
    profile::check_outside(&config);
    drop(profile);
}

fn check_rootless(config: Config) {
    if !on_v2() {
        differs(
            Kind::Crun,
            "it refuses a host with both versions of cgroups",
        );
    }
    check_setup(config, Setup::rootless);
}

fn check_setup(config: Config, make: fn(Config, &[String]) -> Setup) {
    let questions = setup::questions(&config);
    let setup = make(config.clone(), &questions);
    let created = setup.create();
    let state = created.container.state();
    assert_eq!(state["annotations"], *config.get("/annotations"));
    let pid = created.container.pid();
    limits::check(&setup, pid);
    let seen = created.report();

    if let Some(daemon) = &setup.daemon {
        daemon.check(&setup.bundle, pid, &seen);
    }
    fields::process(setup.config(), &seen);
    fields::capabilities(&config, &seen, &BTreeSet::new());
    fields::namespaces(&setup, &seen);
    fields::maps(&setup, &seen);
    fields::terminal(&config, &seen);
    fields::masks(&config, &seen);
    fields::devices(&config, &seen);
    fields::sysctls(&config, &seen);
    profile::check(&config, &seen);
    mounts::check(&setup, &seen);
    limits::check_devices(&setup, &seen);
    if config.get("/linux/seccomp").is_object() {
        let mut unfiltered = config.clone();
        unfiltered.remove("/linux/seccomp");
        let unfiltered_report = make(unfiltered, &questions).create().report();
        filter::check(&config, &seen, &unfiltered_report);
    }
}

/// containerd shows the user the last entry of the log with level "error".
fn the_last_error_in_the_log_has_the_reason() {
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
