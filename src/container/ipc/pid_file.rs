//! `--pid-file`: the pid of the container's process, for a manager that waits for the file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::pathname::{self, Access};

/// Writes the decimal pid to a draft and renames it, so that a reader never sees a part of the
/// number. Returns `path`, if the file was asked for.
///
/// # Errors
/// When the draft exists, or cannot be written or renamed.
pub(crate) fn write_pid_file(path: Option<&Path>, pid: Pid) -> Result<Option<PathBuf>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let subject = || format!("pid file {}", path.display());
    let name = path
        .file_name()
        .context("no file name")
        .with_context(subject)?;
    let draft = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)
        .map_err(|error| pathname::explain(path, error, Access::Write))
        .with_context(subject)?;
    file.write_all(pid.to_string().as_bytes())
        .and_then(|()| std::fs::rename(&draft, path))
        .inspect_err(|_| std::fs::remove_file(&draft).unwrap_or_default())
        .with_context(subject)?;
    Ok(Some(path.to_owned()))
}
