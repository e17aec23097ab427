//! The container's root file system: its mounts, its devices, masked and read-only paths.
//!
//! Everything of the host is opened first: the root and the sources of mounts, as detached
//! mounts, and /dev/null. Then init switches to the new root, and creates the rest from
//! inside it: a wrong path can only affect the container. With [`SwitchOrder::AfterMounts`] it switches
//! only after that, for containers that need the host's mounts until then.

mod attributes;
mod cgroup;
mod check;
mod console;
mod context;
mod copyup;
mod decisions;
mod describe;
mod detached;
mod devices;
mod directories;
mod facts;
mod filesystem;
mod generated;
mod hint;
mod kind;
mod layers;
mod mask;
mod mount;
mod mount_attributes;
mod node;
mod old_mount_api;
mod options;
mod overlay;
mod parameter;
mod pivot;
mod proc_mounts;
mod put_old;
mod queue;
mod remount;
mod restored;
mod root;
mod source;
mod sources;
mod stage;
mod switch_root;
mod view;
mod volumes;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Spec;

use crate::annotations::{Annotations, key};
use crate::selinux::Label;
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::CloseBatch;
use crate::trusted_proc::Proc;
use attributes::{READONLY, Setter, propagate};
pub(crate) use console::{Pty, open_terminal};
use context::MountContext;
use devices::{DevDirectory, Devices};
pub(crate) use directories::CreatedDirectories;
pub(crate) use facts::{Content, Facts, GeneratedFile, V1HierarchyPaths, V2HierarchyPaths};
pub(crate) use layers::supports_lowerdir_append;
use mask::Masks;
use mount::Mount;
use node::NodeSource;
pub(crate) use options::names as mount_options;
use options::{Propagation, Recursion};
use overlay::Layers;
pub(crate) use put_old::check_put_old;
pub(crate) use sources::Sources;
pub(crate) use stage::{ForCriu, Staged, StagedMount};
pub(crate) use switch_root::NewRoot;
pub(crate) use view::{merged_layers, root_of_overlay};

/// How init changes to the new root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// pivot_root(2), in a mount namespace of the container's own.
    Pivot,
    /// The new root is moved over the old one, then chroot(2) (`--no-pivot`).
    Move,
    /// chroot(2) alone, because the mount namespace is not the container's own.
    Chroot,
}

/// When init leaves the host's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwitchOrder {
    /// Before it mounts anything in the new root.
    BeforeMounts,
    /// After everything is mounted, for two cases. Some hooks must see the finished root
    /// from the host's side. And in a user namespace the kernel permits a new mount of
    /// /proc or /sys only while a full one is visible (user_namespaces(7)).
    AfterMounts,
}

/// The planned root file system of one container.
#[derive(Debug)]
pub(crate) struct Rootfs {
    path: PathBuf,
    readonly: bool,
    entry: Entry,
    switch_order: SwitchOrder,
    /// `None` where the container writes to `path` itself.
    layers: Option<Layers>,
    setter: Setter,
    /// `linux.mountLabel`.
    label: Option<Label>,
    user_namespace: bool,
    /// The ids of the host that root of the container's user namespace has, if it has one.
    owner: Option<(u32, u32)>,
    /// Missing sources of bind mounts are made (`rt.volumes.create`).
    create_volumes: bool,
    propagation: Option<(Propagation, Recursion)>,
    mounts: Vec<Mount>,
    /// The number of entries of `mounts` that come from config.json; they are the first.
    configured_mounts: usize,
    devices: Devices,
    masks: Masks,
}

