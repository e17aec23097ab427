//! Podman, as root and rootless. It has no daemon; each runtime has a store of its own.
//!
//! Containers have no network unless a test asks for one: most tests need none, and setting one up takes half of
//! the time.

mod checkpoint;
mod exec;
mod files;
mod identity;
mod kube;
mod life;
mod limits;
mod network;
mod nginx;
mod pods;
mod security;
mod sharing;
mod store;
mod streams;
mod system;

use std::sync::{Arc, RwLock};

use libtest_mimic::Arguments;

use crate::environment::{self, Runtime};
use crate::feature::{self, Feature};
use crate::image;

pub(crate) use store::{Container, IMAGE, Mode, Podman, WAIT_FOR_SIZE, terminal};

/// The programs that Podman calls. netavark and rootlessport are missing here because they are not in PATH.
const PROGRAMS: &[&str] = &[
    "podman",
    "conmon",
    "runc",
    "catatonit",
    "slirp4netns",
    "newuidmap",
    "setpriv",
];

/// The modes in which a test runs: as root, rootless (`User`), or both.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    Both,
    Root,
    User,
}

/// A test's name, its modes and its function.
pub(crate) type Test = (&'static str, RunAs, fn(&Podman));

/// Tests that set up networks of the host, one at a time: netavark does so with iptables(8), where concurrent calls
/// conflict with any runtime.
const CHANGES_NETWORK: &[&str] = &[
    "network_bridge",
    "network_custom",
    "network_connect",
    "network_names",
    "network_by_path",
    "publish",
    "publish_restarted",
    "pod_publish",
    "checkpoint_network",
    "nginx",
];

/// Tests that create and remove images, with no other test running in the stores. Podman 4.3 deadlocks with any
/// runtime when one process changes images while another maps the ids of an image.
const CHANGES_IMAGES: [&str; 6] = [
    "commit",
    "export_and_import",
    "build",
    "checkpoint_image",
    "layer_of_rt_diff",
    "random_layer_of_rt_diff",
];

/// Why a single test cannot run here, if so.
fn skip_reason_for(name: &str) -> Option<String> {
    match name {
        "nginx" => image::debian_archive().err(),
        _ => None,
    }
}

/// The tests of both modes. Creates the stores if the arguments select one of the tests.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    [Mode::Root, Mode::Rootless]
        .into_iter()
        .flat_map(|mode| features_of(arguments, mode))
        .collect()
}

/// All tests.
pub(crate) fn all() -> Vec<Test> {
    [
        life::TESTS,
        streams::TESTS,
        exec::TESTS,
        limits::TESTS,
        security::TESTS,
        files::TESTS,
        identity::TESTS,
        sharing::TESTS,
        network::TESTS,
        nginx::TESTS,
        pods::TESTS,
        kube::TESTS,
        system::TESTS,
        checkpoint::TESTS,
    ]
    .concat()
}

fn features_of(arguments: &Arguments, mode: Mode) -> Vec<Feature> {
    let all = all();
    let runs_in_mode = |run_as| match mode {
        Mode::Root => run_as != RunAs::User,
        Mode::Rootless => run_as != RunAs::Root,
    };
    let tests: Vec<&Test> = all.iter().filter(|test| runs_in_mode(test.1)).collect();
    let names: Vec<&str> = tests.iter().map(|test| test.0).collect();
    let skip_reason = feature::skip_reason().or_else(|| environment::missing_program(PROGRAMS));
    let is_wanted = skip_reason.is_none() && feature::is_wanted(arguments, mode.name(), &names);
    let stores = is_wanted.then(|| Arc::new(Runtime::BOTH.map(|r| Podman::new(mode, r, ""))));
    let images = Arc::new(RwLock::new(()));
    let feature = |&&(name, _, test): &&Test| {
        let (stores, images) = (stores.clone(), images.clone());
        Feature {
            name: format!("{}::{name}", mode.name()),
            run: Box::new(move |runtime| {
                let _network = CHANGES_NETWORK
                    .contains(&name)
                    .then(environment::lock_host_network);
                let changes_images = CHANGES_IMAGES.contains(&name);
                let _changing = changes_images.then(|| images.write());
                let _using = (!changes_images).then(|| images.read());
                let mut stores = stores.iter().flat_map(|stores| stores.iter());
                test(stores.find(|store| store.runtime == runtime).unwrap());
            }),
            skip_reason: if is_wanted {
                skip_reason_for(name)
            } else {
                skip_reason.clone()
            },
        }
    };
    tests.iter().map(feature).collect()
}
