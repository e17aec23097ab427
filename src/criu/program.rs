//! The program `criu`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{AccessFlags, access};

const NAME: &str = "criu";

/// Where it is looked for if the caller has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that may be executed.
pub(super) struct Program {
    pub(super) path: CString,
    /// `PATH=...`, by which CRIU finds the programs that it calls, such as tar(1).
    pub(super) search_path: CString,
}

impl Program {
    /// Looks for the program in the directories of `path`, the PATH of the caller.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn find(path: Option<&OsStr>) -> Result<Program> {
        let path = path.filter(|path| !path.is_empty());
        let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
        let program = search(path)
            .context("criu: not found in PATH; checkpoint and restore need the package criu")?;
        Ok(Program {
            path: CString::new(program.as_os_str().as_bytes()).context(NAME)?,
            search_path: CString::new([b"PATH=", path.as_bytes()].concat()).context("PATH")?,
        })
    }
}

/// The first file `criu` in the directories that may be executed.
fn search(path: &OsStr) -> Option<PathBuf> {
    let directories = path.as_bytes().split(|byte| *byte == b':');
    // A relative directory is the caller's working directory, which may be anyone's.
    let directories = directories.filter(|directory| directory.starts_with(b"/"));
    let mut files = directories.map(|directory| Path::new(OsStr::from_bytes(directory)).join(NAME));
    files.find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}
