//! Notices that a container has run out of memory.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::uio::pread;
use nix::unistd::AccessFlags;

use super::read::value;
use crate::cgroups::cgroupfs::existing::ExistingCgroups;
use crate::cgroups::directory::{Directory, is_gone};

/// The v1 file that registers an eventfd for a cgroup.
const EVENT_CONTROL: &str = "cgroup.event_control";

/// A descriptor that is ready when the container has run out of memory.
pub(crate) struct OomNotices(Source);

enum Source {
    /// The kernel adds to an eventfd, also when the cgroup is removed
    /// (cgroup-v1/memory.rst, "OOM Control").
    V1 { notices: EventFd, cgroup: Directory },
    /// memory.events has changed. It counts other events as well.
    V2 { events: OwnedFd, kills: u64 },
}

impl ExistingCgroups {
    /// Asks the kernel for notices. `None` when no controller limits the container's memory, or
    /// its cgroup is gone.
    ///
    /// # Errors
    /// When the kernel refuses to notify.
    pub(crate) fn oom_notices(&self) -> Result<Option<OomNotices>> {
        let Some(path) = self
            .unified()
            .or(self.paths().get("memory").map(AsRef::as_ref))
        else {
            return Ok(None);
        };
        let opened = Directory::open(path).and_then(|cgroup| match self.unified() {
            Some(_) => OomNotices::v2(&cgroup),
            None => OomNotices::v1(cgroup),
        });
        match opened {
            Err(errno) if is_gone(errno) => Ok(None),
            opened => {
                let subject = || format!("out-of-memory notices of cgroup {}", path.display());
                opened.map(Some).with_context(subject)
            }
        }
    }
}

impl OomNotices {
    fn v1(cgroup: Directory) -> nix::Result<OomNotices> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let notices = EventFd::from_value_and_flags(0, flags)?;
        let control = cgroup.file("memory.oom_control", OFlag::O_RDONLY)?;
        let registration = format!("{} {}", notices.as_raw_fd(), control.as_raw_fd());
        cgroup.write(EVENT_CONTROL, &registration)?;
        Ok(OomNotices(Source::V1 { notices, cgroup }))
    }

    fn v2(cgroup: &Directory) -> nix::Result<OomNotices> {
        let events = cgroup.file("memory.events", OFlag::O_RDONLY)?;
        let kills = kills(&events)?;
        Ok(OomNotices(Source::V2 { events, kills }))
    }

    /// What poll(2) waits for.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        match &self.0 {
            Source::V1 { notices, .. } => PollFd::new(notices.as_fd(), PollFlags::POLLIN),
            // A file of a cgroup reports a change as POLLPRI.
            Source::V2 { events, .. } => PollFd::new(events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// Whether the container has run out of memory since the last call.
    ///
    /// # Errors
    /// `ENODEV` when the cgroup is gone, and there will be no more notices.
    pub(crate) fn take(&mut self) -> nix::Result<bool> {
        match &mut self.0 {
            Source::V1 {
                notices, cgroup, ..
            } => match notices.read() {
                Ok(_) => cgroup
                    .check_access(EVENT_CONTROL, AccessFlags::F_OK)
                    .map(|()| true)
                    .map_err(|_| Errno::ENODEV),
                Err(Errno::EAGAIN) => Ok(false),
                Err(errno) => Err(errno),
            },
            Source::V2 {
                events,
                kills: before,
            } => {
                let now = kills(events)?;
                let grown = now > *before;
                *before = now;
                Ok(grown)
            }
        }
    }
}

/// The number of processes that the kernel has killed, in the cgroup and below.
fn kills(events: &OwnedFd) -> nix::Result<u64> {
    let mut page = [0; 512];
    let length = pread(events, &mut page, 0)?;
    Ok(value(&String::from_utf8_lossy(&page[..length]), "oom_kill"))
}
