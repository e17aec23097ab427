//! One entry of `mounts`: planned from its words, built detached, attached once.
//!
//! A bind mount's source is opened where its path means what the configuration
//! meant; the detached copy travels as a descriptor. So does a new file system
//! that is made of the machine's files or devices. Any other is made by init, in
//! the namespaces that it shows. Each gets its final attributes before anybody
//! can see it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::attributes::{Setter, propagate};
use super::context::Stage;
use super::copyup::{self, Taken};
use super::detached::{attach, open_tree};
use super::facts::Facts;
use super::filesystem::{FileSystem, Origin};
use super::kind::Kind;
use super::old_mount_api::{self, Told};
use super::options::{self, Attributes, Propagation, Recursion};
use super::root::{Links, Root, clean, is_directory};
use super::source::Source;
use crate::step::{Cause, Refusal, Step};
use crate::sys::{self, CloseBatch, MountAttr};

/// What may be mounted below /proc: single files that show a container its
/// limits (lxcfs) or a clock, and nothing that security rests on.
const BELOW_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// One mount, decided.
#[derive(Debug)]
pub(super) struct Mount {
    /// Inside the root, absolute and clean.
    pub(super) target: PathBuf,
    pub(super) kind: Kind,
    attributes: Attributes,
    recursive: Attributes,
    propagation: Vec<(Propagation, Recursion)>,
    /// Some where ids are mapped.
    pub(super) idmap: Option<Recursion>,
    /// Read-only only after everything below it is in place.
    pub(super) readonly_late: bool,
}

impl Mount {
    /// Decides one entry of `mounts`. `bundle` is where relative sources start.
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
        let idmap = options.idmap.or((maps > 0).then_some(Recursion::One));
        let kind_name = mount.typ().as_deref().unwrap_or("none");
        if !facts.mount_setattr {
            ensure!(
                options.recursive.is_empty(),
                "options: the recursive ones need mount_setattr(2) (Linux 5.12)"
            );
            ensure!(
                idmap.is_none(),
                "options: idmap: needs mount_setattr(2) (Linux 5.12)"
            );
        }
        let tmpfs = kind_name == "tmpfs" && options.bind.is_none();
        let readonly_late = options.attributes.readonly() && (tmpfs || target == Path::new("/dev"));
        let (attributes, recursive) = (options.attributes, options.recursive);
        let propagation = options.propagation.clone();
        let kind = Kind::plan(mount, kind_name, bundle, options, facts)?;
        ensure!(
            idmap.is_none() || matches!(kind, Kind::Bind { .. }),
            "options: idmap: the ids of a bind mount can be mapped, and of no other"
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
        mount.refuse_over_proc()?;
        Ok(mount)
    }

    /// A directory of the runtime's, to be seen in the container and no more.
    pub(super) fn shown(source: &Path, target: &str) -> Mount {
        let set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        Mount {
            target: PathBuf::from(target),
            kind: Kind::Bind {
                source: source.to_owned(),
                recursion: Recursion::One,
            },
            attributes: Attributes { set, clear: 0 },
            recursive: Attributes::default(),
            propagation: Vec::new(),
            idmap: None,
            readonly_late: false,
        }
    }

    /// A mount on /proc that is no procfs, or below it, would let an image
    /// choose what security settings are written to (CVE-2019-16884).
    fn refuse_over_proc(&self) -> anyhow::Result<()> {
        let shown = self.target.display();
        if self.target == Path::new("/proc") {
            let proc = match &self.kind {
                Kind::FileSystem(FileSystem { name, .. }) => name.as_c_str() == c"proc",
                Kind::Bind { .. } => true,
                Kind::Cgroup(_) => false,
            };
            ensure!(
                proc,
                "{:?} cannot be mounted because it is not of type proc",
                shown.to_string()
            );
        } else if self.target.starts_with("/proc") {
            ensure!(
                BELOW_PROC
                    .iter()
                    .any(|allowed| self.target == Path::new(allowed)),
                "{:?} cannot be mounted because it is inside /proc",
                shown.to_string()
            );
        }
        Ok(())
    }

    /// The detached copy of a bind mount's source, or a file system of the
    /// machine's files, complete but for what an old kernel can only do once it
    /// is attached.
    pub(super) fn open(&self, setter: Setter, base: Propagation) -> Result<Source, Cause> {
        let (source, recursion) = match &self.kind {
            Kind::Bind { source, recursion } => (source, *recursion),
            Kind::Cgroup(cgroup) => return Ok(Source::Hierarchies(cgroup.open(setter)?)),
            Kind::FileSystem(filesystem) => match filesystem.origin {
                Origin::Container => return Ok(Source::None),
                Origin::Machine if !filesystem.fits()? => {
                    let by = |told: &Told| old_mount_api::apart(setter, told);
                    let attributes = self.new_attributes().set;
                    let mount = filesystem.make_by_mount(attributes, None, by)?;
                    return Ok(Source::Tree(mount));
                }
                Origin::Machine => {
                    let close_batch = CloseBatch::default();
                    let mount = filesystem.make(&close_batch, self.new_attributes().set, None)?;
                    return Ok(Source::Tree(mount));
                }
            },
        };
        self.copied(open_tree(source, recursion.into())?, setter, base)
    }

