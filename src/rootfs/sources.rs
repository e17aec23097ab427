//! Everything of the host that the container gets, as detached mounts: the root, the
//! sources of mounts, device nodes for a user namespace, and the null device.
//!
//! A source that lies in the container's own root is opened later, when init reaches its
//! mount. Then it shows what earlier mounts put there (config.md, "in the listed order").
//!
//! The runtime opens the sources before the clone, with the caller's privileges and in the
//! host's mount namespace. A caller who may not clone mounts leaves it to init, which may
//! in its user namespace. Init does it first, while it still has the caller's ids.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, stat};
use nix::unistd::Pid;

use super::attributes::{Setter, propagate};
use super::context::MountContext;
use super::detached::open_tree;
use super::facts::Content;
use super::kind::Kind;
use super::mask::Masks;
use super::mount::Mount;
use super::options::{Propagation, Recursion};
use super::queue::MountQueue;
use super::root::clean;
use super::source::Source;
use super::{Entry, Rootfs};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch, OpenTree};

/// Any usual RLIMIT_NOFILE permits this many descriptors, so it is checked only for more.
const FEW_DESCRIPTORS: u64 = 128;

/// What was opened. Each item is taken when it is attached.
pub(crate) struct Sources {
    pub(super) root: Option<OwnedFd>,
    pub(super) mounts: Vec<Source>,
    /// The mounts of [`Source::Queued`].
    pub(super) queue: Option<MountQueue>,
    pub(super) devices: Vec<OwnedFd>,
    /// The contents of the files in `Facts::files`.
    pub(super) files: Vec<Content>,
    /// Covers masked files, once it is opened or created.
    pub(super) null: Option<OwnedFd>,
}

impl Sources {
    pub(crate) fn with_files(mut self, files: Vec<Content>) -> Sources {
        self.files = files;
        self
    }

    /// Init: leaves all descriptors to `close_batch`.
    pub(super) fn close_later(mut self, close_batch: &CloseBatch) {
        self.take_descriptors().for_each(|fd| close_batch.add(fd));
    }

    fn take_descriptors(&mut self) -> impl Iterator<Item = OwnedFd> {
        let mounts = self.mounts.drain(..).flat_map(Source::into_descriptors);
        let root = self.root.take().into_iter();
        root.chain(mounts)
            .chain(self.devices.drain(..))
            .chain(self.null.take())
    }
}

impl Drop for Sources {
    /// Closes all descriptors in a few calls, for there may be one for each mount.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        self.take_descriptors().for_each(|fd| close_batch.add(fd));
    }
}

impl Rootfs {
    /// Opens everything of the host. `ids` are the user namespaces with the id mappings of
    /// mounts, by index in `mounts`.
    ///
    /// # Errors
    /// A missing root or source, or the host's own root without `root.readonly` or an
    /// overlay.
    pub(crate) fn open_sources(
        &self,
        ids: &BTreeMap<usize, Rc<OwnedFd>>,
        progress: &Progress,
    ) -> Result<Sources, Cause> {
        let tree = match (self.entry, &self.layers) {
            (Entry::Pivot | Entry::Move, None) => Some(self.clone_root(progress)?),
            (Entry::Chroot, _) | (_, Some(_)) => self.open_root_path(progress).map(|_| None)?,
        };
        let (mounts, queue) = self.open_mounts(ids, progress)?;
        let devices = self.devices.open(self.setter, progress)?;
        progress.enter(Step::OpenNull);
        let needs_host_null = self.masks.has_masked_paths() && !self.devices.creates_null();
        let null = needs_host_null
            .then(|| Masks::open_host_null(self.setter))
            .transpose()?;
        Ok(Sources {
            root: tree,
            mounts,
            queue,
            devices,
            files: Vec::new(),
            null,
        })
    }

    /// Opens `root.path`.
    ///
    /// # Errors
    /// When it is missing, or would let the container change the host's own root.
    pub(super) fn open_root_path(&self, progress: &Progress) -> Result<OwnedFd, Cause> {
        progress.enter(Step::OpenRoot);
        let root = open(
            &self.path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        self.refuse_host_root(&fstat(&root)?)?;
        Ok(root)
    }

    /// Clones the root and all mounts below it, detached.
    ///
    /// # Errors
    /// As [`Rootfs::open_root_path`].
    pub(super) fn clone_root(&self, progress: &Progress) -> Result<OwnedFd, Cause> {
        progress.enter(Step::OpenRoot);
        let tree = open_tree(&self.path, OpenTree::Recursive)?;
        let root = fstat(&tree)?;
        if root.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(Errno::ENOTDIR.into());
        }
        self.refuse_host_root(&root)?;
        if self.setter == Setter::Detached {
            self.set_initial_propagation(tree.as_fd(), None)?;
        }
        Ok(tree)
    }

    fn refuse_host_root(&self, root: &FileStat) -> Result<(), Cause> {
        let host = stat("/")?;
        if (root.st_dev, root.st_ino) == (host.st_dev, host.st_ino)
            && self.layers.is_none()
            && !self.readonly
        {
            return Err(Refusal::HostRoot.into());
        }
        Ok(())
    }

