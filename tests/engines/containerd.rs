//! containerd, by ctr and by the CRI: one daemon for each runtime.

mod archive;
mod daemon;
mod exec;
mod life;
mod rights;
mod run;
mod task;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Arguments;

pub(crate) use daemon::Containerd;

use crate::call::{self, Said};
use crate::feature::{self, Feature};
use crate::ground::{self, Runtime};
use crate::{cri, image};

/// The image of the tests.
pub(crate) const BUSYBOX: &str = "localhost/rt/busybox:1";

/// A feature's name and what drives it.
pub(crate) type Driven = (&'static str, fn(&Containerd));

/// What ctr can do, and what the kubelet asks for.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let ctr = [
        run::FEATURES,
        rights::FEATURES,
        task::FEATURES,
        exec::FEATURES,
        life::FEATURES,
    ]
    .concat();
    let cri = cri::features();
    let programs = ["containerd", "ctr", "containerd-shim-runc-v2", "runc"];
    let no_ctr = feature::lacking().or_else(|| ground::lacks(&programs));
    let no_cri = no_ctr.clone().or_else(cri::lacking);

    let wanted = |engine, features: &[Driven]| {
        let names: Vec<&str> = features.iter().map(|(name, _)| *name).collect();
        feature::is_wanted(arguments, engine, &names)
    };
    let with_ctr = no_ctr.is_none() && wanted("containerd", &ctr);
    let with_cri = no_cri.is_none() && wanted("cri", &cri);
    let daemons = (with_ctr || with_cri).then(|| {
        Arc::new(Runtime::BOTH.map(|runtime| {
            let mut daemon = Containerd::start(runtime, runtime.name());
            if with_cri {
                daemon.cri = Some(cri::Client::start(&daemon));
            }
            daemon
        }))
    });
    let ctr = named("containerd", ctr, daemons.as_ref(), no_ctr.as_ref());
    let cri = named("cri", cri, daemons.as_ref(), no_cri.as_ref());
    let mut features: Vec<Feature> = ctr.chain(cri).collect();
    // Its image takes a minute where it is not kept yet.
    if with_cri && feature::is_wanted(arguments, "cri", &["nginx"]) {
        let nginx = features
            .iter_mut()
            .find(|feature| feature.name == "cri::nginx");
        nginx.unwrap().lacking = image::debian_archive().err();
    }
    features
}

fn named(
    engine: &str,
    features: Vec<Driven>,
    daemons: Option<&Arc<[Containerd; 2]>>,
    lacking: Option<&String>,
) -> impl Iterator<Item = Feature> {
    features.into_iter().map(move |(name, drive)| {
        let daemons = daemons.cloned();
        Feature {
            name: format!("{engine}::{name}"),
            drive: Box::new(move |runtime| {
                let daemons = daemons.as_ref().expect("a daemon for what is wanted");
                drive(daemons.iter().find(|d| d.runtime == runtime).unwrap());
            }),
            lacking: lacking.cloned(),
        }
    })
}

/// With all below it, in every hierarchy.
pub(crate) fn remove_cgroup(name: &str) {
    let all = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    for hierarchy in all.flatten() {
        remove_directories(&hierarchy.path().join(name));
    }
    remove_directories(&Path::new("/sys/fs/cgroup").join(name));
}

/// The files of a cgroup go with it.
fn remove_directories(directory: &Path) {
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        remove_directories(&entry.path());
    }
    let _ = fs::remove_dir(directory);
}

/// A container of ctr's that runs, and goes when this is dropped.
pub(crate) struct Task<'a> {
    pub(crate) daemon: &'a Containerd,
    pub(crate) id: String,
}

impl<'a> Task<'a> {
    pub(crate) fn of(daemon: &'a Containerd, id: &str) -> Task<'a> {
        let id = id.to_owned();
        Task { daemon, id }
    }

    /// `ctr task exec` with flags.
    pub(crate) fn exec(&self, exec_id: &str, flags: &[&str], args: &[&str]) -> Said {
        call::run(&mut self.exec_command(exec_id, flags, args))
    }

    /// What a script says in it. It lingers, as all whom ctr is to hear.
    #[track_caller]
    pub(crate) fn says(&self, exec_id: &str, flags: &[&str], script: &str) -> String {
        let script = format!("{script}\nsleep 0.3");
        self.exec(exec_id, flags, &["sh", "-c", &script]).ok()
    }

    pub(crate) fn exec_command(&self, exec_id: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut exec = self
            .daemon
            .ctr_command(&["task", "exec", "--exec-id", exec_id]);
        exec.args(flags).arg(&self.id).args(args);
        exec
    }

    /// The columns of `ctr task ls`: the process on the machine, and a word.
    pub(crate) fn listed(&self) -> Option<(u32, String)> {
        let table = self.daemon.ctr(&["task", "ls"]).ok();
        let row = table
            .lines()
            .find(|row| row.split_whitespace().next() == Some(&self.id))?;
        let mut columns = row.split_whitespace().skip(1);
        Some((columns.next()?.parse().ok()?, columns.next()?.to_owned()))
    }

    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.listed().expect("a task in the list").0
    }

    pub(crate) fn status(&self) -> String {
        self.listed().map_or_else(String::new, |(_, status)| status)
    }

    /// Deletes it, having ended with `status`.
    #[track_caller]
    pub(crate) fn deleted(&self, status: i32) {
        let said = self.daemon.ctr(&["task", "delete", &self.id]);
        let code = format!("non-zero exit code {status}\"");
        assert!(said.status == 0 && said.stderr.contains(&code), "{said:#?}");
        assert_eq!(self.listed(), None);
    }

    /// Deletes it as it runs.
    #[track_caller]
    pub(crate) fn deleted_by_force(&self) {
        self.daemon
            .ctr(&["task", "delete", "--force", &self.id])
            .ok();
        assert_eq!(self.listed(), None);
    }

    /// Waits for what `ctr task ls` says of it.
    #[track_caller]
    pub(crate) fn becomes(&self, status: &str) {
        call::wait_until(status, 20, || self.status() == status);
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.daemon.ctr(&["task", "delete", "--force", &self.id]);
        self.daemon.ctr(&["container", "delete", &self.id]);
    }
}

/// A container that does nothing.
fn sleeper<'a>(daemon: &'a Containerd, id: &str) -> Task<'a> {
    daemon.task(id, &[], &["sleep", "1000"])
}

/// CPU shares as a container sees them: those asked for, with version 2 the weight for them, by the
/// line of runc 1.1 or by the curve that runc 1.3.2, crun 1.23 and `rt` have.
#[track_caller]
pub(crate) fn assert_shares(seen: &str, shares: u64) {
    let weights = match shares {
        256 => [10, 35],
        333 => [13, 42],
        512 => [20, 59],
        2048 => [79, 174],
        other => panic!("no weights for {other}"),
    };
    let expected = [shares, weights[0], weights[1]].map(|value| value.to_string());
    assert!(
        expected.iter().any(|one| one == seen),
        "{seen} for {shares}"
    );
}

/// A file of the cgroup of a process, by its names in versions 1 and 2.
#[track_caller]
pub(crate) fn limit(pid: u32, controller: &str, one: &str, two: &str) -> String {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = names.split(',').any(|name| name == controller);
        is_it.then(|| format!("/sys/fs/cgroup/{controller}{path}/{one}"))
    };
    let unified = || {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}/{two}"))
    };
    let file = own.lines().find_map(of).or_else(unified).unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.trim().to_owned()
}
