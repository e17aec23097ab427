//! One entry of `mounts`: planned, made as a detached mount, attached once.
//!
//! The source of a bind mount is opened in the host's mount namespace, where its path has
//! the meaning that config.json intends. A new file system that is made of host files or
//! devices is made there too. Any other file system is made by init, in the container's
//! namespaces. Each mount has its final attributes before it is attached and visible.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::attributes::Setter;
use super::context::MountContext;
use super::copyup::{self, CopyUp};
use super::detached::{attach, open_tree};
use super::facts::{Facts, GeneratedFile};
use super::filesystem::{FileSystem, Origin};
use super::kind::Kind;
use super::old_mount_api::{self, MountArgs};
use super::options::{self, Attributes, Propagation, Recursion};
use super::proc_mounts;
use super::remount::Remount;
use super::root::{Links, Root, clean, is_directory};
use super::source::Source;
use crate::log;
use crate::step::{Cause, Refusal, Step};
use crate::sys::{self, CloseBatch, MountAttr};

/// One planned mount.
#[derive(Debug)]
pub(super) struct Mount {
    /// The mount point: absolute and normalized, inside the root.
    pub(super) target: PathBuf,
    pub(super) kind: Kind,
    pub(super) attributes: Attributes,
    pub(super) recursive: Attributes,
    pub(super) propagation: Vec<(Propagation, Recursion)>,
    /// `Some` where the mount is ID-mapped.
    pub(super) idmap: Option<Recursion>,
    /// Becomes read-only only after all mounts below it are in place.
    pub(super) readonly_late: bool,
}

/// Plans `mounts`, and warns of relative destinations, which start at the root (config.md,
/// "Mounts").
pub(super) fn plan_all(
    listed: &[oci_spec::runtime::Mount],
    bundle: &Path,
    facts: &Facts,
) -> anyhow::Result<Vec<Mount>> {
    ensure!(
        listed.len() < usize::from(u16::MAX),
        "mounts: {} entries; at most {} are allowed",
        listed.len(),
        u16::MAX - 1
    );
    let mut mounts = Vec::with_capacity(listed.len() + 1);
    for (i, mount) in listed.iter().enumerate() {
        let planned = Mount::plan(mount, bundle, facts);
        let planned = planned.map_err(|error| anyhow!("mounts[{i}].{error:#}"))?;
        ensure!(
            !planned.changes_foreign(&mounts),
            "mounts[{i}].options: remount: no earlier entry makes a file system on {}, and rt changes no other; bind changes the mount alone",
            planned.target.display()
        );
        let destination = mount.destination();
        if destination.is_relative() {
            log::defer_warning(format!(
                "mounts[{i}].destination: {destination:?} is relative; taken as {}",
                planned.target.display()
            ));
        }
        mounts.push(planned);
    }
    Ok(mounts)
}

impl Mount {
    /// Plans one entry of `mounts`. Relative sources start at `bundle`. Errors begin with the name
    /// of a field.
    pub(super) fn plan(
        mount: &oci_spec::runtime::Mount,
        bundle: &Path,
        facts: &Facts,
    ) -> anyhow::Result<Mount> {
        let options =
            options::parse(mount.options().as_deref().unwrap_or_default()).context("options")?;
        let target = clean(mount.destination());
        ensure!(
            target != Path::new("/"),
            "destination: the root itself cannot be mounted over"
        );
        let maps = mount.uid_mappings().iter().flatten().count();
        let idmap = options.idmap.or((maps > 0).then_some(Recursion::MountOnly));
        let mount_type = mount.typ().as_deref().unwrap_or("none");
        if !facts.mount_setattr {
            ensure!(
                options.recursive.is_empty(),
                "options: recursive options need mount_setattr(2) (Linux 5.12)"
            );
            ensure!(
                idmap.is_none(),
                "options: idmap: needs mount_setattr(2) (Linux 5.12)"
            );
        }
        let tmpfs = mount_type == "tmpfs" && options.bind.is_none();
        let readonly_late = options.attributes.readonly()
            && (tmpfs && !options.remount || target == Path::new("/dev"));
        let (attributes, recursive) = (options.attributes, options.recursive);
        let propagation = options.propagation.clone();
        let kind = Kind::plan(mount, mount_type, bundle, options, facts)?;
        ensure!(
            idmap.is_none() || matches!(kind, Kind::Bind { .. }),
            "options: idmap: only the ids of a bind mount can be mapped"
        );
        let mount = Mount {
            target,
            kind,
            attributes,
            recursive,
            propagation,
            idmap,
            readonly_late,
        };
        proc_mounts::refuse(&mount.target, &mount.kind).context("destination")?;
        Ok(mount)
    }

