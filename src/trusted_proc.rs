//! The machine's /proc, opened once before anything of a container is near,
//! checked to be procfs, and read or written only below its descriptor.
//!
//! No step out of the mount, no magic link: what is bound over a part of /proc
//! cannot redirect a write (CVE-2019-16884, CVE-2025-52881).

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::sys::{self, FsConfig};

/// A descriptor of /proc that is known to be procfs.
pub(crate) struct Proc {
    directory: OwnedFd,
}

impl Proc {
    /// # Errors
    /// `ENOTSUP` when what is mounted on /proc is not procfs.
    pub(crate) fn open() -> nix::Result<Proc> {
        let directory = open(
            "/proc",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        if fstatfs(&directory)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Errno::ENOTSUP);
        }
        Ok(Proc { directory })
    }

    /// A procfs of this process's pid namespace, mounted nowhere: `..` of its root
    /// is that root, and it holds nothing but processes (`subset`, Linux 5.8).
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN over that namespace.
    pub(crate) fn detached() -> nix::Result<Proc> {
        let context = sys::fsopen(c"proc")?;
        sys::fsconfig(context.as_fd(), FsConfig::String(c"subset", c"pid"))?;
        sys::fsconfig(context.as_fd(), FsConfig::Create)?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let directory = sys::fsmount(context.as_fd(), attributes)?;
        Ok(Proc { directory })
    }

    /// Opens the file at `path`, relative to /proc.
    pub(crate) fn file(&self, path: &str, access: OFlag) -> nix::Result<File> {
        let how = OpenHow::new().flags(access | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_XDEV
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        openat2(&self.directory, path, how).map(File::from)
    }

    /// Opens what the link at `path`, relative to /proc, leads to: a namespace.
    pub(crate) fn link(&self, path: &str, access: OFlag) -> nix::Result<OwnedFd> {
        openat(
            &self.directory,
            path,
            access | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// What the link at `path`, relative to /proc, says: `pid:[4026531836]`.
    pub(crate) fn link_text(&self, path: &str) -> nix::Result<OsString> {
        // The link itself: followed, it would be the namespace.
        readlinkat(self.file(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, "")
    }

    /// The whole text of the file at `path`, relative to /proc. Names in it, of
    /// programs and cgroups, may be any bytes: what is not UTF-8 is replaced.
    pub(crate) fn read(&self, path: &str) -> nix::Result<String> {
        text_of(self.file(path, OFlag::O_RDONLY)?)
    }

    /// The same of a file below /proc/sys, which service managers and other
    /// containers mount anew, read-only: it may lie on that mount if this is procfs.
    pub(crate) fn read_sysctl(&self, path: &str) -> nix::Result<String> {
        let path = format!("sys/{path}");
        match self.read(&path) {
            Err(Errno::EXDEV) => {}
            done => return done,
        }
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = openat2(&self.directory, path.as_str(), how).map(File::from)?;
        if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Errno::ENOTSUP);
        }
        text_of(file)
    }

    /// Writes `value` to the file at `path`, relative to /proc, in one write.
    pub(crate) fn write(&self, path: &str, value: &[u8]) -> nix::Result<()> {
        let written = self
            .file(path, OFlag::O_WRONLY)?
            .write(value)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        if written == value.len() {
            Ok(())
        } else {
            Err(Errno::EIO)
        }
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn text_of(file: File) -> nix::Result<String> {
    let bytes = sys::read_to_end(file.as_fd())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