    /// Init: the same for a source that lies in the root.
    pub(super) fn open_inside(&self, source: &Path, stage: &Stage) -> Result<Source, Cause> {
        let Kind::Bind { recursion, .. } = &self.kind else {
            return Err(Errno::EBADF.into());
        };
        let found = stage.root.open(source, OFlag::O_PATH, Links::Follow)?;
        let tree = sys::open_tree(found.as_fd(), c"", (*recursion).into())?;
        stage.close_batch.add(found);
        self.copied(tree, stage.setter, stage.base)
    }

    fn copied(&self, tree: OwnedFd, setter: Setter, base: Propagation) -> Result<Source, Cause> {
        if self.target == Path::new("/proc")
            && fstatfs(&tree)?.filesystem_type() != PROC_SUPER_MAGIC
        {
            return Err(Refusal::NotProc.into());
        }
        if setter == Setter::Detached {
            self.finish(setter, tree.as_fd(), base, None)?;
        }
        Ok(Source::Tree(tree))
    }

    /// Maps the ids of what was opened as the user namespace `ids` has them.
    pub(super) fn map_ids(&self, source: &Source, ids: Option<&OwnedFd>) -> nix::Result<()> {
        let Some(recursion) = self.idmap else {
            return Ok(());
        };
        match (source, ids) {
            (Source::Tree(tree), Some(ids)) => {
                let attributes = MountAttr::mapping_ids(ids.as_fd());
                sys::mount_setattr(tree.as_fd(), recursion.into(), &attributes)
            }
            _ => Err(Errno::EBADF),
        }
    }

    /// Init: finds or makes the mount point, builds the mount, attaches it.
    /// Returns it when it is to become read-only late.
    pub(super) fn apply(
        &self,
        item: usize,
        stage: &Stage,
        source: Source,
    ) -> Result<Option<OwnedFd>, Cause> {
        stage.at.at(Step::MountPoint, item);
        let directory = match &source {
            Source::Tree(tree) => is_directory(tree)?,
            _ => true,
        };
        let below = match &self.kind {
            Kind::FileSystem(filesystem) if !filesystem.taken.is_empty() => {
                copyup::below(stage.root, &self.target)?
            }
            Kind::FileSystem(_) | Kind::Bind { .. } | Kind::Cgroup(_) => None,
        };
        let target = self.mount_point(stage.root, directory)?;
        stage.at.at(Step::Mount, item);
        let mount = match (&self.kind, source) {
            (Kind::Bind { .. }, Source::Tree(tree)) => {
                attach(tree.as_fd(), target.as_fd(), directory)?;
                if stage.setter == Setter::Attached {
                    self.finish(stage.setter, tree.as_fd(), stage.base, Some(stage.proc))?;
                }
                tree
            }
            (Kind::FileSystem(filesystem), source) => {
                let mount = match source {
                    Source::Tree(made) => made,
                    _ => self.make(filesystem, stage, below.as_ref())?,
                };
                if let Some(below) = below.filter(|_| filesystem.taken.contains(&Taken::Content)) {
                    stage.at.at(Step::CopyUp, item);
                    copyup::copy(below, mount.as_fd())?;
                    stage.at.at(Step::Mount, item);
                }
                self.attach_new(stage, mount.as_fd(), target.as_fd())?;
                mount
            }
            (Kind::Cgroup(cgroup), Source::Hierarchies(own)) => {
                cgroup.apply(stage, &target, self.new_attributes(), own)?
            }
            (Kind::Bind { .. } | Kind::Cgroup(_), _) => return Err(Errno::EBADF.into()),
        };
        stage.close_batch.add(target);
        if self.readonly_late {
            stage.root.forget(&self.target); // A tmpfs covers what was there.
            return Ok(Some(mount));
        }
        let mount = stage.root.keep(&self.target, mount);
        mount
            .into_iter()
            .for_each(|mount| stage.close_batch.add(mount));
        Ok(None)
    }

    /// A file system of the container's own namespaces.
    fn make(
        &self,
        filesystem: &FileSystem,
        stage: &Stage,
        below: Option<&OwnedFd>,
    ) -> Result<OwnedFd, Cause> {
        let attributes = self.new_attributes().set;
        if filesystem.fits()? {
            return filesystem.make(stage.close_batch, attributes, below);
        }
        let by =
            |told: &Told| old_mount_api::on_top_of(stage.root.as_fd(), told, stage.close_batch);
        filesystem.make_by_mount(attributes, below, by)
    }

