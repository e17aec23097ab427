//! A container's cgroups after they were made: who is in them, signals to all, the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::pread;
use nix::unistd::Pid;

use super::directory::{Directory, Visit, is_gone, walk};
use crate::host::UNIFIED;
use crate::sys;

/// How long a process that was killed may take to leave its cgroup.
const PATIENCE: Duration = Duration::from_secs(2);

/// A container's cgroups as state.json remembers them.
pub(crate) struct Existing {
    /// Controller to directory; `""` is version 2.
    paths: BTreeMap<String, PathBuf>,
    /// What may be removed, deepest first.
    created: Vec<PathBuf>,
}

impl Existing {
    pub(crate) fn new(paths: BTreeMap<String, PathBuf>, created: Vec<PathBuf>) -> Existing {
        Existing { paths, created }
    }

    pub(super) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// Forgets the directories of the controllers that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.paths.retain(|controller, _| keep(controller));
    }

    pub(super) fn created(&self) -> &[PathBuf] {
        &self.created
    }

    /// The directory of version 2, unless it stands beside those of version 1.
    pub(super) fn unified(&self) -> Option<&Path> {
        match self.paths.len() {
            1 => self.paths.get(UNIFIED).map(PathBuf::as_path),
            _ => None,
        }
    }

    /// The processes in it and below it, as this process numbers them,
    /// ascending. Empty when it is gone.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let listed = self.listed()?.into_iter();
        Ok(listed.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
    }

    /// Whether processes are in it, and not only below it.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub(crate) fn has_own(&self) -> Result<bool> {
        for path in self.paths.values() {
            let listed = Directory::open(path).and_then(|cgroup| cgroup.text("cgroup.procs"));
            match listed {
                Err(errno) if is_gone(errno) => {}
                listed => {
                    if !listed.with_context(|| list_of(path))?.is_empty() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// All pids, and 0 for a process of another pid namespace. Of every tree:
    /// a runtime that was killed half way has moved its child into some only.
    fn listed(&self) -> Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for path in self.paths.values().collect::<BTreeSet<_>>() {
            pids.extend(pids_below(path).with_context(|| list_of(path))?);
        }
        Ok(pids)
    }

    /// Whether one of its directories is there.
    pub(crate) fn is_there(&self) -> bool {
        self.paths.values().any(|path| path.is_dir())
    }

    /// Signals every process. None escapes SIGKILL by forking, and a frozen
    /// cgroup thaws to die of it.
    ///
    /// # Errors
    /// Those of listing and signalling; no process at all is none.
    pub(crate) fn kill(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL {
            return self.signal_new(signal, &mut BTreeSet::new()).map(|_| ());
        }
        if let Some(path) = self.unified() {
            match Directory::open(path).and_then(|cgroup| cgroup.write("cgroup.kill", "1")) {
                // Before Linux 5.14, or gone: both show below.
                Err(errno) if is_gone(errno) => {}
                // A threaded one.
                Err(Errno::EOPNOTSUPP) => {}
                done => {
                    return done
                        .with_context(|| format!("write \"1\" to {}/cgroup.kill", path.display()));
                }
            }
        }
        self.freeze(true)?;
        let killed = self.kill_until_none_is_new(signal);
        let thawed = self.freeze(false).and_then(|()| self.let_die());
        killed.and(thawed)
    }

    /// A process with SIGKILL pending finishes no fork(2) any more: the kernel
    /// looks for one after the last moment that another can be missed, and
    /// before the child is in any list (`copy_process`). So once a list holds
    /// none but those signalled, there will be no other. Freezing only makes
    /// that come soon, whatever the processes do meanwhile.
    fn kill_until_none_is_new(&self, signal: i32) -> Result<()> {
        let mut signalled = BTreeSet::new();
        while self.signal_new(signal, &mut signalled)? {}
        Ok(())
    }

    /// Signals the processes that are not in `signalled` yet, and adds them;
    /// whether there were any. By pidfd, and only when the process is listed
    /// still after that was opened: else the number may be another's by now.
    fn signal_new(&self, signal: i32, signalled: &mut BTreeSet<i32>) -> Result<bool> {
        let listed = self.listed()?;
        ensure!(
            !listed.contains(&0),
            "the cgroup holds processes of another pid namespace, which cannot be signalled from here"
        );
        let new: Vec<i32> = listed.difference(signalled).copied().collect();
        // In parts, for a process may have only so many open descriptors.
        for part in new.chunks(128) {
            let mut open = Vec::new();
            for pid in part {
                match sys::pidfd_open(Pid::from_raw(*pid)) {
                    // Gone; or by now the number of a mere thread.
                    Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => {}
                    pidfd => open.push((*pid, pidfd.with_context(|| format!("process {pid}"))?)),
                }
            }
            let still = self.listed()?;
            for (pid, pidfd) in open.iter().filter(|(pid, _)| still.contains(pid)) {
                match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => {
                        return Err(errno)
                            .with_context(|| format!("signal {signal} to process {pid}"));
                    }
                }
            }
        }
        signalled.extend(&new);
        Ok(!new.is_empty())
    }

    /// Removes the directories that were made for it, cgroups that the
    /// container made below included. Parents that others use by now stay;
    /// what is gone already is fine.
    ///
    /// # Errors
    /// When a process is still in it after two seconds; the other directories
    /// are removed even so.
    pub(crate) fn remove(&self) -> Result<()> {
        let leaves: BTreeSet<&PathBuf> = self.paths.values().collect();
        let deadline = Instant::now() + PATIENCE;
        let mut first = Ok(());
        for path in &self.created {
            let removed = match rmdir(path) {
                Err(Errno::EBUSY | Errno::ENOTEMPTY) if leaves.contains(path) => {
                    self.remove_used(path, deadline)
                }
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(()),
                done => done.with_context(|| format!("remove cgroup {}", path.display())),
            };
            first = first.and(removed);
        }
        first
    }

    /// Removes the cgroup at `path` with those below, once its processes,
    /// which are dying, have left.
    fn remove_used(&self, path: &Path, deadline: Instant) -> Result<()> {
        // More rounds than one only when somebody goes on making cgroups there.
        for _ in 0..100 {
            let cleared = walk(path, |visit| match visit {
                Visit::Enter(_) => Ok(()),
                Visit::Leave { parent, name } => match parent.remove(name) {
                    Err(Errno::EBUSY | Errno::ENOENT) => Ok(()),
                    done => done,
                },
            });
            match cleared.and_then(|()| rmdir(path)) {
                Err(Errno::EBUSY) => {}
                done => return done.with_context(|| format!("remove cgroup {}", path.display())),
            }
            let emptied = if self.unified().is_some() {
                wait_for_event(path, "populated 0", deadline)
            } else {
                wait_v1(path, deadline)
            };
            if !emptied.with_context(|| list_of(path))? {
                break;
            }
        }
        let inside = pids_below(path).ok().and_then(|pids| pids.first().copied());
        let why = match inside {
            Some(pid) => format!("remove cgroup {}: process {pid} is in it", path.display()),
            None => format!("remove cgroup {}", path.display()),
        };
        Err(Error::new(Errno::EBUSY).context(why))
    }
}

