//! The directory of the images, and that of CRIU's log.
//!
//! CRIU gets both as descriptors of mounts on which no symbolic link is followed, so what it opens
//! there is in there. Whoever can write to the directory cannot lead it to other files. After a
//! pre-dump CRIU needs the directory itself, because it follows the link to the other images.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::parents;
use crate::criu::{self, Failure, filters};
use crate::log;
use crate::process::Seccomp;
use crate::rootfs::ForCriu;
use crate::sys::{self, MountAttr, OpenTree};
use crate::trusted_proc::Proc;

/// CRIU reads it first.
const INVENTORY: &str = "inventory.img";

/// How the name of the image with the links of a network namespace begins.
const LINKS: &[u8] = b"netdev-";

/// The names of the directories where CRIU finds them.
const IMAGES: &str = "images";
const WORK: &str = "work";

/// What the standard streams were, for runc and for [`Images::read_descriptors`]. It is written when
/// CRIU has written everything else, so images without it are not whole.
const DESCRIPTORS: &str = "descriptors.json";
/// Its name while it is written.
const DRAFT: &str = "descriptors.json.draft";

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
    /// CRIU follows the link to the images of a pre-dump.
    has_parent: bool,
    /// Where the log is, unless it is with the images.
    work: Option<Directory>,
    /// What CRIU gets in place of the image with the seccomp filters.
    filters: Option<Filters>,
}

struct Filters {
    content: Vec<u8>,
    /// The device of the file with this content, when it is there.
    device: Option<u64>,
}

impl Images {
    /// For a checkpoint: makes the directories that do not exist. An earlier checkpoint there is
    /// made incomplete, so that it cannot be mixed up with this one. `parent` is the directory of
    /// the pre-dump before, relative to that of the images.
    pub(crate) fn create(
        images: &Path,
        work: Option<&Path>,
        parent: Option<&Path>,
    ) -> Result<Images> {
        let images = Directory::make(images)?;
        images.make_incomplete()?;
        parents::remove_link(&images).with_context(|| images.name("parent"))?;
        let work = work.map(Directory::make).transpose()?;
        if parent.is_some() {
            return Images::with_parent(images, work, parent);
        }
        Ok(Images {
            images,
            has_parent: false,
            work,
            filters: None,
        })
    }

    /// For a restore.
    ///
    /// # Errors
    /// When the directory does not hold a whole checkpoint.
    pub(crate) fn open(images: &Path, work: Option<&Path>) -> Result<Images> {
        let images = Directory::open(images)?;
        for name in [INVENTORY, DESCRIPTORS] {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if let Err(Errno::ENOENT) = openat(&images, name, flags, Mode::empty()) {
                let path = images.path.display();
                bail!("{path}: holds no checkpoint: there is no {name}");
            }
        }
        let work = work.map(Directory::make).transpose()?;
        if parents::has_link(&images) {
            return Images::with_parent(images, work, None);
        }
        Ok(Images {
            images,
            has_parent: false,
            work,
            filters: None,
        })
    }

    /// The directory itself in place of the mount. The log stays where no link is followed.
    fn with_parent(
        images: Directory,
        work: Option<Directory>,
        parent: Option<&Path>,
    ) -> Result<Images> {
        let itself = Directory::open_itself(&images.path)?;
        parents::refuse_other_links(&itself, &itself.path, parent)?;
        Ok(Images {
            images: itself,
            has_parent: true,
            work: Some(work.unwrap_or(images)),
            filters: None,
        })
    }

    /// Makes `filter` the first one of each restored process that has a filter.
    ///
    /// # Errors
    /// When the image with the filters cannot be read.
    pub(crate) fn demand_filter(&mut self, filter: Option<&Seccomp>) -> Result<()> {
        const MAX_SIZE: u64 = 16 << 20;
        let Some((program, flags)) = filter.map(Seccomp::to_image) else {
            return Ok(());
        };
        let Some(image) = self.images.read(filters::NAME, MAX_SIZE)? else {
            // No process has a filter, which is found out later.
            return Ok(());
        };
        let content = filters::with_first(&image, &program, flags);
        let content = content.with_context(|| self.images.name(filters::NAME))?;
        self.filters = content.map(|content| Filters {
            content,
            device: None,
        });
        Ok(())
    }

