//! The names of the files in a container's directory.

use nix::unistd::UnlinkatFlags;

pub(super) const STATE_FILE: &str = "state.json";

/// `state.json` is written under this name and then renamed.
pub(super) const STATE_DRAFT: &str = ".state.json";

/// `rt start` connects here. The socket exists as long as init waits for it.
pub(crate) const START_SOCKET: &str = "start.sock";

/// The directory that is mounted into a container to hold its notify socket.
pub(crate) const NOTIFY_DIRECTORY: &str = "notify";

/// The notify socket, relative to the container's directory.
pub(crate) const NOTIFY_SOCKET: &str = "notify/notify.sock";

/// Everything that a container's directory may hold, in the order of removal.
pub(super) const ENTRIES: [(&str, UnlinkatFlags); 5] = [
    (STATE_FILE, UnlinkatFlags::NoRemoveDir),
    (STATE_DRAFT, UnlinkatFlags::NoRemoveDir),
    (START_SOCKET, UnlinkatFlags::NoRemoveDir),
    (NOTIFY_SOCKET, UnlinkatFlags::NoRemoveDir),
    (NOTIFY_DIRECTORY, UnlinkatFlags::RemoveDir),
];
