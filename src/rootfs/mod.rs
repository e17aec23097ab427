//! The container's file system: its root, what is mounted in it, its devices,
//! and what of it must not be seen or written.
//!
//! Everything that belongs to the machine is opened first: the root and the
//! sources of mounts, as detached copies, and /dev/null. Then init makes
//! the copy of the root the only file system there is, and builds the rest from
//! inside: a mistaken path can only hit the container. [`Turn::Last`] is for
//! the containers that need the machine in sight until all is built.

mod attributes;
mod cgroup;
mod console;
mod context;
mod copyup;
mod describe;
mod detached;
mod devices;
mod facts;
mod filesystem;
mod kind;
mod layers;
mod mask;
mod mount;
mod old_mount_api;
mod options;
mod overlay;
mod pivot;
mod queue;
mod root;
mod source;
mod sources;
mod switch_root;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Spec;

use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::CloseBatch;
use crate::trusted_proc::Proc;
use attributes::{Setter, propagate};
pub(crate) use console::{Pty, open_terminal};
use context::Stage;
use devices::{Devices, Origin};
pub(crate) use facts::{Facts, HierarchyFacts, UnifiedFacts};
use kind::Kind;
use mask::Masks;
use mount::Mount;
pub(crate) use options::names as mount_options;
use options::{Attributes, Propagation, Recursion};
pub(crate) use sources::Sources;
pub(crate) use switch_root::Entered;

/// How the process comes to see the root and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// pivot_root(2), in a mount namespace of its own.
    Pivot,
    /// The root moved over the machine's, then chroot(2) (`--no-pivot`).
    Move,
    /// chroot(2) alone: the mount namespace is not the container's to change.
    Chroot,
}

/// When the machine's mounts are left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Before anything is built in the root.
    First,
    /// After it: hooks look at the finished root from the machine's side, and
    /// in a user namespace the kernel lets only those mount /proc and /sys who
    /// have one in sight (user_namespaces(7)).
    Last,
}

/// Whether the root may be changed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// What the container writes stays in `root.path`.
    Direct,
    /// What it writes goes with it (annotation `rt.rootfs.overlay`).
    Ephemeral,
}

/// The file system of one container, decided.
#[derive(Debug)]
pub(crate) struct Rootfs {
    path: PathBuf,
    readonly: bool,
    entry: Entry,
    turn: Turn,
    layer: Layer,
    setter: Setter,
    user_namespace: bool,
    propagation: Option<(Propagation, Recursion)>,
    mounts: Vec<Mount>,
    /// So many of them, the first, are the configuration's.
    configured: usize,
    devices: Devices,
    masks: Masks,
}

impl Rootfs {
    /// Decides from `root`, `mounts` and the parts of `linux` that concern
    /// files. `bundle` is where relative paths start.
    ///
    /// # Errors
    /// Anything that cannot be applied, or that would change the machine's
    /// mounts because the container has no mount namespace.
    pub(crate) fn plan(
        spec: &Spec,
        bundle: &Path,
        (entry, turn, layer): (Entry, Turn, Layer),
        facts: &Facts,
    ) -> Result<Rootfs> {
        let root = spec.root().as_ref().context("root: required")?;
        ensure!(!root.path().as_os_str().is_empty(), "root.path: required");
        let linux = spec.linux().as_ref();
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        ensure!(
            mounts.len() < usize::from(u16::MAX),
            "mounts: more than {}",
            u16::MAX
        );
        let configured = mounts.len();
        let mut mounts: Vec<Mount> = mounts
            .iter()
            .enumerate()
            .map(|(i, mount)| {
                Mount::plan(mount, bundle, facts).with_context(|| format!("mounts[{i}]"))
            })
            .collect::<Result<_>>()?;
        mounts.extend((facts.notify.iter()).map(|(source, target)| Mount::shown(source, target)));
        let own_dev = mounts.iter().any(|mount| {
            mount.target == Path::new("/dev") && matches!(mount.kind, Kind::Bind { .. })
        });
        let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
        let rootfs = Rootfs {
            path: bundle.join(root.path()),
            readonly: root.readonly().unwrap_or(false),
            entry,
            turn,
            layer,
            setter: if facts.mount_setattr {
                Setter::Detached
            } else {
                Setter::Attached
            },
            user_namespace: facts.user_namespace,
            propagation: propagation
                .filter(|value| !value.is_empty())
                .map(|value| {
                    options::propagation(value).with_context(|| {
                        format!("linux.rootfsPropagation: {value:?} is no propagation type")
                    })
                })
                .transpose()?,
            devices: Devices::plan(
                linux.and_then(|linux| linux.devices().as_ref()),
                entry != Entry::Chroot && !own_dev,
                if facts.user_namespace {
                    Origin::Bound
                } else {
                    Origin::Made
                },
            )?,
            masks: Masks::plan(
                linux.and_then(|linux| linux.masked_paths().as_ref()),
                linux.and_then(|linux| linux.readonly_paths().as_ref()),
            )?,
            mounts,
            configured,
        };
        rootfs.refuse_what_needs_a_mount_namespace(spec)?;
        Ok(rootfs)
    }

