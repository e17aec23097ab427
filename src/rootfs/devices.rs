//! /dev: the default devices and links of the specification, and `linux.devices`.
//!
//! Nodes and links are created relative to a descriptor of their directory, never by path
//! (CVE-2026-41579). In a user namespace mknod(2) is not permitted, so the host's nodes are
//! bind-mounted there. These are read-only, because the user namespace may map their owner.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstatat, makedev};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use oci_spec::runtime::LinuxDevice;

use super::attributes::Setter;
use super::context::MountContext;
use super::kind::Kind;
use super::mount::Mount;
use super::node::{Node, NodeSource, bind_node, check_device, create_node, open_node};
use super::root::Links;
use crate::step::{Cause, Progress, Step};
use crate::sys;

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

/// The links of runtime-linux.md, "Dev symbolic links", and `core`, which other runtimes
/// create too.
pub(super) const DEV_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// What `rt` does in the container's /dev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DevDirectory {
    /// Creates the default devices and links.
    Filled,
    /// Nothing: `mounts[item]` is a bind mount on /dev, whose directory is the host's.
    Bound(usize),
    /// Nothing: the container has no mount namespace of its own.
    Unchanged,
}

impl DevDirectory {
    /// `own_mounts` tells whether the container has a mount namespace of its own.
    pub(super) fn plan(own_mounts: bool, mounts: &[Mount]) -> DevDirectory {
        if !own_mounts {
            return DevDirectory::Unchanged;
        }
        let bind = mounts.iter().rposition(|mount| {
            mount.target == Path::new("/dev") && matches!(mount.kind, Kind::Bind { .. })
        });
        bind.map_or(DevDirectory::Filled, DevDirectory::Bound)
    }
}

/// The devices of the container, and the links in /dev.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) directory: DevDirectory,
    /// The source of the default devices, and of others unless /dev is a bind mount.
    pub(super) node_source: NodeSource,
    /// Indices in [`DEFAULT_DEVICES`] that `linux.devices` does not override.
    pub(super) default_nodes: Vec<usize>,
    pub(super) nodes: Vec<Node>,
}

impl Devices {
    pub(super) fn plan(
        devices: Option<&Vec<LinuxDevice>>,
        directory: DevDirectory,
        node_source: NodeSource,
    ) -> anyhow::Result<Devices> {
        let mut nodes = Vec::new();
        for (index, device) in devices.into_iter().flatten().enumerate() {
            let mut node = Node::plan(index, device, node_source)
                .map_err(|error| anyhow!("linux.devices[{index}].{error}"))?;
            match directory {
                DevDirectory::Bound(_) if node.path.starts_with("/dev") => {
                    node.source = None;
                }
                // It is always a link to the container's own devpts.
                _ if node.path == Path::new("/dev/ptmx") => continue,
                _ => {}
            }
            nodes.push(node);
        }
        let default_nodes = (0..DEFAULT_DEVICES.len()).filter(|i| {
            let path = Path::new("/dev").join(DEFAULT_DEVICES[*i].0);
            directory == DevDirectory::Filled && nodes.iter().all(|node| node.path != path)
        });
        Ok(Devices {
            directory,
            node_source,
            default_nodes: default_nodes.collect(),
            nodes,
        })
    }

    /// The paths of the nodes of the host that are bind-mounted, in the order of
    /// [`Devices::open`].
    pub(super) fn bind_mounts(&self) -> impl Iterator<Item = PathBuf> {
        let defaults = self.default_nodes.iter();
        let defaults = defaults.filter(|_| self.node_source == NodeSource::Bind);
        let defaults = defaults.map(|item| Path::new("/dev").join(DEFAULT_DEVICES[*item].0));
        let bound = |node: &&Node| node.source == Some(NodeSource::Bind);
        let nodes = self
            .nodes
            .iter()
            .filter(bound)
            .map(|node| node.path.clone());
        defaults.chain(nodes)
    }

    /// The number of nodes to create.
    pub(super) fn len(&self) -> usize {
        self.default_nodes.len() + self.nodes.len()
    }

    /// Whether `rt` creates /dev/null by mknod(2).
    pub(super) fn creates_null(&self) -> bool {
        self.node_source == NodeSource::Mknod && self.default_nodes.contains(&NULL)
    }

    /// Opens the host's nodes as detached mounts, in the order in which [`Devices::apply`]
    /// uses them. The list is empty where mknod(2) creates them.
    pub(super) fn open(&self, setter: Setter, progress: &Progress) -> Result<Vec<OwnedFd>, Cause> {
        if self.node_source == NodeSource::Mknod {
            return Ok(Vec::new());
        }
        let defaults = self.default_nodes.iter().map(|item| {
            progress.at(Step::OpenDefaultDevice, *item);
            let (name, major, minor) = DEFAULT_DEVICES[*item];
            let path = Path::new("/dev").join(name);
            open_node(&path, SFlag::S_IFCHR, makedev(major, minor), setter)
        });
        let bound = |node: &&Node| node.source == Some(NodeSource::Bind);
        let nodes = self.nodes.iter().filter(bound).map(|node| {
            progress.at(Step::OpenDevice, node.index);
            open_node(&node.path, node.kind, node.device, setter)
        });
        defaults.chain(nodes).collect()
    }

