//! /dev: the default devices and links of the specification, and `linux.devices`.
//!
//! Nodes and links are created relative to a descriptor of their directory, never by path
//! (CVE-2026-41579). In a user namespace mknod(2) is not permitted, so the host's nodes are
//! bind-mounted there. These are read-only, because the user namespace may map their owner.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::attributes::Setter;
use super::context::MountContext;
use super::detached::open_tree;
use super::root::{Links, Root, clean, open_or_create_file};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, OpenTree};

/// Default devices (config-linux.md, "Default Devices"): name, major, minor. All are
/// character devices of mode 0666.
pub(super) const DEFAULT_DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The index of the null device in [`DEFAULT_DEVICES`].
const NULL: usize = 0;

/// The greatest numbers of a device. mknod(2) would drop the rest of a greater one (`MINORBITS` in
/// linux/kdev_t.h).
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

/// The links of runtime-linux.md, "Dev symbolic links", and `core`, which other runtimes
/// create too.
pub(super) const DEV_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// The devices to create below /dev, and where `linux.devices` has them.
#[derive(Debug)]
pub(super) struct Devices {
    /// False when config.json bind-mounts its own /dev, or the container has no mount
    /// namespace of its own.
    pub(super) defaults: bool,
    pub(super) node_source: NodeSource,
    /// Indices in [`DEFAULT_DEVICES`] that `linux.devices` does not override.
    pub(super) default_nodes: Vec<usize>,
    pub(super) nodes: Vec<Node>,
}

/// How the container gets device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeSource {
    /// Created by mknod(2).
    Mknod,
    /// Bind-mounted from the host.
    Bind,
}

