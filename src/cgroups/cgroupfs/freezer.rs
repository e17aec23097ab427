//! The freezer: holds all processes of a container still, and lets them go on
//! (cgroup-v2.rst, "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst).

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::events::wait_for_event;
use super::existing::Existing;
use crate::cgroups::directory::walk::{Visit, walk};
use crate::cgroups::directory::{Directory, is_gone};

/// How long processes may take to stand still. One in the middle of a call
/// that cannot be interrupted, as of a file system that does not answer, may
/// take any time.
const PATIENCE: Duration = Duration::from_secs(2);

/// After so long version 1 thaws and begins again: processes may wait for each
/// other, the one frozen already and the other not to be frozen before.
const ROUND: Duration = Duration::from_millis(50);

/// Whether a cgroup of version 1 is frozen by an order of its own.
const OWN_ORDER: &str = "freezer.self_freezing";

/// How version 1 and version 2 spell it.
#[derive(Clone, Copy)]
enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Freezer<'_> {
    fn path(&self) -> &Path {
        match self {
            Freezer::V1(path) | Freezer::V2(path) => path,
        }
    }

    /// The file and what to write to it.
    fn order(self, frozen: bool) -> (&'static str, &'static str) {
        match (self, frozen) {
            (Freezer::V1(_), true) => ("freezer.state", "FROZEN"),
            (Freezer::V1(_), false) => ("freezer.state", "THAWED"),
            (Freezer::V2(_), true) => ("cgroup.freeze", "1"),
            (Freezer::V2(_), false) => ("cgroup.freeze", "0"),
        }
    }

    /// Gives the order and waits for nothing.
    fn write(self, frozen: bool) -> nix::Result<()> {
        let (file, value) = self.order(frozen);
        Directory::open(self.path())?.write(file, value)
    }

    /// Waits until all stand still, or `deadline`; whether they do.
    fn wait(self, deadline: Instant) -> nix::Result<bool> {
        match self {
            Freezer::V1(path) => wait_v1(path, deadline),
            Freezer::V2(path) => wait_for_event(path, "frozen 1", deadline),
        }
    }
}

impl Existing {
    /// Whether its processes are to stand still, by an order of its own: a
    /// cgroup above it may have been frozen for reasons of others.
    pub(crate) fn frozen(&self) -> bool {
        let (path, file) = match self.freezer() {
            Some(Freezer::V1(path)) => (path, OWN_ORDER),
            Some(Freezer::V2(path)) => (path, "cgroup.freeze"),
            None => return false,
        };
        Directory::open(path)
            .and_then(|cgroup| cgroup.line(file))
            .is_ok_and(|frozen| frozen == "1")
    }

    /// Freezes, and returns when all processes stand still.
    ///
    /// # Errors
    /// When there is no freezer, or they have not come to rest after two
    /// seconds; they go on then.
    pub(crate) fn pause(&self) -> Result<()> {
        let freezer = self.freezer_or_error()?;
        let (file, value) = freezer.order(true);
        let subject = || format!("write \"{value}\" to {}/{file}", freezer.path().display());
        freezer.write(true).with_context(subject)?;
        let frozen = freezer
            .wait(Instant::now() + PATIENCE)
            .with_context(|| format!("wait for {} to freeze", freezer.path().display()));
        if matches!(frozen, Ok(true)) {
            return Ok(());
        }
        freezer
            .write(false)
            .with_context(|| format!("let the processes of {} go on", freezer.path().display()))?;
        frozen?;
        bail!(
            "not all of its processes stand still after {} s, so all go on (cgroup {})",
            PATIENCE.as_secs(),
            freezer.path().display()
        )
    }

    /// Lets all processes go on.
    ///
    /// # Errors
    /// When there is no freezer, and those of writing.
    pub(crate) fn resume(&self) -> Result<()> {
        self.freezer_or_error()?;
        self.freeze(false)
    }

    /// Orders to freeze or to thaw. Nothing to do where there is no freezer, or
    /// no cgroup any more.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let Some(freezer) = self.freezer() else {
            return Ok(());
        };
        match freezer.write(frozen) {
            Err(errno) if is_gone(errno) => Ok(()),
            done => done.with_context(|| {
                let (file, value) = freezer.order(frozen);
                format!("write \"{value}\" to {}/{file}", freezer.path().display())
            }),
        }
    }

    /// Lets those die who were killed: version 1 keeps everybody alive who is frozen, also by an
    /// order to a cgroup below, which a container within this one has.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn let_die(&self) -> Result<()> {
        let Some(freezer @ Freezer::V1(path)) = self.freezer() else {
            return Ok(());
        };
        let (file, value) = freezer.order(false);
        let thaw = |cgroup: &Directory| match cgroup.line(OWN_ORDER)?.as_str() {
            "1" => cgroup.write(file, value),
            // One that the container made need not be the caller's to write.
            _ => Ok(()),
        };
        let thawed = walk(path, |visit| match visit {
            Visit::Enter(cgroup) => match thaw(cgroup) {
                Err(errno) if is_gone(errno) => Ok(()),
                done => done,
            },
            Visit::Leave { .. } => Ok(()),
        });
        thawed.with_context(|| format!("write \"{value}\" to {file} in {}", path.display()))
    }

    fn freezer(&self) -> Option<Freezer<'_>> {
        match self.unified() {
            Some(path) => Some(Freezer::V2(path)),
            None => self.paths().get("freezer").map(|path| Freezer::V1(path)),
        }
    }

    fn freezer_or_error(&self) -> Result<Freezer<'_>> {
        self.freezer().ok_or_else(|| match self.paths().is_empty() {
            true => {
                anyhow!("the container has no cgroup of its own, without which it cannot be paused")
            }
            false => {
                anyhow!("this machine has no freezer controller (cgroup v1: /proc/self/cgroup)")
            }
        })
    }
}

/// Version 1 tells nobody when the last process has come to rest, and finds it
/// out by being asked. Most have by the time that the order is given; for the
/// others, ask at growing distances.
fn wait_v1(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let cgroup = Directory::open(path)?;
    loop {
        let end_of_round = deadline.min(Instant::now() + ROUND);
        let mut pause = Duration::from_micros(20);
        loop {
            if cgroup.line("freezer.state")? == "FROZEN" {
                return Ok(true);
            }
            if Instant::now() >= end_of_round {
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        cgroup.write("freezer.state", "THAWED")?;
        thread::sleep(Duration::from_millis(5));
        cgroup.write("freezer.state", "FROZEN")?;
    }
}