impl Rootfs {
    /// Plans from `root`, `mounts` and the fields of `linux` that concern files. Relative
    /// paths start at `bundle`.
    ///
    /// # Errors
    /// A setting that cannot be applied, or that would change the host's mounts because the
    /// container has no mount namespace of its own.
    pub(crate) fn plan(
        spec: &Spec,
        bundle: &Path,
        (entry, switch_order, annotations): (Entry, SwitchOrder, &Annotations),
        facts: &Facts,
    ) -> Result<Rootfs> {
        let root = spec.root().as_ref().context("root: required")?;
        ensure!(!root.path().as_os_str().is_empty(), "root.path: required");
        let linux = spec.linux().as_ref();
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        let mut mounts = mount::plan_all(mounts, bundle, facts)?;
        let configured_mounts = mounts.len();
        generated::plan(&facts.files, &mut mounts);
        mounts.extend(
            (facts.notify.iter()).map(|(source, target)| Mount::notify_directory(source, target)),
        );
        let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
        let propagation = propagation.filter(|value| !value.is_empty());
        let (path, readonly) = (bundle.join(root.path()), root.readonly().unwrap_or(false));
        let rootfs = Rootfs {
            layers: Layers::plan(annotations, (&path, readonly), bundle)?,
            path,
            readonly,
            entry,
            switch_order,
            setter: if facts.mount_setattr {
                Setter::Detached
            } else {
                Setter::Attached
            },
            label: facts.mount_label.clone(),
            user_namespace: facts.user_namespace,
            owner: facts.owner,
            create_volumes: annotations.flag(key::CREATE_VOLUMES)?.unwrap_or(false),
            propagation: propagation.map(root_propagation).transpose()?,
            devices: Devices::plan(
                linux.and_then(|linux| linux.devices().as_ref()),
                DevDirectory::plan(entry != Entry::Chroot, &mounts),
                if facts.user_namespace {
                    NodeSource::Bind
                } else {
                    NodeSource::Mknod
                },
            )?,
            masks: Masks::plan(
                linux.and_then(|linux| linux.masked_paths().as_ref()),
                linux.and_then(|linux| linux.readonly_paths().as_ref()),
            )?,
            mounts,
            configured_mounts,
        };
        rootfs.refuse_without_mount_namespace(spec, annotations)?;
        Ok(rootfs)
    }

