//! `check` says of the configurations what `create` says.

use crate::runner::Test;

use super::config;
use super::profile::{Profile, has_apparmor};
use super::setup::Setup;
use crate::harness::{Config, HostState, only_rt, trials};
use crate::manners::check::{assert_same, check};

pub(super) fn tests() -> Vec<Test> {
    trials![
        check_says_what_create_says_of_every_configuration,
        check_says_what_create_says_of_rootless_configurations,
    ]
}

fn check_says_what_create_says_of_every_configuration() {
    only_rt("other runtimes have no check");
    for config in [
        config!("buildah-plain"),
        config!("buildah-rich"),
        config!("containerd-plain"),
        config!("containerd-rich"),
        config!("cri-plain"),
        config!("cri-rich"),
        config!("cri-systemd-plain"),
        config!("cri-systemd-rich"),
        config!("docker-plain"),
        config!("docker-rich"),
        config!("docker-systemd-plain"),
        config!("docker-systemd-rich"),
        config!("podman-plain"),
        config!("podman-rich"),
        config!("podman-systemd-plain"),
        config!("podman-systemd-rich"),
        config!("podman-rootless-rich"),
        Config::template(),
    ] {
        // `check` does not know whether a profile is loaded.
        let _profile = has_apparmor().then(|| Profile::load(&config));
        agree(&Setup::new(config, &[]));
    }
}

fn check_says_what_create_says_of_rootless_configurations() {
    only_rt("other runtimes have no check");
    for config in [
        config!("podman-rootless-plain"),
        config!("podman-rootless-rich"),
    ] {
        agree(&Setup::rootless(config, &[]));
    }
}

fn agree(setup: &Setup) {
    let bundle = &setup.bundle;
    let before = HostState::of(bundle);
    let checked = check(bundle);
    before.assert_unchanged(bundle);
    let (call, _listener) = setup.create_call();
    assert_same(&checked, &call.run(), bundle);
}
