//! What `rt check` can find out about `process.cwd` and `process.args[0]` before the container exists.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::Process;
use super::command::check_type;
use crate::step::{Cause, Failure, Progress, Step};

impl Process {
    /// The first failure of [`Process::prepare`] that is certain. `open` opens a path of the container's root
    /// as it is before the mounts; `None` if a mount may cover it.
    pub(crate) fn unexecutable(
        &self,
        open: impl Fn(&Path) -> nix::Result<Option<OwnedFd>>,
    ) -> Option<Failure> {
        if self.is_absent {
            return None;
        }
        let at = Progress::new();
        let directory = self.working_directory.path();
        at.enter(Step::WorkingDirectory);
        let found = check_directory(open(directory));
        let found = found.and_then(|()| {
            at.enter(Step::Executable);
            // A relative path starts at the working directory.
            let executable = |path: &CStr| {
                check_executable(open(&directory.join(OsStr::from_bytes(path.to_bytes()))))
            };
            self.command.find_where(executable).map(drop)
        });
        found.err().map(|cause| at.failed(cause))
    }
}

/// A missing working directory is created. Only root of the container can tell why it may not be opened.
fn check_directory(opened: nix::Result<Option<OwnedFd>>) -> Result<(), Cause> {
    match opened {
        Ok(Some(file)) if fstat(&file)?.st_mode & libc::S_IFMT != libc::S_IFDIR => {
            Err(Errno::ENOTDIR.into())
        }
        Err(Errno::ENOTDIR) => Err(Errno::ENOTDIR.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether its user may execute the file is known in the container only, except that a file without any
/// permission to execute is for nobody.
fn check_executable(opened: nix::Result<Option<OwnedFd>>) -> Result<(), Cause> {
    match opened {
        Ok(Some(file)) => {
            let mode = fstat(&file)?.st_mode;
            check_type(mode)?;
            match mode & 0o111 {
                0 => Err(Errno::EACCES.into()),
                _ => Ok(()),
            }
        }
        Ok(None) | Err(Errno::EACCES | Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
