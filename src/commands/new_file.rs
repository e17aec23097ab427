//! A file that appears under its name when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::log::hinted;

/// A file without a name (open(2), `O_TMPFILE`): if this program is killed, nothing is left.
/// What is not a regular file, such as a FIFO or a device, is written directly.
pub(super) struct NewFile {
    file: File,
    /// The path that the file gets. `None` if it has it already.
    path: Option<PathBuf>,
}

impl NewFile {
    /// # Errors
    /// When the directory does not exist, is not writable, or has no files without names.
    pub(super) fn create(path: &Path) -> Result<NewFile> {
        let found = fs::metadata(path);
        if found.is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(NewFile { file, path: None });
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).custom_flags(libc::O_TMPFILE);
        let file = options.open(directory(path)).map_err(|error| {
            let number = error.raw_os_error().unwrap_or_default();
            let hint = (number == libc::EOPNOTSUPP)
                .then(|| "write to standard output instead: --tar - > FILE".to_owned());
            hinted(Errno::from_raw(number), hint)
        })?;
        Ok(NewFile {
            file,
            path: Some(path.to_owned()),
        })
    }

    /// A descriptor to write with.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the file its name. A file that has the name is replaced.
    ///
    /// # Errors
    /// When the directory has changed.
    pub(super) fn publish(&self) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let link = |to: &Path| {
            let from = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(
                AT_FDCWD,
                from.as_str(),
                AT_FDCWD,
                to,
                AtFlags::AT_SYMLINK_FOLLOW,
            )
        };
        match link(path) {
            Err(Errno::EEXIST) => {}
            linked => return linked.context("name the file"),
        }
        // A link cannot replace a file, but rename(2) can.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let draft = path.with_file_name(name);
        link(&draft).context("name the file")?;
        fs::rename(&draft, path).inspect_err(|_| {
            // The error is about the rename. The draft has this process's id in its name.
            let _ = fs::remove_file(&draft);
        })?;
        Ok(())
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
