//! The directory of the images, and that of CRIU's log.
//!
//! CRIU gets both as descriptors of mounts on which no symbolic link is followed, so what it opens
//! there is in there. Whoever can write to the directory cannot lead it to other files.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::criu::{self, Failure};
use crate::rootfs::Directories;
use crate::sys::{self, MountAttr, OpenTree};
use crate::trusted_proc::Proc;

/// CRIU writes it last, and reads it first.
const INVENTORY: &str = "inventory.img";

/// The names of the directories where CRIU finds them.
const IMAGES: &str = "images";
const WORK: &str = "work";

/// What the standard streams were, for runc and for [`Images::read_descriptors`].
const DESCRIPTORS: &str = "descriptors.json";

/// The link to the images of an earlier pre-dump.
const PARENT: &str = "parent";

/// An open directory, and its path for messages.
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The directories of one checkpoint.
pub(crate) struct Images {
    pub(crate) images: Directory,
    /// Where the log is, unless it is with the images.
    work: Option<Directory>,
}

impl Images {
    /// For a checkpoint: makes the directories that do not exist. An earlier checkpoint there is
    /// made incomplete, so that it cannot be mixed up with this one.
    pub(crate) fn create(images: &Path, work: Option<&Path>, has_parent: bool) -> Result<Images> {
        let images = Directory::make(images, has_parent)?;
        match unlinkat(&images, INVENTORY, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(|| images.name(INVENTORY)),
        }
        let work = work.map(|path| Directory::make(path, false)).transpose()?;
        Ok(Images { images, work })
    }

    /// For a restore.
    ///
    /// # Errors
    /// When the directory does not hold a whole checkpoint.
    pub(crate) fn open(images: &Path, work: Option<&Path>) -> Result<Images> {
        let images = Directory::open(images, true)?;
        let inventory = openat(
            &images,
            INVENTORY,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            Mode::empty(),
        );
        if let Err(Errno::ENOENT) = inventory {
            let path = images.path.display();
            return Err(anyhow!(
                "{path}: holds no checkpoint: there is no {INVENTORY}"
            ));
        }
        let work = work.map(|path| Directory::make(path, false)).transpose()?;
        Ok(Images { images, work })
    }

    /// The directories as mounts that are not attached yet, for a mount namespace that only CRIU is
    /// in. It mounts something in its working directory, which a detached mount does not allow.
    pub(crate) fn directories(&self) -> Directories<'_> {
        let work = self.work.iter().map(|work| (WORK, work.as_fd()));
        work.chain([(IMAGES, self.images.as_fd())]).collect()
    }

    /// Opens the same directories in the mount namespace of the process `criu`, below `path`.
    pub(crate) fn enter(&mut self, criu: Pid, path: &Path, proc: &Proc) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = proc.link(&format!("{criu}/root"), flags).context("criu")?;
        let path = path.strip_prefix("/").unwrap_or(path);
        let open = |name: &str| {
            let path = path.join(name);
            openat(&root, &path, flags | OFlag::O_CLOEXEC, Mode::empty()).context("criu")
        };
        self.images.fd = open(IMAGES)?;
        if let Some(work) = &mut self.work {
            work.fd = open(WORK)?;
        }
        Ok(())
    }

    pub(crate) fn log_directory(&self) -> BorrowedFd<'_> {
        self.work.as_ref().unwrap_or(&self.images).as_fd()
    }

    /// Writes what the standard streams of the container's process are.
    pub(crate) fn write_descriptors(&self, names: &[String]) -> Result<()> {
        let text = serde_json::to_vec(names).context(DESCRIPTORS)?;
        let subject = || self.images.name(DESCRIPTORS);
        // Not through an existing file, which may be one of another directory too.
        match unlinkat(&self.images, DESCRIPTORS, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).with_context(subject),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = openat(&self.images, DESCRIPTORS, flags, mode).with_context(subject)?;
        File::from(file).write_all(&text).with_context(subject)
    }

    /// What the standard streams were: `pipe:[1234]`. Nothing if the file is not there.
    pub(crate) fn read_descriptors(&self) -> Result<Vec<String>> {
        const MAX_SIZE: u64 = 64 << 10;
        use std::io::Read;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let subject = || self.images.name(DESCRIPTORS);
        let file = match openat(&self.images, DESCRIPTORS, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            opened => File::from(opened.with_context(subject)?),
        };
        let mut text = Vec::new();
        file.take(MAX_SIZE)
            .read_to_end(&mut text)
            .with_context(subject)?;
        serde_json::from_slice(&text).with_context(subject)
    }

    /// The error of CRIU, with the cause from its log and the place of the log.
    pub(crate) fn explain(&self, failure: Failure, name: &str) -> Error {
        let error = match failure {
            Failure::Answer(error) => return error,
            Failure::Criu(error) => error,
        };
        let directory = self.work.as_ref().unwrap_or(&self.images);
        match criu::cause(directory.as_fd(), name) {
            Some(cause) => anyhow!("criu: {cause} (see {})", directory.name(name)),
            None => error,
        }
    }
}

impl Directory {
    /// Opens the directory, and makes it if it does not exist.
    fn make(path: &Path, follows_links: bool) -> Result<Directory> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(path);
        made.with_context(|| path.display().to_string())?;
        Directory::open(path, follows_links)
    }

    /// `has_parent` says whether the link to an earlier pre-dump may be there, which CRIU follows.
    fn open(path: &Path, has_parent: bool) -> Result<Directory> {
        let subject = || path.display().to_string();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty()).with_context(subject)?;
        let fd = sys::open_tree(directory.as_fd(), c"", OpenTree::Mount).with_context(subject)?;
        let link = openat(
            &fd,
            PARENT,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            Mode::empty(),
        );
        let links = if has_parent && link.is_ok() {
            0
        } else {
            libc::MOUNT_ATTR_NOSYMFOLLOW
        };
        let attributes = MountAttr {
            // CRIU mounts something in there.
            propagation: libc::MS_PRIVATE,
            set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC | links,
            ..MountAttr::default()
        };
        match sys::mount_setattr(fd.as_fd(), OpenTree::Mount, &attributes) {
            // Before Linux 5.12; MOUNT_ATTR_NOSYMFOLLOW is since 5.14.
            Ok(()) | Err(Errno::ENOSYS | Errno::EINVAL) => {}
            Err(errno) => return Err(errno).with_context(subject),
        }
        Ok(Directory {
            fd,
            path: path.to_owned(),
        })
    }

    fn name(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }
}
