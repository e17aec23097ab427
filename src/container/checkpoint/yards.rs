//! Directories in which CRIU mounts cgroups, and which it leaves when it is killed.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How their names begin.
const PREFIX: &[u8] = b".criu.cgyard.";

/// Removes those in the directory in which CRIU has worked. They are empty, because their mounts
/// have ended with CRIU.
pub(in crate::container) fn remove(directory: &Path) -> Result<()> {
    let subject = || directory.display().to_string();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = match Dir::open(directory, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        entries => entries.with_context(subject)?,
    };
    let mut names = Vec::new();
    for entry in entries.iter() {
        let name = entry.with_context(subject)?.file_name().to_owned();
        names.extend(name.to_bytes().starts_with(PREFIX).then_some(name));
    }
    for name in names {
        match unlinkat(&entries, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            // Another may have removed it. Something else has this name.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENOTEMPTY) => {}
            Err(errno) => {
                let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
                return Err(errno).with_context(|| directory.join(name).display().to_string());
            }
        }
    }
    Ok(())
}