    fn refuse_what_needs_a_mount_namespace(&self, spec: &Spec) -> Result<()> {
        if self.entry == Entry::Move {
            let private = self
                .propagation
                .is_some_and(|(kind, _)| kind == Propagation::Private);
            ensure!(
                !private,
                "linux.rootfsPropagation: private is not safe with --no-pivot"
            );
        }
        if self.entry != Entry::Chroot {
            return Ok(());
        }
        let devices = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.devices().as_ref());
        for (field, used) in [
            ("root.readonly", self.readonly),
            ("mounts", self.configured > 0),
            ("NOTIFY_SOCKET", self.mounts.len() > self.configured),
            (
                "annotations: rt.rootfs.overlay",
                self.layer != Layer::Direct,
            ),
            (
                "linux.devices",
                devices.is_some_and(|devices| !devices.is_empty()),
            ),
            ("linux.rootfsPropagation", self.propagation.is_some()),
            (
                "linux.maskedPaths and linux.readonlyPaths",
                !self.masks.is_empty(),
            ),
        ] {
            ensure!(
                !used,
                "{field}: needs a new mount namespace in linux.namespaces; without one the machine's mounts would change"
            );
        }
        Ok(())
    }

    /// Where the root lies on the machine, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// About how many descriptors [`Rootfs::open_sources`] opens.
    pub(crate) fn descriptors(&self) -> u64 {
        let mapped = self.mounts.iter().filter(|mount| mount.idmap.is_some());
        (self.mounts.len() + mapped.count() + self.devices.len()) as u64
    }

    /// The propagation that copies of the machine's mounts start with: they
    /// follow the machine unless `linux.rootfsPropagation` says otherwise.
    fn base(&self) -> Propagation {
        match self.propagation {
            None => Propagation::Slave,
            // What cannot be bound could not be copied either.
            Some((Propagation::Unbindable, _)) => Propagation::Private,
            Some((kind, _)) => kind,
        }
    }

    /// Init: everything of `mounts`, in the order of the list.
    pub(crate) fn mount_all(
        &self,
        entered: &mut Entered,
        sources: &mut Sources,
        proc: &Proc,
        at: &Progress,
    ) -> Result<(), Cause> {
        let (mut late, close_batch) = (Vec::new(), CloseBatch::default());
        let stage = self.stage(entered, &close_batch, proc, at);
        let opened = std::mem::take(&mut sources.mounts);
        for (item, (mount, source)) in self.mounts.iter().zip(opened).enumerate() {
            let source = self.in_turn(item, source, &mut sources.parked, &stage)?;
            late.extend(mount.apply(item, &stage, source)?);
        }
        entered.late = late;
        Ok(())
    }

    /// Init: default devices, `linux.devices`, links.
    pub(crate) fn make_devices(
        &self,
        entered: &Entered,
        sources: &mut Sources,
        proc: &Proc,
        at: &Progress,
    ) -> Result<(), Cause> {
        let close_batch = CloseBatch::default();
        let stage = self.stage(entered, &close_batch, proc, at);
        let bound = std::mem::take(&mut sources.devices);
        let dev = self.devices.apply(&stage, bound)?;
        if let Some(dev) = dev
            && self.masks.cover_any()
            && self.devices.makes_null()
        {
            sources.null = Some(devices::copy_of_null(&stage, &dev)?);
            close_batch.add(dev);
        }
        Ok(())
    }

    /// Init, last of all that concerns files: what must not be written or seen.
    pub(crate) fn protect(
        &self,
        entered: &Entered,
        sources: &mut Sources,
        proc: &Proc,
        at: &Progress,
    ) -> Result<(), Cause> {
        let close_batch = CloseBatch::default();
        let stage = self.stage(entered, &close_batch, proc, at);
        self.masks.make_readonly(&stage)?;
        self.masks.cover(&stage, sources.null.take())?;
        at.enter(Step::ReadonlyRoot);
        let readonly = Attributes {
            set: libc::MOUNT_ATTR_RDONLY,
            clear: 0,
        };
        for mount in &entered.late {
            self.setter
                .set(mount.as_fd(), readonly, Recursion::One, Some(stage.proc))?;
        }
        if self.readonly {
            self.setter.set(
                entered.root.as_fd(),
                readonly,
                Recursion::One,
                Some(stage.proc),
            )?;
        }
        // Last: what is unbindable cannot be masked any more.
        if let Some((kind @ (Propagation::Shared | Propagation::Unbindable), recursion)) =
            self.propagation
        {
            at.enter(Step::RootPropagation);
            propagate(
                self.setter,
                entered.root.as_fd(),
                kind,
                recursion,
                Some(stage.proc),
            )?;
        }
        self.confirm(entered, at)
    }

    /// What protects /proc and /sys lies on the mounts that were made there: they
    /// are what the container finds by these names.
    fn confirm(&self, entered: &Entered, at: &Progress) -> Result<(), Cause> {
        for (item, mount) in self.mounts.iter().enumerate() {
            at.at(Step::MountInPlace, item);
            if !entered.root.is_in_place(&mount.target)? {
                return Err(Refusal::Replaced.into());
            }
        }
        Ok(())
    }

    fn stage<'a>(
        &self,
        entered: &'a Entered,
        close_batch: &'a CloseBatch,
        proc: &'a Proc,
        at: &'a Progress,
    ) -> Stage<'a> {
        Stage {
            root: &entered.root,
            at,
            setter: self.setter,
            proc: proc.as_fd(),
            base: self.base(),
            close_batch,
        }
    }
}
