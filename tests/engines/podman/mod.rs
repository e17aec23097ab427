//! Podman, by root and by an ordinary user. It has no daemon: what lasts is a store for each runtime.
//!
//! Containers have no network unless a feature says so: most need none, and making one takes half of the time.

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

pub(crate) use store::{Container, IMAGE, Mode, Podman, SIZED, terminal};

/// What Podman calls besides the runtime; netavark and rootlessport have a directory of their own.
const PROGRAMS: &[&str] = &[
    "podman",
    "conmon",
    "runc",
    "catatonit",
    "slirp4netns",
    "newuidmap",
    "setpriv",
];

/// Who it is that a feature is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunAs {
    Both,
    Root,
    User,
}

/// A feature as the files here list it: its name, for whom it is, and what drives it.
type Test = (&'static str, RunAs, fn(&Podman));

/// What makes networks on the machine itself: netavark does so by iptables(8), where two at a
/// time get into each other's way, whatever the runtime is.
const NETWORKED: &[&str] = &[
    "network_bridge",
    "network_custom",
    "network_connect",
    "network_names",
    "network_by_path",
    "publish",
    "publish_restarted",
    "pod_publish",
    "nginx",
];

/// These make images and remove them. When one does while another maps the ids of an image for its
/// container, Podman 4.3 waits for itself, whoever the runtime is: nothing else runs in the stores then.
const ALONE: [&str; 3] = ["commit", "export_and_import", "build"];

/// Why one feature cannot be had, where the others can.
fn skip_reason_for(name: &str) -> Option<String> {
    match name {
        "nginx" => image::debian_archive().err(),
        _ => None,
    }
}

/// All features of both modes. The stores are made here, if one of them is asked for.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    [Mode::Root, Mode::Rootless]
        .into_iter()
        .flat_map(|mode| of_mode(arguments, mode))
        .collect()
}

fn of_mode(arguments: &Arguments, mode: Mode) -> Vec<Feature> {
    let lines = [
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
    ];
    let is_for = |run_as| match mode {
        Mode::Root => run_as != RunAs::User,
        Mode::Rootless => run_as != RunAs::Root,
    };
    let lines: Vec<&Test> = lines
        .into_iter()
        .flatten()
        .filter(|l| is_for(l.1))
        .collect();
    let names: Vec<&str> = lines.iter().map(|line| line.0).collect();
    let skip_reason = feature::skip_reason().or_else(|| environment::missing_program(PROGRAMS));
    let is_wanted = skip_reason.is_none() && feature::is_wanted(arguments, mode.name(), &names);
    let stores = is_wanted.then(|| Arc::new(Runtime::BOTH.map(|r| Podman::new(mode, r, ""))));
    let images = Arc::new(RwLock::new(()));
    let feature = |&&(name, _, test): &&Test| {
        let (stores, images) = (stores.clone(), images.clone());
        Feature {
            name: format!("{}::{name}", mode.name()),
            run: Box::new(move |runtime| {
                let _alone = NETWORKED
                    .contains(&name)
                    .then(environment::lock_host_network);
                let is_alone = ALONE.contains(&name);
                let _changing = is_alone.then(|| images.write());
                let _using = (!is_alone).then(|| images.read());
                let mut stores = stores.iter().flat_map(|stores| stores.iter());
                test(stores.find(|store| store.runtime == runtime).unwrap());
            }),
            skip_reason: match is_wanted {
                true => skip_reason_for(name),
                false => skip_reason.clone(),
            },
        }
    };
    lines.iter().map(feature).collect()
}
