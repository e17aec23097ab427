//! Events.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::pread;

use crate::cgroups::directory::{Directory, is_gone};

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

pub(super) fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|own| own == line)
}