    /// Init: creates the nodes, then the links. The umask must be 0. Returns /dev, or `None`
    /// if it creates nothing there.
    pub(super) fn apply(
        &self,
        context: &MountContext,
        device_mounts: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Cause> {
        let mut device_mounts = device_mounts.into_iter();
        let dev = match self.directory {
            DevDirectory::Filled => Some(self.create_defaults(context, &mut device_mounts)?),
            DevDirectory::Bound(_) | DevDirectory::Unchanged => None,
        };
        for node in &self.nodes {
            context.progress.at(Step::Device, node.index);
            match node.source {
                Some(NodeSource::Mknod) => node.create(context.root)?,
                Some(NodeSource::Bind) => {
                    let mount = device_mounts.next().ok_or(Errno::EBADF)?;
                    bind_node(context, &node.path, (node.kind, node.device), mount)?;
                }
                None => node.find(context.root)?,
            }
        }
        if let Some(dev) = &dev {
            create_links(context, dev)?;
        }
        Ok(dev)
    }

    /// Init: creates the default devices, and returns /dev.
    fn create_defaults(
        &self,
        context: &MountContext,
        device_mounts: &mut impl Iterator<Item = OwnedFd>,
    ) -> Result<OwnedFd, Cause> {
        context.progress.enter(Step::DeviceDirectory);
        let dev = context.root.directory(Path::new("/dev"), Links::Follow)?;
        for item in &self.default_nodes {
            context.progress.at(Step::DefaultDevice, *item);
            let (name, major, minor) = DEFAULT_DEVICES[*item];
            let (kind, device) = (SFlag::S_IFCHR, makedev(major, minor));
            if self.node_source == NodeSource::Bind {
                let (path, mount) = (Path::new("/dev").join(name), device_mounts.next());
                bind_node(context, &path, (kind, device), mount.ok_or(Errno::EBADF)?)?;
            } else {
                create_node(&dev, Path::new(name), kind, 0o666, device)?;
            }
        }
        Ok(dev)
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
                let path = node.path.display();
                let operation = match self.directory {
                    DevDirectory::Bound(mount) if node.source.is_none() => {
                        format!("find {path} in /dev, which is a bind mount (mounts[{mount}])")
                    }
                    _ => format!("make {path}"),
                };
                Some((format!("linux.devices[{item}]"), operation))
            }
            Step::DeviceLink => {
                let name = DEV_LINKS.get(item).map_or("ptmx", |link| link.0);
                Some(("default devices".into(), format!("link /dev/{name}")))
            }
            _ => None,
        }
    }
}

/// Init: clones the null device that was just created in `dev`, to mask files with. The
/// host does not see what the container does to this inode.
pub(super) fn clone_null_device(context: &MountContext, dev: &OwnedFd) -> Result<OwnedFd, Cause> {
    let (name, major, minor) = DEFAULT_DEVICES[NULL];
    context.progress.at(Step::DefaultDevice, NULL);
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    let copy = sys::open_tree_nofollow(dev.as_fd(), &name)?;
    check_device(&copy, SFlag::S_IFCHR, makedev(major, minor))?;
    if context.setter == Setter::Detached {
        context.setter.restrict_node(copy.as_fd(), None)?;
    }
    Ok(copy)
}

/// Creates the links whose target exists after the mounts (runtime-linux.md), and ptmx.
fn create_links(context: &MountContext, dev: &OwnedFd) -> Result<(), Cause> {
    let (root, progress) = (context.root, context.progress);
    let exists = |path: &str| {
        let opened = root.open(Path::new(path), OFlag::O_PATH, Links::Follow);
        opened.map(|file| context.close_batch.add(file)).is_ok()
    };
    progress.enter(Step::DeviceLink);
    let (descriptors_exist, kcore_exists) = (exists("/proc/self/fd"), exists("/proc/kcore"));
    for (item, (name, target)) in DEV_LINKS.into_iter().enumerate() {
        progress.at(Step::DeviceLink, item);
        let target_exists = match name {
            "core" => kcore_exists,
            _ => descriptors_exist,
        };
        if target_exists {
            create_link(dev, name, target)?;
        }
    }
    progress.at(Step::DeviceLink, DEV_LINKS.len());
    replace_link(dev, "ptmx", "pts/ptmx")
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
