//! What belongs to the machine, as detached copies: the root and the sources of
//! bind mounts, devices where nobody can make them, and the null device.
//!
//! A source that lies in the container's own root is not the machine's: it is
//! opened in its turn, below the root's descriptor, so that it shows what was
//! mounted before it (config.md, "in the listed order").
//!
//! The runtime opens it before the clone, with the caller's rights and where
//! paths mean what the configuration meant. A caller who may not copy mounts
//! leaves it to init, which may, in a user namespace: the first thing that
//! init does there, while it still is the caller.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::unistd::Pid;

use super::attributes::{Setter, propagate};
use super::context::Stage;
use super::kind::Kind;
use super::mask::Masks;
use super::mount::Mount;
use super::options::{Propagation, Recursion};
use super::queue::Parked;
use super::root::clean;
use super::source::Source;
use super::{Entry, Layer, Rootfs};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, CloseBatch, OpenTree};

/// So few descriptors that no limit need be asked for.
const FEW: u64 = 128;

/// What was opened: consumed as it is attached.
pub(crate) struct Sources {
    pub(super) root: Option<OwnedFd>,
    pub(super) mounts: Vec<Source>,
    /// The trees of [`Source::Parked`].
    pub(super) parked: Option<Parked>,
    pub(super) devices: Vec<OwnedFd>,
    /// What covers masked files, from the time on at which there is one.
    pub(super) null: Option<OwnedFd>,
}

impl Drop for Sources {
    /// As many descriptors as mounts: closed by few calls.
    fn drop(&mut self) {
        let close_batch = CloseBatch::default();
        let mounts = self.mounts.drain(..).flat_map(Source::into_descriptors);
        self.root
            .take()
            .into_iter()
            .chain(mounts)
            .chain(self.devices.drain(..))
            .chain(self.null.take())
            .for_each(|fd| close_batch.add(fd));
    }
}

