//! Configurations that the host cannot apply: the error is one line with the field, and nothing of the
//! container remains.

use crate::runner::Test;

use super::config;
use super::profile::has_apparmor;
use super::rlimits::may_raise;
use super::setup::Setup;
use crate::harness::{Config, HostState, only_rt, skip, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_apparmor_profile_is_refused_on_a_host_without_apparmor,
        an_rlimit_above_the_hard_limit_is_refused,
    ]
}

fn an_apparmor_profile_is_refused_on_a_host_without_apparmor() {
    only_rt("other runtimes report a file in /proc");
    if has_apparmor() {
        skip("the host has AppArmor");
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

fn an_rlimit_above_the_hard_limit_is_refused() {
    only_rt("other runtimes report a number");
    if may_raise() {
        skip("root may raise its limits on this host");
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
    let setup = Setup::new(config, &[]);
    let bundle = &setup.bundle;
    let before = HostState::of(bundle);
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    let start = format!("rt create: {}: {field}", bundle.id());
    assert!(outcome.one_line().starts_with(&start), "{outcome}");
    if let Some(daemon) = &setup.daemon {
        daemon.assert_not_called();
    }
    before.assert_unchanged(bundle);
}