    /// The read-only bind mount of the directory that holds the notify socket.
    pub(super) fn notify_directory(source: &Path, target: &str) -> Mount {
        let kind = Kind::Bind {
            source: source.to_owned(),
            recursion: Recursion::MountOnly,
        };
        Mount::added(target, kind, MOUNT_ATTR_RDONLY)
    }

    /// The mount of a file that is written for the container.
    pub(super) fn generated(file: &GeneratedFile) -> Mount {
        Mount::added(file.path, Kind::Generated(file.clone()), 0)
    }

    /// A mount that is not in config.json.
    fn added(target: &str, kind: Kind, attributes: u64) -> Mount {
        let set = attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        Mount {
            target: PathBuf::from(target),
            kind,
            attributes: Attributes { set, clear: 0 },
            recursive: Attributes::default(),
            propagation: Vec::new(),
            idmap: None,
            readonly_late: false,
        }
    }

    /// Opens the source of a bind mount, or makes a file system of host files, detached.
    /// Before Linux 5.12 its attributes are set only after it is attached.
    pub(super) fn open(
        &self,
        setter: Setter,
        default_propagation: Propagation,
    ) -> Result<Source, Cause> {
        let (source, recursion) = match &self.kind {
            Kind::Bind { source, recursion } => (source, *recursion),
            Kind::Cgroup(cgroup) => return Ok(Source::Hierarchies(cgroup.open(setter)?)),
            Kind::Generated(_) | Kind::Remount(_) => return Ok(Source::None),
            Kind::FileSystem(filesystem) => match filesystem.origin {
                Origin::Container => return Ok(Source::None),
                Origin::Host if !filesystem.fits_fsconfig()? => {
                    let mount =
                        |args: &MountArgs| old_mount_api::mount_detached_in_child(setter, args);
                    let attributes = self.new_attributes().set;
                    let mount = filesystem.create_with_mount(attributes, None, mount)?;
                    return Ok(Source::Detached(mount));
                }
                Origin::Host => {
                    let close_batch = CloseBatch::default();
                    let mount = filesystem.create(&close_batch, self.new_attributes().set, None)?;
                    return Ok(Source::Detached(mount));
                }
            },
        };
        self.prepare_bind(
            open_tree(source, recursion.into())?,
            setter,
            default_propagation,
        )
    }

    /// Init: opens a source that lies in the container's root.
    pub(super) fn open_in_root(
        &self,
        source: &Path,
        context: &MountContext,
    ) -> Result<Source, Cause> {
        let Kind::Bind { recursion, .. } = &self.kind else {
            return Err(Errno::EBADF.into());
        };
        let found = context.root.open(source, OFlag::O_PATH, Links::Follow)?;
        let tree = sys::open_tree(found.as_fd(), c"", (*recursion).into())?;
        context.close_batch.add(found);
        self.prepare_bind(tree, context.setter, context.default_propagation)
    }

    fn prepare_bind(
        &self,
        tree: OwnedFd,
        setter: Setter,
        default_propagation: Propagation,
    ) -> Result<Source, Cause> {
        if self.target == Path::new("/proc")
            && fstatfs(&tree)?.filesystem_type() != PROC_SUPER_MAGIC
        {
            return Err(Refusal::NotProc.into());
        }
        if setter == Setter::Detached {
            self.set_bind_attributes(setter, tree.as_fd(), default_propagation, None)?;
        }
        Ok(Source::Detached(tree))
    }

