//! The root and the host's part of the mounts at paths where CRIU finds them, to restore a
//! container.
//!
//! CRIU makes the mounts of a container from its images, except for the root and for those that
//! belong to the host. It finds these below a tmpfs, in a mount namespace that only CRIU is in:
//! the root at `root`, the others at `mounts/N`. So it gets the mounts of the bundle, made as for
//! a new container, whatever the images say.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use serde::{Deserialize, Serialize};

use super::Rootfs;
use super::attributes::{READONLY, Setter};
use super::context::MountContext;
use super::detached::new_file_system;
use super::kind::Kind;
use super::mask::Masks;
use super::mount::Mount;
use super::options::Recursion;
use super::parameter::Parameter;
use super::pivot;
use super::root::{Links, Root, is_directory, open_or_create_file};
use super::source::Source;
use super::sources::Sources;
use super::switch_root::NewRoot;
use crate::step::{Cause, Progress, Step};
use crate::sys::{self, CloseBatch, OpenTree};
use crate::trusted_proc::Proc;

/// The name of the root on the tmpfs.
const ROOT: &str = "root";
/// The directory of the other mounts.
const MOUNTS: &str = "mounts";

/// In a user namespace CRIU looks for the mounts as a user without rights on the host.
const SEARCHED: Mode = Mode::S_IRWXU.union(Mode::S_IXGRP).union(Mode::S_IXOTH);

/// The tmpfs, and what was placed in it.
struct Stage {
    tmpfs: OwnedFd,
    /// Its path, as the kernel shows it.
    path: PathBuf,
    placed: Vec<Placed>,
    /// As in [`Staged`].
    keys: Vec<(usize, PathBuf)>,
}

/// A mount of the container.
struct Placed {
    /// Its mount point in the container, links resolved.
    key: PathBuf,
    /// A directory of the host. `None` for a file, and for a file system that CRIU makes.
    content: Option<Root>,
    /// Its path on the tmpfs, if it belongs to the host.
    path: Option<PathBuf>,
    /// The type of a file system that CRIU makes.
    fs_type: String,
}

/// What CRIU itself needs.
pub(crate) struct ForCriu<'a> {
    /// Detached, and their names on the tmpfs.
    pub(crate) directories: Vec<(&'static str, BorrowedFd<'a>)>,
    /// A file that takes the place of the one at this path, which is below the tmpfs if it is relative.
    pub(crate) file: Option<(PathBuf, &'a [u8])>,
}

/// What CRIU needs to know.
#[derive(Serialize, Deserialize)]
pub(crate) struct Staged {
    /// The path of the tmpfs.
    pub(crate) path: PathBuf,
    /// The device of the root, as in mountinfo.
    pub(super) root_device: String,
    /// The mounts of the host.
    pub(crate) mounts: Vec<StagedMount>,
    /// The mount points of the file systems that CRIU makes, with their types.
    pub(super) others: Vec<(PathBuf, String)>,
    /// The mount points of `mounts`, by index.
    keys: Vec<(usize, PathBuf)>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StagedMount {
    /// The mount point in the container.
    pub(crate) key: PathBuf,
    /// Where it is staged.
    pub(crate) path: PathBuf,
    /// As in mountinfo.
    pub(super) device: String,
}

impl Rootfs {
    /// Whether the kernel lets mounts have their attributes before they are attached, on which
    /// [`Rootfs::stage`] relies.
    pub(crate) fn can_be_staged(&self) -> bool {
        self.setter == Setter::Detached
    }

    /// CRIU's process, in a mount namespace that is a copy of the host's: mounts the tmpfs over
    /// the directory `path`, attaches everything to it, and makes the mount points that are
    /// missing.
    pub(crate) fn stage(
        &self,
        (path, for_criu): (&Path, ForCriu),
        sources: &mut Sources,
        proc: &Proc,
        progress: &Progress,
    ) -> Result<Staged, Cause> {
        progress.enter(Step::Propagation);
        let old_root = pivot::make_mounts_private(self.setter)?;
        progress.enter(Step::Root);
        // Only a mount of this namespace can be mounted on, so it is opened here.
        let directory = pivot::open_directory(path)?;
        let root = match sources.root.take() {
            Some(root) => root,
            None => self.merged_root(&old_root, progress)?,
        };
        let close_batch = CloseBatch::default();
        let mut stage = Stage::new(
            for_criu,
            directory.as_fd(),
            root.as_fd(),
            proc,
            &close_batch,
        )?;
        let entered = NewRoot::new(root, None);
        let context = self.context(&entered, &close_batch, proc, progress);
        self.for_each_mount(sources, &context, |item, mount, source| {
            progress.at(Step::MountPoint, item);
            stage.place((item, mount), source, &context, proc)
        })?;
        self.place_devices(&mut stage, sources)?;
        self.provide_put_old(&entered.root, progress)?;
        progress.enter(Step::ReadonlyRoot);
        if self.readonly {
            // CRIU 3.17 leaves the root as it is.
            let root = entered.as_fd();
            self.setter
                .set(root, READONLY, Recursion::MountOnly, Some(proc.as_fd()))?;
        }
        stage.finish(proc)
    }

