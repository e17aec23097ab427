//! The working directory: made if missing, entered, and seen to lie inside the root.
//!
//! It is always opened without magic links: a path through /proc/self/fd would
//! lead back to whatever directory of the machine is still open (CVE-2024-21626).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fchdir;

use super::Role;
use crate::step::{Cause, Refusal};
use crate::sys;

/// `process.cwd`.
#[derive(Debug)]
pub(super) struct WorkingDirectory {
    path: CString,
    /// The names on the way, for making what is missing. None for a process that
    /// joins: as with runc, it finds its directory there or fails.
    names: Vec<CString>,
}

impl WorkingDirectory {
    pub(super) fn plan(cwd: &str, role: Role) -> anyhow::Result<WorkingDirectory> {
        ensure!(
            cwd.starts_with('/'),
            "process.cwd: {cwd:?} must be an absolute path"
        );
        let path = CString::new(cwd).context("process.cwd")?;
        let names = cwd
            .split('/')
            .filter(|name| role == Role::Init && !name.is_empty() && *name != ".")
            .map(CString::new)
            .collect::<Result<_, _>>()
            .context("process.cwd")?;
        Ok(WorkingDirectory { path, names })
    }

    pub(super) fn describe(&self) -> String {
        format!("enter {:?}", self.path)
    }

    /// # Errors
    /// [`Refusal::OutsideRoot`] when the directory does not lie below the root,
    /// `ENOENT` when it has to be made first.
    pub(super) fn enter(&self) -> Result<(), Cause> {
        fchdir(open(AT_FDCWD, &self.path)?)?;
        // Once more, by what the kernel says of the result and not of the way.
        let mut path = [0; libc::PATH_MAX as usize];
        sys::getcwd(&mut path)?;
        if path[0] != b'/' {
            return Err(Refusal::OutsideRoot.into());
        }
        Ok(())
    }

    /// Makes what is missing on the way, readable for all and the current
    /// user's, as runc does. Nothing to do for `/`, or for a process that joins.
    pub(super) fn make(&self) -> Result<(), Cause> {
        if self.names.is_empty() {
            return Ok(());
        }
        let mut here = open(AT_FDCWD, c"/")?;
        for name in &self.names {
            here = match open(&here, name) {
                Err(Cause::Errno(Errno::ENOENT)) => {
                    match mkdirat(&here, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
                        // Somebody else was quicker, or a link dangles: opening tells.
                        Ok(()) | Err(Errno::EEXIST) => open(&here, name)?,
                        Err(errno) => return Err(errno.into()),
                    }
                }
                // Closed to this user: the one who enters it will see what is there.
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
        // A magic link; or a loop of links, which leads nowhere either.
        Errno::ELOOP => Refusal::OutsideRoot.into(),
        errno => errno.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_refused_by_name() {
        for cwd in ["", "data", "./data", "../etc"] {
            let error = WorkingDirectory::plan(cwd, Role::Init)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("process.cwd: "), "{error}");
        }
        assert!(WorkingDirectory::plan("/a\0b", Role::Init).is_err());
    }

    #[test]
    fn the_way_is_walked_name_by_name() {
        let planned = WorkingDirectory::plan("//a/./b/../c/", Role::Init).unwrap();
        assert_eq!(planned.names, [c"a", c"b", c"..", c"c"].map(CStr::to_owned));
        let planned = |cwd, role| WorkingDirectory::plan(cwd, role).unwrap();
        assert!(planned("/", Role::Init).names.is_empty());
        assert!(planned("/a", Role::ExecProcess).names.is_empty());
    }

    #[test]
    fn a_magic_link_is_no_way_in() {
        use std::os::fd::AsRawFd;
        let root = open(AT_FDCWD, c"/").unwrap();
        let cwd = format!("/proc/self/fd/{}", root.as_raw_fd());
        for cwd in [cwd.clone(), format!("{cwd}/etc")] {
            let planned = WorkingDirectory::plan(&cwd, Role::Init).unwrap();
            assert_eq!(planned.enter(), Err(Refusal::OutsideRoot.into()));
            assert_eq!(planned.make(), Err(Refusal::OutsideRoot.into()));
        }
    }
}