fn list_of(path: &Path) -> String {
    format!("processes of cgroup {}", path.display())
}

fn rmdir(path: &Path) -> nix::Result<()> {
    let removed = fs::remove_dir(path);
    match removed.map_err(|error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
        Err(errno) if is_gone(errno) => Ok(()),
        done => done,
    }
}

/// The numbers in cgroup.procs of `top` and of all below.
fn pids_below(top: &Path) -> nix::Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    // Whether `top`, which comes first, is threaded, and all below it then.
    let mut threaded = None;
    walk(top, |visit| {
        let Visit::Enter(directory) = visit else {
            return Ok(());
        };
        let listed = directory.text("cgroup.procs");
        let threads = *threaded.get_or_insert(listed == Err(Errno::EOPNOTSUPP));
        match listed {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(Errno::EOPNOTSUPP) if threads => pids.extend(leaders(directory)?),
            // Its processes are listed above it, and in the end at `top`.
            Err(Errno::EOPNOTSUPP) => {}
            Err(errno) if is_gone(errno) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    })?;
    Ok(pids)
}

/// The processes whose first thread is in a threaded cgroup, which lists threads
/// only: of those, the kernel opens no others as a process.
fn leaders(directory: &Directory) -> nix::Result<Vec<i32>> {
    let text = match directory.text("cgroup.threads") {
        Err(errno) if is_gone(errno) => String::new(),
        text => text?,
    };
    let threads = text.lines().filter_map(|line| line.parse::<i32>().ok());
    let first = |thread: &i32| *thread == 0 || sys::pidfd_open(Pid::from_raw(*thread)).is_ok();
    Ok(threads.filter(first).collect())
}

/// Waits until cgroup.events of the cgroup at `path` has the line `event`, or
/// `deadline`; whether it has. Nothing happens any more in one that is gone.
pub(super) fn wait_for_event(path: &Path, event: &str, deadline: Instant) -> nix::Result<bool> {
    let opened = Directory::open(path).and_then(|it| it.file("cgroup.events", OFlag::O_RDONLY));
    let events: OwnedFd = match opened {
        Err(errno) if is_gone(errno) => return Ok(true),
        opened => opened?,
    };
    loop {
        let mut page = [0; 512];
        let length = pread(&events, &mut page, 0)?;
        if has_line(&String::from_utf8_lossy(&page[..length]), event) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // A file of the cgroup file system says that it has changed by POLLPRI.
        let mut changed = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut changed, patience) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until the cgroup at `path` is empty, or `deadline`. Version 1 tells nobody when a cgroup becomes empty but a
/// program that it runs (`release_agent`, one for the whole machine), so there
/// is nothing to wait on: ask again, at growing distances.
fn wait_v1(path: &Path, deadline: Instant) -> nix::Result<bool> {
    let mut pause = Duration::from_millis(1);
    while !pids_below(path)?.is_empty() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(64));
    }
    Ok(true)
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|own| own == line)
}

/// Refuses a cgroup that was there before and in which somebody is, or stands still.
pub(super) fn check_unused_v1(leaf: &Directory) -> Result<()> {
    check_empty(leaf)?;
    // Only one of the trees has this file.
    ensure_running(
        leaf.line("freezer.state")
            .is_ok_and(|state| state != "THAWED"),
    )
}

/// As [`check_unused_v1`].
pub(super) fn check_unused_v2(leaf: &Directory) -> Result<()> {
    let path = leaf.path().display();
    let events = leaf
        .line("cgroup.events")
        .with_context(|| format!("read {path}/cgroup.events"))?;
    if has_line(&events, "populated 1") {
        check_empty(leaf)?;
    }
    ensure_running(has_line(&events, "frozen 1"))
}

fn check_empty(leaf: &Directory) -> Result<()> {
    let number = pids_below(leaf.path())
        .with_context(|| list_of(leaf.path()))?
        .len();
    ensure!(
        number == 0,
        "linux.cgroupsPath: container's cgroup is not empty: {number} process(es) found"
    );
    Ok(())
}

fn ensure_running(frozen: bool) -> Result<()> {
    if frozen {
        bail!("linux.cgroupsPath: container's cgroup unexpectedly frozen");
    }
    Ok(())
}
