//! `rt events`: waits for what happens to a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::state::{Container, Status};
use crate::cgroups::{ExistingCgroups, OomNotices};
use crate::resctrl;
use crate::trusted_proc::Proc;

/// What happened first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The time to wait until has come.
    Time,
    OutOfMemory,
    /// The init process has ended.
    Ended,
}

/// A container that was running when it was found.
pub(crate) struct Observed {
    cgroups: ExistingCgroups,
    resctrl: Option<resctrl::Record>,
    init: OwnedFd,
    /// `None` where there are no notices, or will be no more.
    notices: Option<OomNotices>,
}

impl Observed {
    /// Finds the container `id`. Notices are those from now on, if `with_notices`.
    ///
    /// # Errors
    /// When there is no such container, it is not running, or the kernel refuses to notify.
    pub(crate) fn find(root: &Path, id: &str, with_notices: bool) -> Result<Observed> {
        let (container, state) = Container::find(root, id).with_context(|| id.to_owned())?;
        let proc = Proc::open().context("/proc")?;
        // The status is checked after the pidfd is open, so both are of the same process.
        let init = state.pidfd_of_init_pid()?;
        let status = container
            .status(&state, &proc)
            .with_context(|| id.to_owned())?;
        let init = match (status, init) {
            (Status::Created | Status::Running | Status::Paused, Some(init)) => init,
            (status, _) => bail!("container with id {id} is not running: {status}"),
        };
        let cgroups = state.cgroups();
        let notices = if with_notices {
            cgroups.oom_notices().with_context(|| id.to_owned())?
        } else {
            None
        };
        Ok(Observed {
            cgroups,
            resctrl: state.resctrl,
            init,
            notices,
        })
    }

    /// All figures in runc's JSON.
    ///
    /// # Errors
    /// When the container has no cgroup, or its files cannot be read.
    pub(crate) fn stats(&self) -> Result<String> {
        let groups = self.resctrl.as_ref();
        let groups = groups.map_or_else(|| Ok(resctrl::NO_FIGURES.to_owned()), |it| it.stats())?;
        self.cgroups.stats(&groups)
    }

    /// Waits for the next event, until `time`; without a time, for any time. An out-of-memory
    /// notice is reported before the end that it leads to.
    ///
    /// # Errors
    /// When poll(2) fails.
    pub(crate) fn wait(&mut self, time: Option<Instant>) -> Result<Event> {
        loop {
            let remaining = time.map(|time| time.saturating_duration_since(Instant::now()));
            let timeout = remaining.map_or(PollTimeout::NONE, |remaining| {
                // Rounded up, so that it does not wake before the time.
                let milliseconds = remaining.as_micros().div_ceil(1000);
                PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
            });
            let mut ready = vec![PollFd::new(self.init.as_fd(), PollFlags::POLLIN)];
            ready.extend(self.notices.as_ref().map(OomNotices::poll_fd));
            match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => continue,
                polled => polled.context("poll")?,
            };
            let [ended, notified] = [0, 1].map(|index| {
                let fd = ready.get(index);
                fd.is_some_and(|fd| fd.any().unwrap_or(true))
            });
            if (ended || notified) && self.has_run_out_of_memory() {
                return Ok(Event::OutOfMemory);
            }
            if ended {
                return Ok(Event::Ended);
            }
            if time.is_some_and(|time| time <= Instant::now()) {
                return Ok(Event::Time);
            }
        }
    }

    fn has_run_out_of_memory(&mut self) -> bool {
        match self.notices.as_mut().map(OomNotices::take) {
            Some(Ok(taken)) => taken,
            // The cgroup is gone. Its descriptor would stay ready.
            Some(Err(_)) => {
                self.notices = None;
                false
            }
            None => false,
        }
    }
}
