//! Docker: one daemon for each runtime, and a second that maps users and keeps containers over
//! its own end.

mod build;
mod exec;
mod files;
mod kernel;
mod life;
mod limits;
mod networks;
mod nginx;
mod process;
mod remapped;
mod sharing;
mod streams;

use std::sync::Arc;

use libtest_mimic::Arguments;

use crate::compose;
use crate::dockerd::Dockerd;
use crate::feature::{self, Feature};
use crate::ground::{self, Runtime};

/// A name and how it is driven.
pub(crate) type Drive = (&'static str, fn(&Dockerd));

/// The functions of these names.
macro_rules! drives {
    ($($name:ident),* $(,)?) => { vec![$((stringify!($name), $name as fn(&crate::dockerd::Dockerd))),*] };
}
pub(crate) use drives;

/// What all of it needs.
pub(crate) const PROGRAMS: &[&str] = &[
    "docker",
    "dockerd",
    "docker-init",
    "containerd",
    "runc",
    "iptables",
    "ip",
    "nsenter",
    "busybox",
    "script",
    "curl",
    "tar",
];

/// The daemons of one runtime.
struct Pair {
    plain: Dockerd,
    remapped: Dockerd,
}

/// Features that want the same.
struct Group {
    engine: &'static str,
    drives: Vec<Drive>,
    daemon: fn(&Pair) -> &Dockerd,
    /// Why they cannot be had, besides Docker itself.
    lacking: fn() -> Option<String>,
}

impl Group {
    fn is_wanted(&self, arguments: &Arguments) -> bool {
        let names: Vec<&str> = self.drives.iter().map(|drive| drive.0).collect();
        feature::is_wanted(arguments, self.engine, &names)
    }
}

fn groups() -> [Group; 4] {
    let group = |engine, drives| Group {
        engine,
        drives,
        daemon: |pair| &pair.plain,
        lacking: || None,
    };
    [
        group("docker", plain()),
        Group {
            daemon: |pair| &pair.remapped,
            ..group("docker", remapped::all())
        },
        Group {
            lacking: nginx::lacking,
            ..group("docker", nginx::all())
        },
        Group {
            lacking: || ground::lacks(compose::PROGRAMS),
            ..group("compose", compose::all())
        },
    ]
}

/// Keeps the daemons until it is dropped.
#[derive(Clone)]
pub(crate) struct Docker {
    pairs: Option<Arc<[Pair; 2]>>,
    lacking: Option<String>,
}

impl Docker {
    /// Starts the daemons if a feature is asked for.
    pub(crate) fn start(arguments: &Arguments) -> Docker {
        let lacking = feature::lacking().or_else(|| ground::lacks(PROGRAMS));
        let [.., nginx, _] = groups().map(|group| group.is_wanted(arguments));
        let wanted = groups().iter().any(|group| group.is_wanted(arguments));
        let start = lacking.is_none() && wanted;
        let pairs = start.then(|| Arc::new(Runtime::BOTH.map(Pair::start)));
        for pair in pairs.iter().flat_map(|pairs| pairs.iter()) {
            pair.plain.provide();
            pair.remapped.provide();
            if nginx {
                nginx::provide(&pair.plain);
            }
        }
        Docker { pairs, lacking }
    }

    /// Those of Docker and of Compose.
    pub(crate) fn features(&self) -> Vec<Feature> {
        let groups = groups().into_iter();
        groups.flat_map(|group| self.of(&group)).collect()
    }

    fn of(&self, group: &Group) -> Vec<Feature> {
        let asked = || self.pairs.as_ref().and_then(|_| (group.lacking)());
        let lacking = self.lacking.clone().or_else(asked);
        let features = group.drives.iter().map(|&(name, drive)| {
            let (pairs, daemon) = (self.pairs.clone(), group.daemon);
            Feature {
                name: format!("{}::{name}", group.engine),
                drive: Box::new(move |runtime| {
                    let pairs = pairs.as_ref().unwrap();
                    drive(daemon(&pairs[usize::from(runtime == Runtime::Runc)]));
                }),
                lacking: lacking.clone(),
            }
        });
        features.collect()
    }
}

impl Pair {
    fn start(runtime: Runtime) -> Pair {
        Pair {
            plain: Dockerd::start("docker", runtime, &[]),
            remapped: Dockerd::start("remap", runtime, remapped::OPTIONS),
        }
    }
}

/// All that the first daemon is for.
fn plain() -> Vec<Drive> {
    [
        process::all(),
        exec::all(),
        streams::all(),
        life::all(),
        limits::all(),
        kernel::all(),
        files::all(),
        networks::all(),
        sharing::all(),
        build::all(),
    ]
    .concat()
}