    fn open_mounts(
        &self,
        ids: &BTreeMap<usize, Rc<OwnedFd>>,
        progress: &Progress,
    ) -> Result<(Vec<Source>, Option<MountQueue>), Cause> {
        progress.enter(Step::OpenSource);
        let mut queue = if self.fits_descriptor_limit()? {
            None
        } else {
            Some(MountQueue::new()?)
        };
        let mut mounts = Vec::with_capacity(self.mounts.len());
        for item in 0..self.mounts.len() {
            let source = self.open_mount(item, ids, progress)?;
            mounts.push(match (source, &mut queue) {
                (Source::Detached(tree), Some(queue)) => {
                    progress.at(Step::OpenSource, item);
                    queue.push(tree)?;
                    Source::Queued
                }
                (source, _) => source,
            });
        }
        if let Some(queue) = &mut queue {
            queue.finish()?;
        }
        Ok((mounts, queue))
    }

    /// Opens the source of `mounts[item]`, unless it lies in the container's root.
    pub(super) fn open_mount(
        &self,
        item: usize,
        ids: &BTreeMap<usize, Rc<OwnedFd>>,
        progress: &Progress,
    ) -> Result<Source, Cause> {
        progress.at(Step::OpenSource, item);
        let (mount, ids) = (&self.mounts[item], ids.get(&item));
        if self.path_in_root(item).is_some() {
            return Ok(Source::InRoot(ids.cloned()));
        }
        let source = mount.open(self.setter, self.default_propagation())?;
        progress.at(Step::MapIds, item);
        mount.map_ids(&source, ids.map(Rc::as_ref))?;
        Ok(source)
    }

    /// Whether the descriptors of all sources leave room for the other ones of the process.
    fn fits_descriptor_limit(&self) -> nix::Result<bool> {
        let needed = self.descriptors();
        if needed < FEW_DESCRIPTORS {
            return Ok(true);
        }
        let (soft, _) = sys::prlimit(Pid::from_raw(0), libc::RLIMIT_NOFILE, None)?;
        Ok(needed <= soft / 2)
    }

    /// The path in the container's root at which the source of `mounts[item]` lies, if it
    /// does. Some sources in the root are opened on the host all the same, unless an
    /// earlier mount must be visible in them: those below the host's own root, those that
    /// an overlay may hide, and those that cannot be ID-mapped later.
    pub(super) fn path_in_root(&self, item: usize) -> Option<PathBuf> {
        let mount = &self.mounts[item];
        let Kind::Bind { source, recursion } = &mount.kind else {
            return None;
        };
        let relative = source.strip_prefix(&self.path);
        let relative = relative
            .or_else(|_| source.strip_prefix(clean(&self.path)))
            .ok()?;
        if relative
            .components()
            .any(|part| part == Component::ParentDir)
        {
            return None;
        }
        let path = clean(relative);
        let opened_on_host = self.layers.is_some()
            || clean(&self.path) == Path::new("/")
            || mount.idmap.is_some() && self.user_namespace;
        let visible_in_source = |earlier: &Mount| {
            path.starts_with(&earlier.target)
                || *recursion == Recursion::Recursive && earlier.target.starts_with(&path)
        };
        (!opened_on_host || self.mounts[..item].iter().any(visible_in_source)).then_some(path)
    }

    /// Calls `attach` for each of `mounts`, in the order of the list.
    ///
    /// # Errors
    /// The first one of `attach`, or when a source cannot be opened.
    pub(super) fn for_each_mount(
        &self,
        sources: &mut Sources,
        context: &MountContext,
        mut attach: impl FnMut(usize, &Mount, Source) -> Result<(), Cause>,
    ) -> Result<(), Cause> {
        let opened = std::mem::take(&mut sources.mounts);
        let mut generated = self.write_generated(&sources.files, context)?.into_iter();
        for (item, (mount, source)) in self.mounts.iter().zip(opened).enumerate() {
            let source = match &mount.kind {
                Kind::Generated(_) => Source::Detached(generated.next().ok_or(Errno::EBADF)?),
                _ => self.resolve_source(item, source, &mut sources.queue, context)?,
            };
            attach(item, mount, source)?;
        }
        Ok(())
    }

    /// Init: the source of `mounts[item]`, which may be opened only now.
    fn resolve_source(
        &self,
        item: usize,
        source: Source,
        queue: &mut Option<MountQueue>,
        context: &MountContext,
    ) -> Result<Source, Cause> {
        context.progress.at(Step::OpenSource, item);
        match (source, self.mounts.get(item), queue) {
            (Source::Queued, _, Some(queue)) => Ok(Source::Detached(queue.pop()?)),
            (Source::InRoot(ids), Some(mount), _) => {
                let path = self.path_in_root(item).ok_or(Errno::EBADF)?;
                let source = mount.open_in_root(&path, context)?;
                context.progress.at(Step::MapIds, item);
                mount.map_ids(&source, ids.as_deref())?;
                Ok(source)
            }
            (source, ..) => Ok(source),
        }
    }

    /// The propagation type of the clone of the root, until the end.
    pub(super) fn initial_propagation(&self) -> (Propagation, Recursion) {
        match self.default_propagation() {
            kind @ (Propagation::Slave | Propagation::Private) => (kind, Recursion::Recursive),
            Propagation::Shared | Propagation::Unbindable => {
                (Propagation::Private, Recursion::MountOnly)
            }
        }
    }

    /// Mounts in the root must not propagate to the host, even if the root becomes shared
    /// at the end. In that case the mounts below it stay in their peer groups.
    pub(super) fn set_initial_propagation(
        &self,
        tree: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let (kind, recursion) = self.initial_propagation();
        propagate(self.setter, tree, kind, recursion, proc)
    }
}