    /// The directories as mounts that are not attached yet, for a mount namespace that only CRIU is
    /// in. It mounts something in its working directory, which a detached mount does not allow.
    pub(crate) fn for_criu(&self) -> ForCriu<'_> {
        let work = self.work.iter().map(|work| (WORK, work.as_fd()));
        let images = (!self.has_parent).then(|| (IMAGES, self.images.as_fd()));
        let path = if self.has_parent {
            self.images.path.join(filters::NAME)
        } else {
            Path::new(IMAGES).join(filters::NAME)
        };
        let filters = self.filters.as_ref();
        ForCriu {
            directories: work.chain(images).collect(),
            file: filters.map(|filters| (path, &*filters.content)),
        }
    }

    /// After a restore: checks that CRIU has read the filters of [`Images::demand_filter`]. Whoever owns the
    /// directory can remove the file below, and with it the mount.
    ///
    /// # Errors
    /// When they are not there any more.
    pub(crate) fn check_filters(&self) -> Result<()> {
        let Some(filters) = &self.filters else {
            return Ok(());
        };
        let name = || self.images.name(filters::NAME);
        let found = fstatat(&self.images, filters::NAME, AtFlags::AT_SYMLINK_NOFOLLOW);
        let device = found.with_context(name)?.st_dev;
        ensure!(
            filters.device == Some(device),
            "{}: was replaced meanwhile",
            name()
        );
        Ok(())
    }

    /// Opens the same directories in the mount namespace of the process `criu`, below `path`.
    pub(crate) fn enter(&mut self, criu: Pid, path: &Path, proc: &Proc) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = proc.link(&format!("{criu}/root"), flags).context("criu")?;
        let open = |path: &Path| {
            let path = path.strip_prefix("/").unwrap_or(path);
            openat(&root, path, flags | OFlag::O_CLOEXEC, Mode::empty()).context("criu")
        };
        let images = if self.has_parent {
            let name = proc.link_text(&format!("self/fd/{}", self.images.fd.as_raw_fd()));
            PathBuf::from(name.context("/proc")?)
        } else {
            path.join(IMAGES)
        };
        self.images.fd = open(&images)?;
        if let Some(work) = &mut self.work {
            work.fd = open(&path.join(WORK))?;
        }
        if let Some(filters) = &mut self.filters {
            filters.device = Some(fstat(open(path)?).context("criu")?.st_dev);
        }
        Ok(())
    }

    pub(crate) fn log_directory(&self) -> BorrowedFd<'_> {
        self.work.as_ref().unwrap_or(&self.images).as_fd()
    }

    /// Removes what a restore requires. CRIU writes some of it before it fails.
    pub(crate) fn make_incomplete(&self) -> Result<()> {
        self.images.make_incomplete()
    }

    /// Writes what the standard streams of the container's process are. The images are whole now.
    pub(crate) fn write_descriptors(&self, names: &[String]) -> Result<()> {
        let text = serde_json::to_vec(names).context(DESCRIPTORS)?;
        let subject = || self.images.name(DESCRIPTORS);
        // Not through an existing file, which may be one of another directory too.
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let file = openat(&self.images, DRAFT, flags, mode).with_context(subject)?;
        (File::from(file).write_all(&text)).with_context(subject)?;
        renameat(&self.images, DRAFT, &self.images, DESCRIPTORS).with_context(subject)
    }

    /// What the standard streams were: `pipe:[1234]`.
    pub(crate) fn read_descriptors(&self) -> Result<Vec<String>> {
        const MAX_SIZE: u64 = 64 << 10;
        let subject = || self.images.name(DESCRIPTORS);
        let text = self.images.read(DESCRIPTORS, MAX_SIZE)?;
        let text = text.ok_or(Errno::ENOENT).with_context(subject)?;
        serde_json::from_slice(&text).with_context(subject)
    }

    /// Whether they have a network namespace with its links.
    pub(crate) fn have_network(&self) -> Result<bool> {
        let subject = || self.images.path.display().to_string();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut files =
            Dir::openat(&self.images, ".", flags, Mode::empty()).with_context(subject)?;
        for file in files.iter() {
            let file = file.with_context(subject)?;
            if file.file_name().to_bytes().starts_with(LINKS) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The error of CRIU, with the cause from its log, the place of the log, and a hint.
    pub(crate) fn explain(&self, failure: Failure, name: &str, hint: Option<&str>) -> Error {
        let error = match failure {
            Failure::Answer(error) => return error,
            Failure::Criu(error) => error,
            Failure::Killed(signal) => return anyhow!("criu: ended by signal {signal}"),
        };
        let directory = self.work.as_ref().unwrap_or(&self.images);
        let error = match criu::cause(directory.as_fd(), name) {
            Some(cause) => anyhow!("criu: {cause} (see {})", directory.name(name)),
            None => error,
        };
        match hint {
            Some(hint) => anyhow!(log::with_hint(&error.to_string(), hint)),
            None => error,
        }
    }
}

impl Directory {
    /// Opens the directory, and makes it if it does not exist.
    fn make(path: &Path) -> Result<Directory> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(path);
        made.with_context(|| path.display().to_string())?;
        Directory::open(path)
    }

    fn open_itself(path: &Path) -> Result<Directory> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).with_context(|| path.display().to_string())?;
        Ok(Directory {
            fd,
            path: path.to_owned(),
        })
    }

    fn make_incomplete(&self) -> Result<()> {
        for name in [INVENTORY, DESCRIPTORS, DRAFT] {
            match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno).with_context(|| self.name(name)),
            }
        }
        Ok(())
    }

    /// A mount of the directory on which no link is followed.
    fn open(path: &Path) -> Result<Directory> {
        let subject = || path.display().to_string();
        let directory = Directory::open_itself(path)?;
        let fd = sys::open_tree(directory.as_fd(), c"", OpenTree::Mount).with_context(subject)?;
        let attributes = MountAttr {
            // CRIU mounts something in there.
            propagation: libc::MS_PRIVATE,
            set: libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC
                | libc::MOUNT_ATTR_NOSYMFOLLOW,
            ..MountAttr::default()
        };
        match sys::mount_setattr(fd.as_fd(), OpenTree::Mount, &attributes) {
            // Before Linux 5.12; MOUNT_ATTR_NOSYMFOLLOW is since 5.14.
            Ok(()) | Err(Errno::ENOSYS | Errno::EINVAL) => {}
            Err(errno) => return Err(errno).with_context(subject),
        }
        Ok(Directory { fd, ..directory })
    }

    /// The content of a file, up to `max_size` bytes. `None` without such a file.
    fn read(&self, name: &str, max_size: u64) -> Result<Option<Vec<u8>>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(self, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            file => file.with_context(|| self.name(name))?,
        };
        let mut content = Vec::new();
        let read = File::from(file).take(max_size).read_to_end(&mut content);
        read.with_context(|| self.name(name))?;
        Ok(Some(content))
    }

    fn name(&self, file: &str) -> String {
        self.path.join(file).display().to_string()
    }
}
