//! The host's /proc: opened once, before the container's files are reachable, and
//! checked to be procfs. All reads and writes resolve paths below its descriptor.
//!
//! Path resolution refuses to leave the mount and to follow magic links, so a mount on
//! top of a file in /proc cannot redirect a write (CVE-2019-16884, CVE-2025-52881).

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;
use procfs::FromRead;
use procfs::process::MountInfos;

use crate::sys::{self, FsConfig};

/// A descriptor of /proc that has been checked to be procfs.
pub(crate) struct Proc {
    directory: OwnedFd,
}

impl Proc {
    /// Opens /proc.
    ///
    /// # Errors
    /// `ENOTSUP` when the file system on /proc is not procfs.
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

    /// Creates a detached mount of procfs for this process's pid namespace. `..` of its
    /// root is the root itself, and it has only the processes (`subset=pid`, Linux 5.8).
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN in the user namespace that owns the pid namespace.
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

    /// Opens the target of the magic link at `path`, relative to /proc: a namespace.
    pub(crate) fn link(&self, path: &str, access: OFlag) -> nix::Result<OwnedFd> {
        openat(
            &self.directory,
            path,
            access | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// The text of the link at `path`, relative to /proc: `pid:[4026531836]`.
    pub(crate) fn link_text(&self, path: &str) -> nix::Result<OsString> {
        // O_NOFOLLOW, because the target of the link is the namespace.
        readlinkat(self.file(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, "")
    }

    /// Reads the file at `path`, relative to /proc. The names of programs and cgroups
    /// may be any bytes, so invalid UTF-8 is replaced.
    pub(crate) fn read(&self, path: &str) -> nix::Result<String> {
        sys::read_to_end(self.file(path, OFlag::O_RDONLY)?.as_fd()).map(text)
    }

    /// The same for a file that has one record: a sysctl, and of a process `stat`, `status` and
    /// `cgroup`.
    pub(crate) fn read_record(&self, path: &str) -> nix::Result<String> {
        sys::read_record(self.file(path, OFlag::O_RDONLY)?.as_fd()).map(text)
    }

    /// Reads the file at `path`, relative to /proc/sys. Service managers and container
    /// runtimes mount /proc/sys again, read-only, so a file on another mount is accepted
    /// if that is procfs too.
    pub(crate) fn read_sysctl(&self, path: &str) -> nix::Result<String> {
        let path = format!("sys/{path}");
        match self.read_record(&path) {
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
        sys::read_record(file.as_fd()).map(text)
    }

    /// The mounts in the mount namespace of `process`: a pid, or `self`.
    ///
    /// # Errors
    /// `EIO` when the kernel's text has another form than in proc_pid_mountinfo(5).
    pub(crate) fn mounts(&self, process: &str) -> nix::Result<MountInfos> {
        let file = self.file(&format!("{process}/mountinfo"), OFlag::O_RDONLY)?;
        MountInfos::from_read(file).map_err(|_| Errno::EIO)
    }

    /// The threads of the process `pid`.
    pub(crate) fn threads(&self, pid: Pid) -> nix::Result<Vec<Pid>> {
        let directory = self.file(&format!("{pid}/task"), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let mut threads = Vec::new();
        for entry in Dir::from_fd(directory.into())?.iter() {
            let name = entry?.file_name().to_string_lossy().parse();
            threads.extend(name.map(Pid::from_raw));
        }
        Ok(threads)
    }

    /// The process `pid` and its descendants, without those that end meanwhile.
    pub(crate) fn tree(&self, pid: Pid) -> nix::Result<Vec<Pid>> {
        let mut tree = vec![pid];
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            match self.children(*pid) {
                Ok(children) => tree.extend(children),
                Err(Errno::ENOENT | Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
            next += 1;
        }
        Ok(tree)
    }

    /// The children of the process `pid` (proc_pid_task(5), `children`).
    fn children(&self, pid: Pid) -> nix::Result<Vec<Pid>> {
        let mut children = Vec::new();
        for thread in self.threads(pid)? {
            let text = self.read(&format!("{pid}/task/{thread}/children"))?;
            let pids = text
                .split_whitespace()
                .map(str::parse)
                .map_while(Result::ok);
            children.extend(pids.map(Pid::from_raw));
        }
        Ok(children)
    }

    /// Writes `value` to the file at `path`, relative to /proc, with one write(2).
    ///
    /// # Errors
    /// `EIO` when the kernel takes only a part of `value`.
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

impl From<Proc> for OwnedFd {
    fn from(proc: Proc) -> OwnedFd {
        proc.directory
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