    fn mount_point(&self, root: &Root, directory: bool) -> Result<OwnedFd, Cause> {
        // /proc and /sys decide where security settings go, so no link may move them (CVE-2019-19921).
        let fixed = match &self.kind {
            Kind::FileSystem(FileSystem { name, .. }) => {
                name.as_c_str() == c"proc" || name.as_c_str() == c"sysfs"
            }
            Kind::Bind { .. } | Kind::Cgroup(_) => false,
        };
        if fixed {
            return root
                .directory(&self.target, Links::Refuse)
                .map_err(|errno| match errno {
                    Errno::ELOOP | Errno::ENOTDIR => Refusal::NotOrdinaryDirectory.into(),
                    other => Cause::from(other),
                });
        }
        let open = |links| match directory {
            true => root.directory(&self.target, links),
            false => root.file(&self.target, links),
        };
        // Without a link on the way the target lies where the plan has checked it.
        let target = match open(Links::Refuse) {
            Err(Errno::ELOOP) => open(Links::Follow)?,
            // A file where a directory is to be mounted, or the reverse: the kernel says which.
            Err(Errno::ENOTDIR) if directory => {
                root.open(&self.target, OFlag::O_PATH, Links::Follow)?
            }
            done => return Ok(done?),
        };
        if !self.target.starts_with("/proc")
            && fstatfs(&target)?.filesystem_type() == PROC_SUPER_MAGIC
        {
            return Err(Refusal::InsideProc.into());
        }
        Ok(target)
    }

    /// The attributes that a new mount is born with.
    fn new_attributes(&self) -> Attributes {
        let attributes = self.early_attributes();
        Attributes {
            set: attributes.set | self.recursive.set,
            clear: attributes.clear | self.recursive.clear,
        }
    }

    fn early_attributes(&self) -> Attributes {
        if self.readonly_late {
            self.attributes.writable()
        } else {
            self.attributes
        }
    }

    /// Attributes and propagation of a bind mount. Without a word about it, a
    /// copy follows the machine's mounts as `linux.rootfsPropagation` says.
    fn finish(
        &self,
        setter: Setter,
        tree: BorrowedFd,
        base: Propagation,
        proc: Option<BorrowedFd>,
    ) -> nix::Result<()> {
        let peers = self
            .propagation
            .iter()
            .any(|(kind, _)| *kind == Propagation::Shared);
        let settled = self
            .propagation
            .iter()
            .any(|(kind, recursion)| *recursion == Recursion::Tree && *kind != Propagation::Shared);
        let keeps_peers = peers && base == Propagation::Shared;
        if !settled && !keeps_peers {
            propagate(setter, tree, base, Recursion::Tree, proc)?;
        }
        for (kind, recursion) in &self.propagation {
            propagate(setter, tree, *kind, *recursion, proc)?;
        }
        setter.set(tree, self.early_attributes(), Recursion::One, proc)?;
        setter.set(tree, self.recursive, Recursion::Tree, proc)
    }

    fn attach_new(&self, stage: &Stage, mount: BorrowedFd, target: BorrowedFd) -> nix::Result<()> {
        if stage.setter == Setter::Detached {
            self.finish_new(stage, mount)?;
        }
        attach(mount, target, true)?;
        if stage.setter == Setter::Attached {
            self.finish_new(stage, mount)?;
        }
        Ok(())
    }

    /// Propagation of a new mount, which is private unless somebody asks.
    fn finish_new(&self, stage: &Stage, mount: BorrowedFd) -> nix::Result<()> {
        for (kind, recursion) in &self.propagation {
            if *kind != Propagation::Private {
                propagate(stage.setter, mount, *kind, *recursion, Some(stage.proc))?;
            }
        }
        Ok(())
    }

    /// What [`Mount::open`] opens.
    pub(super) fn describe_source(&self) -> String {
        match &self.kind {
            Kind::Bind { source, .. } => format!("bind source {}", source.display()),
            Kind::FileSystem(_) => self.describe(),
            Kind::Cgroup(_) => "the container's cgroups".into(),
        }
    }

    /// The deed, in the words of the configuration.
    pub(super) fn describe(&self) -> String {
        let target = self.target.display();
        match &self.kind {
            Kind::Bind { source, .. } => format!("bind {} on {target}", source.display()),
            Kind::FileSystem(FileSystem { name, .. }) => {
                format!("mount {} on {target}", name.to_string_lossy())
            }
            Kind::Cgroup(_) => format!("mount cgroup on {target}"),
        }
    }
}