    /// Maps the ids of a source according to the user namespace `ids`.
    pub(super) fn map_ids(&self, source: &Source, ids: Option<&OwnedFd>) -> nix::Result<()> {
        let Some(recursion) = self.idmap else {
            return Ok(());
        };
        match (source, ids) {
            (Source::Detached(tree), Some(ids)) => {
                let attributes = MountAttr::idmapped(ids.as_fd());
                sys::mount_setattr(tree.as_fd(), recursion.into(), &attributes)
            }
            _ => Err(Errno::EBADF),
        }
    }

    /// Init: opens or creates the mount point, makes the mount and attaches it. Returns the
    /// mount if it must be made read-only at the end.
    pub(super) fn apply(
        &self,
        item: usize,
        context: &MountContext,
        source: Source,
    ) -> Result<Option<OwnedFd>, Cause> {
        if let Kind::Remount(remount) = &self.kind {
            context.progress.at(Step::Mount, item);
            return self.change(remount, context);
        }
        context.progress.at(Step::MountPoint, item);
        let directory = match &source {
            Source::Detached(tree) => is_directory(tree)?,
            _ => true,
        };
        let covered = match &self.kind {
            Kind::FileSystem(filesystem) if !filesystem.copy_up.is_empty() => {
                copyup::open_covered(context.root, &self.target)?
            }
            _ => None,
        };
        let target = self.mount_point(context.root, directory)?;
        context.progress.at(Step::Mount, item);
        let mount = match (&self.kind, source) {
            (Kind::Bind { .. }, Source::Detached(tree)) => {
                attach(tree.as_fd(), target.as_fd(), directory)?;
                if context.setter == Setter::Attached {
                    let (kind, proc) = (context.default_propagation, Some(context.proc));
                    self.set_bind_attributes(context.setter, tree.as_fd(), kind, proc)?;
                }
                tree
            }
            (Kind::FileSystem(filesystem), source) => {
                let mount = match source {
                    Source::Detached(mount) => mount,
                    _ => self.create(filesystem, context, covered.as_ref())?,
                };
                if let Some(covered) =
                    covered.filter(|_| filesystem.copy_up.contains(&CopyUp::Content))
                {
                    context.progress.at(Step::CopyUp, item);
                    copyup::copy_content(covered, mount.as_fd())?;
                    context.progress.at(Step::Mount, item);
                }
                self.attach_new(context, mount.as_fd(), target.as_fd())?;
                mount
            }
            (Kind::Cgroup(cgroup), Source::Hierarchies(own)) => {
                cgroup.apply(context, &target, self.new_attributes(), own)?
            }
            (Kind::Generated(_), Source::Detached(file)) => {
                attach(file.as_fd(), target.as_fd(), directory)?;
                file
            }
            _ => return Err(Errno::EBADF.into()),
        };
        context.close_batch.add(target);
        if self.readonly_late {
            // The tmpfs covers a mount that was pinned there.
            context.root.unpin(&self.target);
            return Ok(Some(mount));
        }
        let mount = context.root.pin(&self.target, mount);
        mount
            .into_iter()
            .for_each(|mount| context.close_batch.add(mount));
        Ok(None)
    }

    /// Changes an earlier mount. A link of the image may not redirect it to another mount. Returns the
    /// mount if it must become read-only at the end.
    fn change(&self, remount: &Remount, context: &MountContext) -> Result<Option<OwnedFd>, Cause> {
        let mount = (context.root).open(&self.target, OFlag::O_PATH, Links::Refuse)?;
        remount.reconfigure(mount.as_fd(), context.close_batch)?;
        self.set_attributes(context.setter, mount.as_fd(), Some(context.proc))?;
        if self.readonly_late {
            return Ok(Some(mount));
        }
        context.close_batch.add(mount);
        Ok(None)
    }

    /// Whether it changes the file system of a mount that none of the `earlier` entries has made. The
    /// host or another container may have it too.
    pub(super) fn changes_foreign(&self, earlier: &[Mount]) -> bool {
        let Kind::Remount(remount) = &self.kind else {
            return false;
        };
        let covers = |earlier: &&Mount| {
            earlier.target == self.target && !matches!(earlier.kind, Kind::Remount(_))
        };
        let covered = earlier.iter().rfind(covers);
        let is_own = covered.is_some_and(|mount| matches!(mount.kind, Kind::FileSystem(_)));
        remount.changes_file_system() && !is_own
    }

