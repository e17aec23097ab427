//! Docker. Each runtime has two daemons; the second uses `--userns-remap` and `--live-restore`.

mod build;
mod checkpoint;
mod exec;
mod files;
mod life;
mod limits;
mod networks;
mod nginx;
mod process;
mod remapped;
mod security;
mod sharing;
mod streams;

use std::sync::Arc;

use libtest_mimic::Arguments;

use crate::compose;
use crate::dockerd::Dockerd;
use crate::environment::{self, Runtime};
use crate::feature::{self, Feature};

/// A test's name and its function.
pub(crate) type Test = (&'static str, fn(&Dockerd));

/// A list of [`Test`]s from the names of their functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { vec![$((stringify!($name), $name as fn(&crate::dockerd::Dockerd))),*] };
}
pub(crate) use tests;

/// The programs that all tests need.
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

/// Tests that use the same daemon and have the same requirements.
struct Group {
    engine: &'static str,
    tests: Vec<Test>,
    daemon: fn(&Pair) -> &Dockerd,
    /// Why the group cannot run, besides missing programs of Docker.
    skip_reason: fn() -> Option<String>,
}

impl Group {
    fn is_wanted(&self, arguments: &Arguments) -> bool {
        let names: Vec<&str> = self.tests.iter().map(|test| test.0).collect();
        feature::is_wanted(arguments, self.engine, &names)
    }
}

fn groups() -> [Group; 4] {
    let group = |engine, tests| Group {
        engine,
        tests,
        daemon: |pair| &pair.plain,
        skip_reason: || None,
    };
    [
        group("docker", plain()),
        Group {
            daemon: |pair| &pair.remapped,
            ..group("docker", remapped::all())
        },
        Group {
            skip_reason: nginx::skip_reason,
            ..group("docker", nginx::all())
        },
        Group {
            skip_reason: || environment::missing_program(compose::PROGRAMS),
            ..group("compose", compose::all())
        },
    ]
}

/// The daemons of both runtimes, until it is dropped.
#[derive(Clone)]
pub(crate) struct Docker {
    pairs: Option<Arc<[Pair; 2]>>,
    skip_reason: Option<String>,
}

impl Docker {
    /// Starts the daemons if the arguments select a test that uses them.
    pub(crate) fn start(arguments: &Arguments) -> Docker {
        let skip_reason = feature::skip_reason().or_else(|| environment::missing_program(PROGRAMS));
        let [.., nginx, _] = groups().map(|group| group.is_wanted(arguments));
        let wanted = groups().iter().any(|group| group.is_wanted(arguments));
        let start = skip_reason.is_none() && wanted;
        let pairs = start.then(|| Arc::new(Runtime::BOTH.map(Pair::start)));
        for pair in pairs.iter().flat_map(|pairs| pairs.iter()) {
            pair.plain.load_images();
            pair.remapped.load_images();
            if nginx {
                nginx::load_images(&pair.plain);
            }
        }
        Docker { pairs, skip_reason }
    }

    /// The tests of Docker and of Compose.
    pub(crate) fn features(&self) -> Vec<Feature> {
        let groups = groups().into_iter();
        groups.flat_map(|group| self.features_of(&group)).collect()
    }

    fn features_of(&self, group: &Group) -> Vec<Feature> {
        let group_reason = || self.pairs.as_ref().and_then(|_| (group.skip_reason)());
        let skip_reason = self.skip_reason.clone().or_else(group_reason);
        let features = group.tests.iter().map(|&(name, test)| {
            let (pairs, daemon) = (self.pairs.clone(), group.daemon);
            Feature {
                name: format!("{}::{name}", group.engine),
                run: Box::new(move |runtime| {
                    let pairs = pairs.as_ref().unwrap();
                    test(daemon(&pairs[usize::from(runtime == Runtime::Runc)]));
                }),
                skip_reason: skip_reason.clone(),
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

/// The tests that use the first daemon.
pub(crate) fn plain() -> Vec<Test> {
    [
        process::all(),
        exec::all(),
        streams::all(),
        life::all(),
        limits::all(),
        security::all(),
        files::all(),
        networks::all(),
        sharing::all(),
        build::all(),
        checkpoint::all(),
    ]
    .concat()
}