    fn refuse_without_mount_namespace(&self, spec: &Spec, annotations: &Annotations) -> Result<()> {
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
        let added = self.mounts.get(self.configured_mounts);
        let added_field = added.map(Mount::field_of_added).unwrap_or_default();
        let devices = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.devices().as_ref());
        let layers = annotations.first_of(&[key::OVERLAY, key::LOWER]);
        let layers = layers.map_or_else(String::new, |key| format!("annotations: {key}"));
        for (field, used) in [
            ("root.readonly", self.readonly),
            ("mounts", self.configured_mounts > 0),
            (
                added_field.as_str(),
                self.mounts.len() > self.configured_mounts,
            ),
            (&layers, !layers.is_empty()),
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
                "{field}: needs a new mount namespace in linux.namespaces; without one the host's mounts would change"
            );
        }
        Ok(())
    }

    /// The absolute path of the root on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The layers, unless the container writes to [`Rootfs::path`] itself.
    pub(crate) fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    /// Runtime: makes the directories of the host that the container needs, and records them in
    /// `directories`, also if it fails.
    ///
    /// # Errors
    /// When one cannot be made, or layers of the root cannot be merged.
    pub(crate) fn wire(&self, directories: &mut CreatedDirectories) -> Result<()> {
        if let Some(layers) = &self.layers {
            layers.wire(self.owner, directories)?;
        }
        self.make_volumes(directories)
    }

    /// The directories that [`Rootfs::wire`] will make, and that stay if they are not empty, deepest first.
    pub(crate) fn missing_directories(&self) -> Vec<PathBuf> {
        let layer = self.layers.as_ref().and_then(Layers::directory);
        let paths = self.volumes().map(|(_, source)| source).chain(layer);
        paths.flat_map(directories::missing).collect()
    }

    /// The approximate number of descriptors that [`Rootfs::open_sources`] opens.
    pub(crate) fn descriptors(&self) -> u64 {
        let mapped = self
            .mounts
            .iter()
            .filter(|mount| mount.idmap.is_some())
            .count();
        let layers = self.layers().map_or(0, |layers| layers.lower().len());
        (self.mounts.len() + mapped + self.devices.len() + layers) as u64
    }

    /// The propagation type that clones of host mounts get first: slave, unless
    /// `linux.rootfsPropagation` sets another.
    fn default_propagation(&self) -> Propagation {
        match self.propagation {
            None => Propagation::Slave,
            // An unbindable mount cannot be cloned (mount_namespaces(7)).
            Some((Propagation::Unbindable, _)) => Propagation::Private,
            Some((kind, _)) => kind,
        }
    }

    /// Init: performs `mounts`, in the order of the list.
    pub(crate) fn mount_all(
        &self,
        entered: &mut NewRoot,
        sources: &mut Sources,
        (proc, close_batch): (&Proc, &CloseBatch),
        progress: &Progress,
    ) -> Result<(), Cause> {
        let mut readonly_late = Vec::new();
        let context = self.context(entered, close_batch, proc, progress);
        self.for_each_mount(sources, &context, |item, mount, source| {
            readonly_late.extend(mount.apply(item, &context, source)?);
            Ok(())
        })?;
        entered.readonly_late = readonly_late;
        Ok(())
    }

    /// Init: creates the default devices, `linux.devices` and links.
    pub(crate) fn create_devices(
        &self,
        entered: &NewRoot,
        sources: &mut Sources,
        (proc, close_batch): (&Proc, &CloseBatch),
        progress: &Progress,
    ) -> Result<(), Cause> {
        let context = self.context(entered, close_batch, proc, progress);
        let device_mounts = std::mem::take(&mut sources.devices);
        let dev = self.devices.apply(&context, device_mounts)?;
        if let Some(dev) = dev {
            if self.masks.has_masked_paths() && self.devices.creates_null() {
                sources.null = Some(devices::clone_null_device(&context, &dev)?);
            }
            close_batch.add(dev);
        }
        Ok(())
    }

    /// Init, after every other change to files: applies masked and read-only paths,
    /// `root.readonly` and `linux.rootfsPropagation`.
    pub(crate) fn finalize(
        &self,
        entered: NewRoot,
        mut sources: Sources,
        (proc, close_batch): (&Proc, &CloseBatch),
        progress: &Progress,
    ) -> Result<(), Cause> {
        let context = self.context(&entered, close_batch, proc, progress);
        self.masks.make_paths_readonly(&context)?;
        self.masks.mask_paths(&context, sources.null.take())?;
        progress.enter(Step::ReadonlyRoot);
        for mount in &entered.readonly_late {
            self.setter.set(
                mount.as_fd(),
                READONLY,
                Recursion::MountOnly,
                Some(context.proc),
            )?;
        }
        if self.readonly {
            self.setter.set(
                entered.root.as_fd(),
                READONLY,
                Recursion::MountOnly,
                Some(context.proc),
            )?;
        }
        // Last, because an unbindable mount cannot be cloned for a mask.
        if let Some((kind @ (Propagation::Shared | Propagation::Unbindable), recursion)) =
            self.propagation
        {
            progress.enter(Step::RootPropagation);
            propagate(
                self.setter,
                entered.root.as_fd(),
                kind,
                recursion,
                Some(context.proc),
            )?;
        }
        self.check_pinned_mounts(&entered, progress)?;
        entered.close_later(close_batch);
        sources.close_later(close_batch);
        Ok(())
    }

    /// Checks that /proc and /sys still lead to the mounts that the masks were applied to.
    fn check_pinned_mounts(&self, entered: &NewRoot, progress: &Progress) -> Result<(), Cause> {
        for (item, mount) in self.mounts.iter().enumerate() {
            progress.at(Step::MountInPlace, item);
            if !entered.root.is_pinned_in_place(&mount.target)? {
                return Err(Refusal::MountReplaced.into());
            }
        }
        Ok(())
    }

    fn context<'a>(
        &'a self,
        entered: &'a NewRoot,
        close_batch: &'a CloseBatch,
        proc: &'a Proc,
        progress: &'a Progress,
    ) -> MountContext<'a> {
        MountContext {
            root: &entered.root,
            progress,
            setter: self.setter,
            proc: proc.as_fd(),
            default_propagation: self.default_propagation(),
            label: self.label.as_ref(),
            close_batch,
        }
    }
}

/// Removes what [`Rootfs::wire`] has made for a container that was not finished: `directories`, as far
/// as they are empty, and the upper layer.
///
/// # Errors
/// When the upper layer cannot be removed.
pub(crate) fn remove_unfinished(upper: Option<&Path>, directories: &[PathBuf]) -> Result<()> {
    upper.map_or(Ok(()), overlay::remove_unfinished)?;
    directories::remove_empty(directories);
    Ok(())
}

fn root_propagation(value: &str) -> Result<(Propagation, Recursion)> {
    options::propagation(value).context("linux.rootfsPropagation")
}