    /// Makes a file system that belongs to the container's namespaces.
    fn create(
        &self,
        filesystem: &FileSystem,
        context: &MountContext,
        covered: Option<&OwnedFd>,
    ) -> Result<OwnedFd, Cause> {
        let attributes = self.new_attributes().set;
        if filesystem.fits_fsconfig()? {
            return filesystem.create(context.close_batch, attributes, covered);
        }
        let mount = |args: &MountArgs| {
            old_mount_api::mount_detached(context.root.as_fd(), args, context.close_batch)
        };
        filesystem.create_with_mount(attributes, covered, mount)
    }

    pub(super) fn mount_point(&self, root: &Root, directory: bool) -> Result<OwnedFd, Cause> {
        // Security settings are written below /proc and /sys, so a link may not redirect
        // them (CVE-2019-19921).
        let is_proc_or_sysfs = match &self.kind {
            Kind::FileSystem(FileSystem { fs_type, .. }) => {
                fs_type.as_c_str() == c"proc" || fs_type.as_c_str() == c"sysfs"
            }
            _ => false,
        };
        if is_proc_or_sysfs {
            return root
                .directory(&self.target, Links::Refuse)
                .map_err(|errno| match errno {
                    Errno::ELOOP | Errno::ENOTDIR => Refusal::NotOrdinaryDirectory.into(),
                    other => Cause::from(other),
                });
        }
        let open = |links| {
            if directory {
                root.directory(&self.target, links)
            } else {
                root.file(&self.target, links)
            }
        };
        // If no link is on the way, the mount point lies where the plan has checked it.
        let target = match open(Links::Refuse) {
            Err(Errno::ELOOP) => open(Links::Follow)?,
            // The source and the mount point differ in kind: move_mount(2) reports it.
            Err(Errno::ENOTDIR) if directory => {
                root.open(&self.target, OFlag::O_PATH, Links::Follow)?
            }
            result => return Ok(result?),
        };
        if !self.target.starts_with("/proc")
            && fstatfs(&target)?.filesystem_type() == PROC_SUPER_MAGIC
        {
            return Err(Refusal::InsideProc.into());
        }
        Ok(target)
    }

    fn attach_new(
        &self,
        context: &MountContext,
        mount: BorrowedFd,
        target: BorrowedFd,
    ) -> nix::Result<()> {
        if context.setter == Setter::Detached {
            self.set_new_propagation(context, mount)?;
        }
        attach(mount, target, true)?;
        if context.setter == Setter::Attached {
            self.set_new_propagation(context, mount)?;
        }
        Ok(())
    }

    /// The names of the directories that a mount of type `cgroup` has for the hierarchies. The
    /// empty one is the mount itself.
    pub(super) fn hierarchy_names(&self) -> Vec<PathBuf> {
        match &self.kind {
            Kind::Cgroup(cgroup) => cgroup.names(),
            _ => Vec::new(),
        }
    }

    /// Describes the mount, as config.json has it.
    pub(super) fn describe(&self) -> String {
        let target = self.target.display();
        match &self.kind {
            Kind::Bind { source, .. } => format!("bind {} on {target}", source.display()),
            Kind::FileSystem(FileSystem { fs_type, .. }) => {
                format!("mount {} on {target}", fs_type.to_string_lossy())
            }
            Kind::Cgroup(_) => format!("mount cgroup on {target}"),
            Kind::Generated(_) => format!("mount a file of its own on {target}"),
            Kind::Remount(_) => format!("remount {target}"),
        }
    }

    /// The place in the configuration of a mount that is not in `mounts`.
    pub(super) fn field_of_added(&self) -> String {
        match &self.kind {
            Kind::Generated(file) => format!("annotations: {}", file.key),
            _ => "NOTIFY_SOCKET".to_owned(),
        }
    }
}
