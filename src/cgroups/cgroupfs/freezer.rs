//! The freezer: stops all processes of a container, and lets them run again
//! (cgroup-v2.rst, "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst).

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::events::wait_for_event;
use super::existing::ExistingCgroups;
use crate::cgroups::directory::walk::{WalkEvent, walk};
use crate::cgroups::directory::{Directory, is_gone};

/// How long processes may take to freeze. A process in an uninterruptible system call, such as
/// one that waits for an unresponsive file system, may take any time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait in v1 before thawing and freezing again. A process that is frozen already
/// may be what another one waits for, which can therefore not be frozen.
const ATTEMPT: Duration = Duration::from_millis(50);

/// The v1 file that says whether the cgroup itself was frozen, and not only one above it.
const SELF_FREEZING: &str = "freezer.self_freezing";

/// The cgroup whose files freeze the container.
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

    /// The file, and the value that freezes or thaws.
    fn file_and_value(self, frozen: bool) -> (&'static str, &'static str) {
        match (self, frozen) {
            (Freezer::V1(_), true) => ("freezer.state", "FROZEN"),
            (Freezer::V1(_), false) => ("freezer.state", "THAWED"),
            (Freezer::V2(_), true) => ("cgroup.freeze", "1"),
            (Freezer::V2(_), false) => ("cgroup.freeze", "0"),
        }
    }

    /// Tells the kernel to freeze or thaw, and does not wait for it.
    fn write(self, frozen: bool) -> nix::Result<()> {
        let (file, value) = self.file_and_value(frozen);
        Directory::open(self.path())?.write(file, value)
    }

    /// Waits until all processes are frozen, or until `deadline`. Returns whether they are.
    fn wait_until_frozen(self, deadline: Instant) -> nix::Result<bool> {
        match self {
            Freezer::V1(path) => wait_until_frozen_v1(path, deadline),
            Freezer::V2(path) => wait_for_event(path, "frozen 1", deadline),
        }
    }
}

impl ExistingCgroups {
    /// Whether the container was paused. A cgroup above the container's may have been frozen
    /// for another reason; that does not count.
    pub(crate) fn is_paused(&self) -> bool {
        let (path, file) = match self.freezer() {
            Some(Freezer::V1(path)) => (path, SELF_FREEZING),
            Some(Freezer::V2(path)) => (path, "cgroup.freeze"),
            None => return false,
        };
        Directory::open(path)
            .and_then(|cgroup| cgroup.read_page(file))
            .is_ok_and(|frozen| frozen == "1")
    }

    /// Freezes the container, and returns when all its processes are frozen.
    ///
    /// # Errors
    /// When there is no freezer, or not all processes are frozen after two seconds. They are
    /// thawed again then.
    pub(crate) fn pause(&self) -> Result<()> {
        let freezer = self.freezer_or_error()?;
        let (file, value) = freezer.file_and_value(true);
        let subject = || format!("write \"{value}\" to {}/{file}", freezer.path().display());
        freezer.write(true).with_context(subject)?;
        let frozen = freezer
            .wait_until_frozen(Instant::now() + TIMEOUT)
            .with_context(|| format!("wait for {} to freeze", freezer.path().display()));
        if matches!(frozen, Ok(true)) {
            return Ok(());
        }
        freezer
            .write(false)
            .with_context(|| format!("thaw {}", freezer.path().display()))?;
        frozen?;
        bail!(
            "not all processes of the container are frozen after {} s, so it was thawed again (cgroup {})",
            TIMEOUT.as_secs(),
            freezer.path().display()
        )
    }

    /// Thaws the container.
    ///
    /// # Errors
    /// When there is no freezer, or the kernel refuses the write.
    pub(crate) fn resume(&self) -> Result<()> {
        self.freezer_or_error()?;
        self.freeze(false)
    }

    /// Tells the kernel to freeze or thaw, and does not wait for it. Does nothing without a
    /// freezer, or when the cgroup is gone.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let Some(freezer) = self.freezer() else {
            return Ok(());
        };
        match freezer.write(frozen) {
            Err(errno) if is_gone(errno) => Ok(()),
            written => written.with_context(|| {
                let (file, value) = freezer.file_and_value(frozen);
                format!("write \"{value}\" to {}/{file}", freezer.path().display())
            }),
        }
    }

    /// Lets killed processes die: a process frozen by v1 does not die of SIGKILL before it is
    /// thawed. This thaws the cgroups below the container's too, which may belong to a paused
    /// container within this one.
    ///
    /// # Errors
    /// When the kernel refuses a write.
    pub(crate) fn thaw_killed(&self) -> Result<()> {
        let Some(freezer @ Freezer::V1(path)) = self.freezer() else {
            return Ok(());
        };
        let (file, value) = freezer.file_and_value(false);
        let thaw = |cgroup: &Directory| match cgroup.read_page(SELF_FREEZING)?.as_str() {
            "1" => cgroup.write(file, value),
            // Not written without need: the caller may have no write access to a cgroup that
            // the container made.
            _ => Ok(()),
        };
        let thawed = walk(path, |event| match event {
            WalkEvent::Enter(cgroup) => match thaw(cgroup) {
                Err(errno) if is_gone(errno) => Ok(()),
                thawed => thawed,
            },
            WalkEvent::Leave { .. } => Ok(()),
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
        self.freezer().ok_or_else(|| {
            if self.paths().is_empty() {
                anyhow!("the container has no cgroup of its own, without which it cannot be paused")
            } else {
                anyhow!("this host has no freezer controller (cgroup v1: /proc/self/cgroup)")
            }
        })
    }
}

/// Waits until the v1 cgroup at `path` is frozen, or until `deadline`. Returns whether it is.
///
/// This polls at growing intervals: v1 sends no notification, and works out whether the cgroup
/// is frozen only when freezer.state is read. Most processes are frozen at the first read.
fn wait_until_frozen_v1(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let cgroup = Directory::open(path)?;
    loop {
        let end_of_attempt = deadline.min(Instant::now() + ATTEMPT);
        let mut interval = Duration::from_micros(20);
        loop {
            if cgroup.read_page("freezer.state")? == "FROZEN" {
                return Ok(true);
            }
            if Instant::now() >= end_of_attempt {
                break;
            }
            thread::sleep(interval);
            interval = (interval * 2).min(Duration::from_millis(5));
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        cgroup.write("freezer.state", "THAWED")?;
        thread::sleep(Duration::from_millis(5));
        cgroup.write("freezer.state", "FROZEN")?;
    }
}
