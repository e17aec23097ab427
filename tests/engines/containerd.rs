//! containerd, called through ctr and through the CRI. Each runtime has one daemon.

mod archive;
mod checkpoint;
mod daemon;
mod exec;
mod life;
mod limits;
mod run;
mod task;

use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Arguments;

pub(crate) use daemon::Containerd;

use crate::command::{self, CommandOutput};
use crate::environment::{self, Runtime};
use crate::feature::{self, Feature};
use crate::{cri, image};

/// The name of the busybox image.
pub(crate) const BUSYBOX: &str = "localhost/rt/busybox:1";

/// A test's name and its function.
pub(crate) type Test = (&'static str, fn(&Containerd));

/// The tests through ctr and through the CRI.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let ctr = [
        run::TESTS,
        limits::TESTS,
        task::TESTS,
        exec::TESTS,
        life::TESTS,
        checkpoint::TESTS,
    ]
    .concat();
    let cri = cri::features();
    let programs = ["containerd", "ctr", "containerd-shim-runc-v2", "runc"];
    let no_ctr = feature::skip_reason().or_else(|| environment::missing_program(&programs));
    let no_cri = no_ctr.clone().or_else(cri::skip_reason);

    let wanted = |engine, features: &[Test]| {
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
    // Build the Debian image only if the test is selected: the first time it takes a minute.
    if with_cri && feature::is_wanted(arguments, "cri", &["nginx"]) {
        let nginx = features
            .iter_mut()
            .find(|feature| feature.name == "cri::nginx");
        nginx.unwrap().skip_reason = image::debian_archive().err();
    }
    features
}

fn named(
    engine: &str,
    features: Vec<Test>,
    daemons: Option<&Arc<[Containerd; 2]>>,
    skip_reason: Option<&String>,
) -> impl Iterator<Item = Feature> {
    features.into_iter().map(move |(name, test)| {
        let daemons = daemons.cloned();
        Feature {
            name: format!("{engine}::{name}"),
            run: Box::new(move |runtime| {
                let daemons = daemons.as_ref().expect("the daemons of a selected test");
                test(daemons.iter().find(|d| d.runtime == runtime).unwrap());
            }),
            skip_reason: skip_reason.cloned(),
        }
    })
}

/// The tests of checkpoints through ctr.
pub(crate) const CHECKPOINTS: &[Test] = checkpoint::TESTS;

/// A running container of ctr. Dropping it deletes the task and the container.
pub(crate) struct Task<'a> {
    pub(crate) daemon: &'a Containerd,
    pub(crate) id: String,
}

impl<'a> Task<'a> {
    /// A handle to a container that the test has created itself.
    pub(crate) fn of(daemon: &'a Containerd, id: &str) -> Task<'a> {
        let id = id.to_owned();
        Task { daemon, id }
    }

    /// `ctr task exec` with flags.
    pub(crate) fn exec(&self, exec_id: &str, flags: &[&str], args: &[&str]) -> CommandOutput {
        command::run(&mut self.exec_command(exec_id, flags, args))
    }

    /// The output of a shell script run with `ctr task exec`. The script sleeps at its end for the reason given at
    /// [`Containerd::run`].
    #[track_caller]
    pub(crate) fn sh(&self, exec_id: &str, flags: &[&str], script: &str) -> String {
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

    /// The pid and the status from `ctr task ls`.
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
        self.listed().expect("the task is not in the list").0
    }

    pub(crate) fn status(&self) -> String {
        self.listed().map_or_else(String::new, |(_, status)| status)
    }

    /// Deletes the stopped task and checks its exit status.
    #[track_caller]
    pub(crate) fn delete(&self, status: i32) {
        let output = self.daemon.ctr(&["task", "delete", &self.id]);
        let code = format!("non-zero exit code {status}\"");
        assert!(
            output.status == 0 && output.stderr.contains(&code),
            "{output:#?}"
        );
        assert_eq!(self.listed(), None);
    }

    /// Deletes the task with `--force`, while it runs.
    #[track_caller]
    pub(crate) fn force_delete(&self) {
        self.daemon
            .ctr(&["task", "delete", "--force", &self.id])
            .ok();
        assert_eq!(self.listed(), None);
    }

    /// Waits until `ctr task ls` shows this status.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, status: &str) {
        command::wait_until(status, 20, || self.status() == status);
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        // A failed restore leaves a task without a process, for whose end containerd 1.6 waits forever with `--force`.
        let deleted = self.daemon.ctr(&["task", "delete", &self.id]);
        if deleted.status != 0 {
            self.daemon.ctr(&["task", "delete", "--force", &self.id]);
        }
        self.daemon.ctr(&["container", "delete", &self.id]);
    }
}

/// A container that sleeps.
fn sleeper<'a>(daemon: &'a Containerd, id: &str) -> Task<'a> {
    daemon.task(id, &[], &["sleep", "1000"])
}