    /// The devices of the host, read-only. The key of the one that masks files is /dev/null.
    fn place_devices(&self, stage: &mut Stage, sources: &mut Sources) -> Result<(), Cause> {
        let mut keys = self.devices.bind_mounts();
        for mount in std::mem::take(&mut sources.devices) {
            stage.attach(keys.next().ok_or(Errno::EBADF)?, mount)?;
        }
        let null = PathBuf::from("/dev/null");
        if self.masks.has_masked_paths() && stage.placed.iter().all(|placed| placed.key != null) {
            let mount = match sources.null.take() {
                Some(mount) => mount,
                None => Masks::open_host_null(self.setter)?,
            };
            stage.attach(null, mount)?;
        }
        Ok(())
    }

    fn merged_root(&self, old_root: &OwnedFd, progress: &Progress) -> Result<OwnedFd, Cause> {
        let root_path = Some(pivot::open_directory(&self.path)?);
        let layers = self.layers.as_ref().map(|layers| layers.open(progress));
        self.overlay(&root_path, layers.transpose()?, old_root, progress)
    }
}

impl Stage {
    fn new(
        ForCriu { directories, file }: ForCriu,
        directory: BorrowedFd,
        root: BorrowedFd,
        proc: &Proc,
        close_batch: &CloseBatch,
    ) -> Result<Stage, Cause> {
        let mode = [Parameter::Value(c"mode".into(), c"0711".into())];
        let tmpfs = new_file_system(close_batch, c"tmpfs", c"tmpfs", &[], &mode, 0)?;
        sys::move_mount(tmpfs.as_fd(), directory)?;
        for name in [ROOT, MOUNTS] {
            mkdirat(&tmpfs, name, SEARCHED)?;
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let target = openat(&tmpfs, ROOT, flags, Mode::empty())?;
        pivot::attach_root(root, target.as_fd())?;
        for (name, directory) in directories {
            mkdirat(&tmpfs, name, Mode::S_IRWXU)?;
            let target = openat(&tmpfs, name, flags, Mode::empty())?;
            sys::move_mount(directory, target.as_fd())?;
        }
        if let Some((path, content)) = file {
            replace_file(&tmpfs, &path, content)?;
        }
        Ok(Stage {
            path: path_of(&tmpfs, proc)?,
            tmpfs,
            placed: Vec::new(),
            keys: Vec::new(),
        })
    }

    /// Makes the mount point, if CRIU does not make it, and attaches a mount of the host.
    fn place(
        &mut self,
        (item, mount): (usize, &Mount),
        source: Source,
        context: &MountContext,
        proc: &Proc,
    ) -> Result<(), Cause> {
        if matches!(mount.kind, Kind::Remount(_)) {
            return Ok(());
        }
        let directory = match &source {
            Source::Detached(tree) => is_directory(tree)?,
            _ => true,
        };
        let key = self.mount_point(mount, directory, context, proc)?;
        self.keys.push((item, key.clone()));
        let own = |key| Placed {
            key,
            content: None,
            path: None,
            fs_type: mount.kind.fs_type(),
        };
        let hierarchies = mount.hierarchy_names();
        for name in hierarchies
            .iter()
            .filter(|name| !name.as_os_str().is_empty())
        {
            self.placed.push(Placed {
                fs_type: "cgroup".to_owned(),
                ..own(below(&key, name))
            });
        }
        match source {
            Source::Detached(tree) => self.attach(key, tree)?,
            Source::Hierarchies(binds) => {
                self.placed.push(own(key.clone()));
                for (name, bind) in hierarchies.into_iter().zip(binds) {
                    if let Some(bind) = bind {
                        let (place, target) = self.new_place(true)?;
                        let bound = bind.attach(context, target.as_fd(), mount.attributes)?;
                        context.close_batch.add(bound);
                        self.placed.push(Placed {
                            key: below(&key, &name),
                            path: Some(self.path.join(place)),
                            ..own(key.clone())
                        });
                    }
                }
            }
            Source::None | Source::Queued | Source::InRoot(_) => self.placed.push(own(key)),
        }
        Ok(())
    }

    /// Opens or creates the mount point. Returns its path in the container.
    fn mount_point(
        &self,
        mount: &Mount,
        directory: bool,
        context: &MountContext,
        proc: &Proc,
    ) -> Result<PathBuf, Cause> {
        let above = |placed: &&Placed| mount.target.starts_with(&placed.key);
        let Some(above) = self.placed.iter().rfind(above) else {
            let target = mount.mount_point(context.root, directory)?;
            let path = path_of(&target, proc)?;
            let path = path.strip_prefix(self.path.join(ROOT));
            let path = path.map_err(|_| Errno::EXDEV)?;
            return Ok(Path::new("/").join(path));
        };
        // CRIU restores the content of file systems that are the container's own.
        if let Some(content) = &above.content {
            let below = mount.target.strip_prefix(&above.key);
            let below = Path::new("/").join(below.map_err(|_| Errno::EXDEV)?);
            if directory {
                content.directory(&below, Links::Follow)?;
            } else {
                content.file(&below, Links::Follow)?;
            }
        }
        Ok(mount.target.clone())
    }

    fn attach(&mut self, key: PathBuf, tree: OwnedFd) -> Result<(), Cause> {
        let directory = is_directory(&tree)?;
        let (name, target) = self.new_place(directory)?;
        sys::move_mount(tree.as_fd(), target.as_fd())?;
        let content = directory.then(|| Root::new(tree));
        self.placed.push(Placed {
            key,
            content,
            path: Some(self.path.join(name)),
            fs_type: String::new(),
        });
        Ok(())
    }

    /// A mount point for the next mount of the host, and its name on the tmpfs.
    fn new_place(&self, directory: bool) -> nix::Result<(PathBuf, OwnedFd)> {
        let name = PathBuf::from(format!("{MOUNTS}/{}", self.placed.len()));
        if !directory {
            let target = open_or_create_file(&self.tmpfs, &name)?;
            return Ok((name, target));
        }
        mkdirat(&self.tmpfs, &name, Mode::S_IRWXU)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let target = openat(&self.tmpfs, &name, flags, Mode::empty())?;
        Ok((name, target))
    }

    /// The mounts of the host, with those below them.
    fn finish(self, proc: &Proc) -> Result<Staged, Cause> {
        let mounts = proc.mounts("self")?;
        let (mut staged, mut others) = (Vec::new(), Vec::new());
        for Placed {
            key, path, fs_type, ..
        } in self.placed
        {
            let Some(path) = path else {
                others.push((key, fs_type));
                continue;
            };
            for mount in &mounts {
                let Ok(name) = mount.mount_point.strip_prefix(&path) else {
                    continue;
                };
                staged.push(StagedMount {
                    key: below(&key, name),
                    path: mount.mount_point.clone(),
                    device: mount.majmin.clone(),
                });
            }
        }
        let root = self.path.join(ROOT);
        let root = mounts.iter().find(|mount| mount.mount_point == root);
        Ok(Staged {
            path: self.path,
            root_device: root.ok_or(Errno::EXDEV)?.majmin.clone(),
            mounts: staged,
            others,
            keys: self.keys,
        })
    }
}

/// Mounts a file with this content on the file at `path`, relative to the tmpfs.
fn replace_file(tmpfs: &OwnedFd, path: &Path, content: &[u8]) -> Result<(), Cause> {
    const NAME: &CStr = c"file";
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(tmpfs, NAME, flags, Mode::from_bits_truncate(0o444))?;
    File::from(file)
        .write_all(content)
        .map_err(|_| Errno::ENOSPC)?;
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = openat(tmpfs, path, flags, Mode::empty())?;
    let mount = sys::open_tree(tmpfs.as_fd(), NAME, OpenTree::Mount)?;
    Ok(sys::move_mount(mount.as_fd(), target.as_fd())?)
}

/// `path`, or what `name` is below it.
fn below(path: &Path, name: &Path) -> PathBuf {
    if name == Path::new("") {
        return path.to_owned();
    }
    path.join(name)
}

impl Staged {
    /// The mount point of `mounts[item]` in the container, links resolved. `None` for a remount.
    pub(super) fn key_of(&self, item: usize) -> Option<&PathBuf> {
        let mut keys = self.keys.iter();
        keys.find(|(other, _)| *other == item).map(|(_, key)| key)
    }

    /// The path of the root.
    pub(crate) fn root(&self) -> PathBuf {
        self.path.join(ROOT)
    }
}

/// The path of an open file, from the root of this process.
fn path_of(file: &OwnedFd, proc: &Proc) -> nix::Result<PathBuf> {
    let text = proc.link_text(&format!("self/fd/{}", file.as_raw_fd()))?;
    Ok(PathBuf::from(OsStr::from_bytes(text.as_bytes())))
}
