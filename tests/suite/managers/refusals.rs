//! Where the machine lacks what a configuration asks for: one line that names the field, and nothing left.

use libtest_mimic::Trial;

use super::config;
use super::profile::has_apparmor;
use super::rights::may_raise;
use super::scene::Scene;
use crate::harness::{Config, Traces, only_rt, skip, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_profile_is_refused_by_its_field_without_apparmor,
        a_limit_above_the_machines_is_refused_by_its_field,
    ]
}

fn a_profile_is_refused_by_its_field_without_apparmor() {
    only_rt("its text is about a file in /proc");
    if has_apparmor() {
        skip("this machine has AppArmor");
    }
    for config in [
        config!("cri-systemd-rich"),
        config!("docker-systemd-plain"),
        config!("docker-systemd-rich"),
        config!("podman-systemd-plain"),
        config!("podman-systemd-rich"),
    ] {
        assert_refused(config, "process.apparmorProfile: ");
    }
}

fn a_limit_above_the_machines_is_refused_by_its_field() {
    only_rt("its text is about a number");
    if may_raise() {
        skip("this machine lets root raise its limits");
    }
    for mut config in [
        config!("podman-systemd-plain"),
        config!("podman-systemd-rich"),
    ] {
        config.remove("/process/apparmorProfile");
        assert_refused(config, "process.rlimits[0]: RLIMIT_NOFILE: ");
    }
}

fn assert_refused(config: Config, field: &str) {
    let scene = Scene::new(config, &[]);
    let bundle = &scene.bundle;
    let before = Traces::of(bundle);
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    let start = format!("rt create: {}: {field}", bundle.id());
    assert!(outcome.one_line().starts_with(&start), "{outcome}");
    if let Some(daemon) = &scene.daemon {
        daemon.assert_not_called();
    }
    before.assert_unchanged(bundle);
}
