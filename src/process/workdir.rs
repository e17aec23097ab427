//! The working directory: created if missing, entered, and checked to be inside the root.
//!
//! It is always opened without following magic links: a path through /proc/self/fd could
//! lead to a directory of the host that is still open (CVE-2024-21626).

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{chdir, fchdir};

use super::options::ProcessKind;
use crate::step::{Cause, Refusal};
use crate::sys;

/// `process.cwd`.
#[derive(Debug)]
pub(super) struct WorkingDirectory {
    pub(super) path: CString,
    /// The components of the path, of which missing ones are created. Empty for an exec
    /// process: as in runc, it fails when its directory is missing.
    names: Vec<CString>,
}

impl WorkingDirectory {
    pub(super) fn plan(cwd: &str, kind: ProcessKind) -> anyhow::Result<WorkingDirectory> {
        ensure!(
            cwd.starts_with('/'),
            "process.cwd: {cwd:?} is relative; want an absolute path: /{}",
            cwd.trim_start_matches("../").trim_start_matches("./")
        );
        ensure!(!cwd.contains('\0'), "process.cwd: holds a NUL byte");
        let path = CString::new(cwd).context("process.cwd")?;
        let names = cwd
            .split('/')
            .filter(|name| kind == ProcessKind::Init && !name.is_empty() && *name != ".")
            .map(CString::new)
            .collect::<Result<_, _>>()
            .context("process.cwd")?;
        Ok(WorkingDirectory { path, names })
    }

    pub(super) fn describe(&self) -> String {
        format!("enter {:?}", self.path)
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path.to_bytes()))
    }

    /// Changes to the directory.
    ///
    /// # Errors
    /// [`Refusal::OutsideRoot`] when the directory is not below the root, `ENOENT` when it is
    /// missing.
    pub(super) fn enter(&self) -> Result<(), Cause> {
        if self.path.as_c_str() == c"/" {
            return Ok(chdir("/")?); // No path leads outside of the root, and no link through it.
        }
        fchdir(open(AT_FDCWD, &self.path)?)?;
        // A second check, of the result instead of the path: getcwd(2) returns a path that does
        // not begin with a slash, `(unreachable)...`, for a directory outside the root.
        let mut path = [0; libc::PATH_MAX as usize];
        sys::getcwd(&mut path)?;
        if path[0] != b'/' {
            return Err(Refusal::OutsideRoot.into());
        }
        Ok(())
    }

    /// Creates the missing components, with mode 0755 and owned by the current user, as runc
    /// does. For `/` and for an exec process there is nothing to create.
    pub(super) fn make(&self) -> Result<(), Cause> {
        if self.names.is_empty() {
            return Ok(());
        }
        let mut directory = open(AT_FDCWD, c"/")?;
        for name in &self.names {
            directory = match open(&directory, name) {
                Err(Cause::Errno(Errno::ENOENT)) => {
                    match mkdirat(&directory, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
                        // EEXIST: another process was faster, or the name is a dangling link.
                        // The open below finds out.
                        Ok(()) | Err(Errno::EEXIST) => open(&directory, name)?,
                        Err(errno) => return Err(errno.into()),
                    }
                }
                // This user may not look here: the user who enters the directory reports the
                // error.
                Err(Cause::Errno(Errno::EACCES | Errno::EPERM)) => return Ok(()),
                opened => opened?,
            };
        }
        Ok(())
    }
}

fn open(from: impl AsFd, path: &CStr) -> Result<OwnedFd, Cause> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(from, path, how).map_err(|errno| match errno {
        // A magic link, or a loop of symbolic links.
        Errno::ELOOP => Refusal::OutsideRoot.into(),
        errno => errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_cwd_is_refused() {
        for cwd in ["", "data", "./data", "../etc"] {
            let error = WorkingDirectory::plan(cwd, ProcessKind::Init)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("process.cwd: "), "{error}");
        }
        assert!(WorkingDirectory::plan("/a\0b", ProcessKind::Init).is_err());
    }

    #[test]
    fn a_path_is_split_into_components() {
        let planned = WorkingDirectory::plan("//a/./b/../c/", ProcessKind::Init).unwrap();
        assert_eq!(planned.names, [c"a", c"b", c"..", c"c"].map(CStr::to_owned));
        let planned = |cwd, role| WorkingDirectory::plan(cwd, role).unwrap();
        assert!(planned("/", ProcessKind::Init).names.is_empty());
        assert!(planned("/a", ProcessKind::ExecProcess).names.is_empty());
    }

    #[test]
    fn a_magic_link_cannot_be_the_working_directory() {
        use std::os::fd::AsRawFd;
        let root = open(AT_FDCWD, c"/").unwrap();
        let cwd = format!("/proc/self/fd/{}", root.as_raw_fd());
        for cwd in [cwd.clone(), format!("{cwd}/etc")] {
            let planned = WorkingDirectory::plan(&cwd, ProcessKind::Init).unwrap();
            assert_eq!(planned.enter(), Err(Refusal::OutsideRoot.into()));
            assert_eq!(planned.make(), Err(Refusal::OutsideRoot.into()));
        }
    }
}