#[derive(Debug)]
pub(super) struct Node {
    /// The index in `linux.devices`.
    pub(super) index: usize,
    /// Absolute and normalized, inside the root.
    pub(super) path: PathBuf,
    pub(super) kind: SFlag,
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Devices {
    pub(super) fn plan(
        devices: Option<&Vec<LinuxDevice>>,
        defaults: bool,
        node_source: NodeSource,
    ) -> anyhow::Result<Devices> {
        let mut nodes = Vec::new();
        for (index, device) in devices.into_iter().flatten().enumerate() {
            let node = Node::plan(index, device)
                .map_err(|error| anyhow!("linux.devices[{index}].{error}"))?;
            // /dev/ptmx is always a link to the container's own devpts.
            if node.path != Path::new("/dev/ptmx") {
                nodes.push(node);
            }
        }
        let default_nodes = (0..DEFAULT_DEVICES.len())
            .filter(|i| {
                let path = Path::new("/dev").join(DEFAULT_DEVICES[*i].0);
                nodes.iter().all(|node| node.path != path)
            })
            .collect();
        Ok(Devices {
            defaults,
            node_source,
            default_nodes,
            nodes,
        })
    }

    /// The number of nodes to create.
    pub(super) fn len(&self) -> usize {
        self.default_nodes.len() + self.nodes.len()
    }

    /// Whether `rt` creates /dev/null by mknod(2).
    pub(super) fn creates_null(&self) -> bool {
        self.defaults && self.node_source == NodeSource::Mknod && self.default_nodes.contains(&NULL)
    }

    /// Opens the host's nodes as detached mounts, in the order in which [`Devices::apply`]
    /// uses them. The list is empty where mknod(2) creates them.
    pub(super) fn open(&self, setter: Setter, progress: &Progress) -> Result<Vec<OwnedFd>, Cause> {
        if self.node_source == NodeSource::Mknod || !self.defaults {
            return Ok(Vec::new());
        }
        let defaults = self.default_nodes.iter().map(|item| {
            progress.at(Step::OpenDefaultDevice, *item);
            let (name, major, minor) = DEFAULT_DEVICES[*item];
            let path = Path::new("/dev").join(name);
            open_node(&path, SFlag::S_IFCHR, makedev(major, minor), setter)
        });
        let nodes = self.nodes.iter().filter(|node| self.is_bind_mounted(node));
        let nodes = nodes.map(|node| {
            progress.at(Step::OpenDevice, node.index);
            open_node(&node.path, node.kind, node.device, setter)
        });
        defaults.chain(nodes).collect()
    }

    /// A FIFO needs no privilege (mknod(2)).
    pub(super) fn is_bind_mounted(&self, node: &Node) -> bool {
        self.node_source == NodeSource::Bind && node.kind != SFlag::S_IFIFO
    }

    /// Init: creates the nodes, then the links. The umask must be 0. Returns /dev, or `None`
    /// if it creates nothing.
    pub(super) fn apply(
        &self,
        context: &MountContext,
        device_mounts: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Cause> {
        if !self.defaults {
            return Ok(None);
        }
        let (root, progress) = (context.root, context.progress);
        let mut device_mounts = device_mounts.into_iter();
        progress.enter(Step::DeviceDirectory);
        let dev = root.directory(Path::new("/dev"), Links::Follow)?;
        for item in &self.default_nodes {
            progress.at(Step::DefaultDevice, *item);
            let (name, major, minor) = DEFAULT_DEVICES[*item];
            if let Some(node) = device_mounts.next() {
                bind_node(context, &Path::new("/dev").join(name), node)?;
                continue;
            }
            create_node(
                &dev,
                Path::new(name),
                SFlag::S_IFCHR,
                0o666,
                makedev(major, minor),
            )?;
        }
        for node in &self.nodes {
            progress.at(Step::Device, node.index);
            if self.is_bind_mounted(node) {
                let mount = device_mounts.next().ok_or(Errno::EBADF)?;
                bind_node(context, &node.path, mount)?;
            } else {
                node.apply(root)?;
            }
        }
        for (item, (name, target)) in DEV_LINKS.into_iter().enumerate() {
            progress.at(Step::DeviceLink, item);
            let target_exists = || {
                root.open(Path::new(target), OFlag::O_PATH, Links::Follow)
                    .is_ok()
            };
            if name != "core" || target_exists() {
                create_link(&dev, name, target)?;
            }
        }
        progress.at(Step::DeviceLink, DEV_LINKS.len());
        replace_link(&dev, "ptmx", "pts/ptmx")?;
        Ok(Some(dev))
    }

    /// The path that a step creates.
    pub(super) fn path(&self, step: Step, item: usize) -> Option<PathBuf> {
        let below_dev = |name: &str| Path::new("/dev").join(name);
        match step {
            Step::DeviceDirectory => Some("/dev".into()),
            Step::DefaultDevice => Some(below_dev(DEFAULT_DEVICES.get(item)?.0)),
            Step::Device => {
                let node = self.nodes.iter().find(|node| node.index == item)?;
                Some(node.path.clone())
            }
            Step::DeviceLink => Some(below_dev(DEV_LINKS.get(item).map_or("ptmx", |link| link.0))),
            _ => None,
        }
    }

    pub(super) fn describe(&self, step: Step, item: usize) -> Option<(String, String)> {
        match step {
            Step::OpenDefaultDevice => Some((
                "default devices".into(),
                format!("open the host's /dev/{}", DEFAULT_DEVICES.get(item)?.0),
            )),
            Step::OpenDevice => {
                let node = self.nodes.iter().find(|node| node.index == item)?;
                Some((
                    format!("linux.devices[{item}]"),
                    format!("open the host's {}", node.path.display()),
                ))
            }
            Step::DeviceDirectory => Some(("root".into(), "make /dev".into())),
            Step::DefaultDevice => Some((
                "default devices".into(),
                format!("make /dev/{}", DEFAULT_DEVICES.get(item)?.0),
            )),
            Step::Device => {
                let node = self.nodes.iter().find(|node| node.index == item)?;
                Some((
                    format!("linux.devices[{item}]"),
                    format!("make {}", node.path.display()),
                ))
            }
            Step::DeviceLink => {
                let name = DEV_LINKS.get(item).map_or("ptmx", |link| link.0);
                Some(("default devices".into(), format!("link /dev/{name}")))
            }
            _ => None,
        }
    }
}

/// Opens a node of the host as a detached mount, if it is the expected device.
fn open_node(path: &Path, kind: SFlag, device: u64, setter: Setter) -> Result<OwnedFd, Cause> {
    let tree = open_tree(path, OpenTree::Mount)?;
    check_device(&tree, kind, device)?;
    if setter == Setter::Detached {
        setter.restrict_node(tree.as_fd(), None)?;
    }
    Ok(tree)
}

/// Init: clones the null device that was just created in `dev`, to mask files with. The
/// host does not see what the container does to this inode.
pub(super) fn clone_null_device(context: &MountContext, dev: &OwnedFd) -> Result<OwnedFd, Cause> {
    let (name, major, minor) = DEFAULT_DEVICES[NULL];
    context.progress.at(Step::DefaultDevice, NULL);
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let node = openat(dev, name, flags, Mode::empty())?;
    check_device(&node, SFlag::S_IFCHR, makedev(major, minor))?;
    let copy = sys::open_tree(node.as_fd(), c"", OpenTree::Mount)?;
    if context.setter == Setter::Detached {
        context.setter.restrict_node(copy.as_fd(), None)?;
    }
    context.close_batch.add(node);
    Ok(copy)
}

/// Refuses any other file than the expected device.
fn check_device(file: &OwnedFd, kind: SFlag, device: u64) -> Result<(), Cause> {
    let found = fstat(file)?;
    if found.st_mode & libc::S_IFMT != kind.bits() || found.st_rdev != device {
        return Err(Refusal::PathOccupied.into());
    }
    Ok(())
}

/// Bind-mounts a node. The mount point is created, or is a file or node that exists.
fn bind_node(context: &MountContext, path: &Path, node: OwnedFd) -> Result<(), Cause> {
    let (directory, name) = context.root.parent(path)?;
    let mount_point = open_or_create_file(&directory, name)?;
    let existing = fstat(&mount_point)?.st_mode & libc::S_IFMT;
    if existing == libc::S_IFDIR || existing == libc::S_IFLNK {
        return Err(Refusal::PathOccupied.into());
    }
    context.close_batch.add(directory);
    sys::move_mount(node.as_fd(), mount_point.as_fd())?;
    if context.setter == Setter::Attached {
        context
            .setter
            .restrict_node(node.as_fd(), Some(context.proc))?;
    }
    context.close_batch.add(mount_point);
    context.close_batch.add(node);
    Ok(())
}

impl Node {
    fn plan(index: usize, device: &LinuxDevice) -> anyhow::Result<Node> {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
            LinuxDeviceType::B => SFlag::S_IFBLK,
            LinuxDeviceType::P => SFlag::S_IFIFO,
            LinuxDeviceType::A => bail!("type: must be c, b, u or p"),
        };
        ensure!(
            device.path().is_absolute(),
            "path: {:?} is relative; want an absolute path: {}",
            device.path(),
            clean(device.path()).display()
        );
        let path = clean(device.path());
        ensure!(path != Path::new("/"), "path: the root cannot be a device");
        let number = |name: &str, value: i64, most: i64| {
            ensure!(
                (0..=most).contains(&value),
                "{name}: {value} is not between 0 and {most}"
            );
            Ok(value.unsigned_abs())
        };
        let (major, minor) = (
            number("major", device.major(), MAX_MAJOR)?,
            number("minor", device.minor(), MAX_MINOR)?,
        );
        let mode = device.file_mode().unwrap_or(0o666);
        // Podman passes the whole st_mode of the host's file, with the file type (stat(2)).
        let (file_type, mode) = (mode & !0o7777, mode & 0o7777);
        ensure!(
            file_type == 0 || file_type == kind.bits(),
            "fileMode: {} (octal {0:o}) has the file type of another device; want the permissions alone: {}",
            file_type | mode,
            mode & 0o777
        );
        Ok(Node {
            index,
            path,
            kind,
            mode,
            device: if kind == SFlag::S_IFIFO {
                0
            } else {
                makedev(major, minor)
            },
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        })
    }

    fn apply(&self, root: &Root) -> Result<(), Cause> {
        let (directory, name) = root.parent(&self.path)?;
        create_node(&directory, name, self.kind, self.mode, self.device)?;
        if (self.uid, self.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            fchownat(
                &directory,
                name,
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }
}

/// Creates a node. One that exists must be the same device (config-linux.md).
fn create_node(
    directory: &OwnedFd,
    name: &Path,
    kind: SFlag,
    mode: u32,
    device: u64,
) -> Result<(), Cause> {
    let result = mknodat(
        directory,
        name,
        kind,
        Mode::from_bits_truncate(mode),
        device,
    );
    let Err(error @ (Errno::EEXIST | Errno::EROFS)) = result else {
        return Ok(result?);
    };
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & libc::S_IFMT == kind.bits() && found.st_rdev == device => {
            Ok(())
        }
        Ok(_) => Err(Refusal::PathOccupied.into()),
        Err(_) => Err(error.into()),
    }
}

fn create_link(directory: &OwnedFd, name: &str, target: &str) -> nix::Result<()> {
    match symlinkat(target, directory, name) {
        // The image may have its own file there; `rt` does not follow it.
        Err(Errno::EEXIST) => Ok(()),
        // On a read-only /dev the default devices matter; a link that exists is enough.
        Err(Errno::EROFS) if fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => {
            Ok(())
        }
        result => result,
    }
}

/// Creates a link, replacing any other file: the host's ptmx would open terminals of
/// another devpts.
fn replace_link(directory: &OwnedFd, name: &str, target: &str) -> Result<(), Cause> {
    match symlinkat(target, directory.as_fd(), name) {
        Ok(()) => return Ok(()),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    if nix::fcntl::readlinkat(directory, name).is_ok_and(|found| found == target) {
        return Ok(());
    }
    unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
    Ok(symlinkat(target, directory.as_fd(), name)?)
}
