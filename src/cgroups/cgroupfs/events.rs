//! cgroup.events: waits until a v2 cgroup is empty or frozen.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::pread;

use crate::cgroups::directory::{Directory, is_gone};

/// Waits until cgroup.events of the cgroup at `path` has the line `event`, or until `deadline`.
/// Returns whether it has the line. True when the cgroup is gone: nothing more will happen in
/// it.
pub(super) fn wait_for_event(path: &Path, event: &str, deadline: Instant) -> nix::Result<bool> {
    let opened =
        Directory::open(path).and_then(|cgroup| cgroup.file("cgroup.events", OFlag::O_RDONLY));
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
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Ok(false);
        }
        // A file of a cgroup reports a change as POLLPRI.
        let mut changed = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
        match poll(&mut changed, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(super) fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|candidate| candidate == line)
}