impl Rootfs {
    /// Opens what belongs to the machine. `ids` are the user namespaces that have
    /// the id maps of mounts, by index.
    ///
    /// # Errors
    /// A missing root or source, or the machine's own root laid open.
    pub(crate) fn open_sources(
        &self,
        ids: &BTreeMap<usize, Rc<OwnedFd>>,
        at: &Progress,
    ) -> Result<Sources, Cause> {
        at.enter(Step::OpenRoot);
        let root = open(
            &self.path,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let (given, machine) = (fstat(&root)?, stat("/")?);
        if (given.st_dev, given.st_ino) == (machine.st_dev, machine.st_ino)
            && self.layer == Layer::Direct
            && !self.readonly
        {
            return Err(Refusal::MachineRoot.into());
        }
        let tree = match (self.entry, self.layer) {
            (Entry::Pivot | Entry::Move, Layer::Direct) => Some(self.open_root(&root)?),
            (Entry::Chroot, _) | (_, Layer::Ephemeral) => None,
        };
        let (mounts, parked) = self.open_mounts(ids, at)?;
        let devices = self.devices.open(self.setter, at)?;
        at.enter(Step::OpenNull);
        let machines = self.masks.cover_any() && !self.devices.makes_null();
        let null = machines.then(|| Masks::open(self.setter)).transpose()?;
        Ok(Sources {
            root: tree,
            mounts,
            parked,
            devices,
            null,
        })
    }

    fn open_mounts(
        &self,
        ids: &BTreeMap<usize, Rc<OwnedFd>>,
        at: &Progress,
    ) -> Result<(Vec<Source>, Option<Parked>), Cause> {
        at.enter(Step::OpenSource);
        let mut parked = match self.fits_in_the_table()? {
            true => None,
            false => Some(Parked::new()?),
        };
        let mut mounts = Vec::with_capacity(self.mounts.len());
        for (item, mount) in self.mounts.iter().enumerate() {
            at.at(Step::OpenSource, item);
            let ids = ids.get(&item);
            if self.inside(item).is_some() {
                mounts.push(Source::InTurn(ids.cloned()));
                continue;
            }
            let source = mount.open(self.setter, self.base())?;
            at.at(Step::MapIds, item);
            mount.map_ids(&source, ids.map(Rc::as_ref))?;
            mounts.push(match (source, &mut parked) {
                (Source::Tree(tree), Some(parked)) => {
                    at.at(Step::OpenSource, item);
                    parked.add(tree)?;
                    Source::Parked
                }
                (source, _) => source,
            });
        }
        if let Some(parked) = &mut parked {
            parked.close()?;
        }
        Ok((mounts, parked))
    }

    /// Whether all that is opened leaves room in the table of descriptors for what
    /// the process has beside it.
    fn fits_in_the_table(&self) -> nix::Result<bool> {
        let needed = self.descriptors();
        // Whatever the limit is, it is more than that.
        if needed < FEW {
            return Ok(true);
        }
        let (soft, _) = sys::prlimit(Pid::from_raw(0), libc::RLIMIT_NOFILE, None)?;
        Ok(needed <= soft / 2)
    }

    /// Where the source of `mounts[item]` lies in the container's own root, if it
    /// does. What the root hides (a layer over it, the machine's own mounts) or may
    /// not be mapped once it is there is the machine's, unless an earlier mount is
    /// to be seen in it.
    fn inside(&self, item: usize) -> Option<PathBuf> {
        let mount = &self.mounts[item];
        let Kind::Bind { source, recursion } = &mount.kind else {
            return None;
        };
        let rest = source.strip_prefix(&self.path);
        let rest = rest
            .or_else(|_| source.strip_prefix(clean(&self.path)))
            .ok()?;
        if rest.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let inside = clean(rest);
        let hidden = self.layer != Layer::Direct
            || clean(&self.path) == Path::new("/")
            || mount.idmap.is_some() && self.user_namespace;
        let shows = |earlier: &Mount| {
            inside.starts_with(&earlier.target)
                || *recursion == Recursion::Tree && earlier.target.starts_with(&inside)
        };
        (!hidden || self.mounts[..item].iter().any(shows)).then_some(inside)
    }

    /// Init: what was opened for `mounts[item]`, or is opened now.
    pub(super) fn in_turn(
        &self,
        item: usize,
        source: Source,
        parked: &mut Option<Parked>,
        stage: &Stage,
    ) -> Result<Source, Cause> {
        stage.at.at(Step::OpenSource, item);
        match (source, self.mounts.get(item), parked) {
            (Source::Parked, _, Some(parked)) => Ok(Source::Tree(parked.take()?)),
            (Source::InTurn(ids), Some(mount), _) => {
                let path = self.inside(item).ok_or(Errno::EBADF)?;
                let source = mount.open_inside(&path, stage)?;
                stage.at.at(Step::MapIds, item);
                mount.map_ids(&source, ids.as_deref())?;
                Ok(source)
            }
            (source, ..) => Ok(source),
        }
    }

    /// The root and all that is mounted below it, detached.
    fn open_root(&self, root: &OwnedFd) -> nix::Result<OwnedFd> {
        let tree = sys::open_tree(root.as_fd(), c"", OpenTree::Recursive)?;
        if self.setter == Setter::Detached {
            self.isolate_root(tree.as_fd(), None)?;
        }
        Ok(tree)
    }

    /// Nothing that is mounted in the root may reach the machine, even if the
    /// root is to be shared in the end; what lies below keeps its peers then.
    pub(super) fn isolate_root(
        &self,
        tree: BorrowedFd,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let (kind, recursion) = match self.base() {
            kind @ (Propagation::Slave | Propagation::Private) => (kind, Recursion::Tree),
            Propagation::Shared | Propagation::Unbindable => (Propagation::Private, Recursion::One),
        };
        propagate(self.setter, tree, kind, recursion, proc)
    }
}
