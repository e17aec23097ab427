//! The installed engines, with their default configuration but for the runtime: with systemd, each container has a
//! scope. The lists change the host, so they run in the virtual machine (tests/vm), once with each runtime.

mod buildah;
mod cri;
mod docker;
mod podman;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Arguments;

use crate::command;
use crate::environment::Runtime;
use crate::feature::Feature;
use crate::runner::is_asked_for as is_selected;

/// Where an administrator would put `rt`.
const RT: &str = "/usr/local/bin/rt";

/// Whether `RT_TESTS` asks for these lists.
pub(crate) fn is_asked_for() -> bool {
    std::env::var("RT_TESTS").as_deref() == Ok("installed")
}

/// The runtime under test, which `RT_UNDER_TEST` names.
pub(crate) fn runtime() -> Runtime {
    match std::env::var("RT_UNDER_TEST").as_deref() {
        Ok("runc") => Runtime::Runc,
        _ => Runtime::Rt,
    }
}

/// The tests of all engines.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let skip_reason = skip_reason();
    if skip_reason.is_none() && !arguments.list && runtime() == Runtime::Rt {
        fs::copy(runtime().path(), RT).unwrap();
    }
    let of_engines = [
        cri::features(arguments),
        docker::features(arguments),
        podman::features(arguments),
        buildah::features(arguments),
    ];
    let mut features: Vec<Feature> = of_engines.into_iter().flatten().collect();
    for feature in &mut features {
        let with_runc = || fails_with_runc(&feature.name);
        feature.skip_reason = skip_reason.clone().or_else(with_runc);
    }
    features
}

/// Why a test cannot pass with Debian's runc, if it is known.
fn fails_with_runc(name: &str) -> Option<String> {
    let reason = match name {
        "podman::checkpoint_tcp_established" => {
            "runc does not restore a connection through the interface lo"
        }
        "docker::checkpoint_volume" | "podman::checkpoint_volume" => {
            "with runc and CRIU 3.17 the root of a restored container is writable"
        }
        _ => return None,
    };
    (runtime() == Runtime::Runc).then(|| reason.to_owned())
}

/// Only the virtual machine may be changed, whose kernel has this parameter (tests/vm/boot).
fn skip_reason() -> Option<String> {
    let parameters = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let is_vm = parameters
        .split_whitespace()
        .any(|word| word == "vm=systemd");
    (!is_vm).then(|| "the tests of the installed engines change the host".to_owned())
}

/// The path of the runtime under test.
fn program() -> PathBuf {
    match runtime() {
        Runtime::Rt => RT.into(),
        Runtime::Runc => Runtime::Runc.path(),
    }
}

/// A test's name and its function, whose argument is the engine `E`.
type Test<E> = (&'static str, fn(&E));

/// The features of one engine. It is started if the arguments select one of them.
fn features_of<E: Send + Sync + 'static>(
    arguments: &Arguments,
    engine: &str,
    tests: Vec<Test<E>>,
    start: impl FnOnce() -> E,
) -> Vec<Feature> {
    let name = |test: &str| format!("{engine}::{test}");
    let is_wanted = |(test, _): &Test<E>| is_selected(arguments, &name(test));
    let starts = !arguments.list && skip_reason().is_none() && tests.iter().any(is_wanted);
    let started = starts.then(|| Arc::new(start()));
    let feature = |(test, run): Test<E>| {
        let started = started.clone();
        Feature {
            name: name(test),
            run: Box::new(move |_| run(started.as_ref().unwrap())),
            skip_reason: None,
        }
    };
    tests.into_iter().map(feature).collect()
}

/// The tests with these names, in their order.
fn select<F: Copy>(all: &[(&'static str, F)], names: &[&str]) -> Vec<(&'static str, F)> {
    let find = |name: &&str| all.iter().find(|(known, _)| known == name);
    let test = |name: &&str| *find(name).unwrap_or_else(|| panic!("no test has the name {name}"));
    names.iter().map(test).collect()
}

/// A property of a unit, from a command that has the arguments of `systemctl`.
fn property(systemctl: &mut Command, unit: &str, name: &str) -> String {
    command::run(systemctl.args(["show", "--value", "--property", name, unit])).ok()
}

/// The directory of a process's cgroup.
fn cgroup(pid: &str) -> String {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = cgroups.trim().strip_prefix("0::").unwrap();
    format!("/sys/fs/cgroup{path}")
}

/// The content of a file in a cgroup.
#[track_caller]
fn read(cgroup: &str, file: &str) -> String {
    let text = fs::read_to_string(format!("{cgroup}/{file}"));
    let text = text.unwrap_or_else(|e| panic!("{cgroup}/{file}: {e}"));
    text.trim().to_owned()
}

/// Opens devices that a container with /dev/fuse may open, and one that it may not. Debian's runc does not tell systemd of
/// devices whose major number is 10, so a reload takes /dev/fuse away.
fn try_devices() -> String {
    let fuse = match runtime() {
        Runtime::Rt => ": <>/dev/fuse && ",
        Runtime::Runc => "",
    };
    format!(
        ": >/dev/null && {fuse}echo allowed; \
         mknod /tmp/disk b 254 0; dd if=/tmp/disk of=/dev/null count=1 2>&1"
    )
}
