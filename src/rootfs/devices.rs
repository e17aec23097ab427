//! /dev: the default devices and links of the specification, and `linux.devices`.
//!
//! Nodes and links are made in a descriptor of their directory, never through
//! its path (CVE-2026-41579). In a user namespace nobody can make a node
//! (mknod(2)): there the machine's own are bound, read-only, for the user
//! namespace may map their owner.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::attributes::Setter;
use super::context::Stage;
use super::detached::open_tree;
use super::root::{Links, Root, clean, file_in};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, OpenTree};

/// Default devices (config-linux.md, "Default Devices"): name, major, minor;
/// character devices that everybody may read and write.
const DEFAULTS: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Where the null device is in [`DEFAULTS`].
const NULL: usize = 0;

/// Links (runtime-linux.md, "Dev symbolic links"), and `core` as other runtimes
/// have it.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// What is made below /dev, and elsewhere by `linux.devices`.
#[derive(Debug)]
pub(super) struct Devices {
    /// False when the configuration brings its own /dev by a bind mount.
    defaults: bool,
    origin: Origin,
    /// Entries of [`DEFAULTS`] that `linux.devices` does not override.
    default_nodes: Vec<usize>,
    nodes: Vec<Node>,
}

/// Where nodes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// mknod(2).
    Made,
    /// The machine's, by a bind mount.
    Bound,
}

#[derive(Debug)]
struct Node {
    /// Its place in `linux.devices`.
    index: usize,
    /// Inside the root, absolute and clean.
    path: PathBuf,
    kind: SFlag,
    mode: u32,
    device: u64,
    uid: u32,
    gid: u32,
}

impl Devices {
    pub(super) fn plan(
        devices: Option<&Vec<LinuxDevice>>,
        defaults: bool,
        origin: Origin,
    ) -> anyhow::Result<Devices> {
        let mut nodes = Vec::new();
        for (index, device) in devices.into_iter().flatten().enumerate() {
            let node =
                Node::plan(index, device).with_context(|| format!("linux.devices[{index}]"))?;
            // A link to the container's own devpts, always.
            if node.path != Path::new("/dev/ptmx") {
                nodes.push(node);
            }
        }
        let default_nodes = (0..DEFAULTS.len())
            .filter(|i| {
                let path = Path::new("/dev").join(DEFAULTS[*i].0);
                nodes.iter().all(|node| node.path != path)
            })
            .collect();
        Ok(Devices {
            defaults,
            origin,
            default_nodes,
            nodes,
        })
    }

    /// How many nodes there are to be.
    pub(super) fn len(&self) -> usize {
        self.default_nodes.len() + self.nodes.len()
    }

    /// Whether the container gets a null device of its own making.
    pub(super) fn makes_null(&self) -> bool {
        self.defaults && self.origin == Origin::Made && self.default_nodes.contains(&NULL)
    }

    /// The machine's nodes, detached, in the order in which [`Devices::apply`]
    /// takes them; none where nodes are made.
    pub(super) fn open(&self, setter: Setter, at: &Progress) -> Result<Vec<OwnedFd>, Cause> {
        if self.origin == Origin::Made || !self.defaults {
            return Ok(Vec::new());
        }
        let defaults = self.default_nodes.iter().map(|item| {
            at.at(Step::OpenDefaultDevice, *item);
            let (name, major, minor) = DEFAULTS[*item];
            let path = Path::new("/dev").join(name);
            open_node(&path, SFlag::S_IFCHR, makedev(major, minor), setter)
        });
        let nodes = self.nodes.iter().filter(|node| self.binds(node));
        let nodes = nodes.map(|node| {
            at.at(Step::OpenDevice, node.index);
            open_node(&node.path, node.kind, node.device, setter)
        });
        defaults.chain(nodes).collect()
    }

    /// Everybody may make a FIFO (mknod(2)).
    fn binds(&self, node: &Node) -> bool {
        self.origin == Origin::Bound && node.kind != SFlag::S_IFIFO
    }

    /// Init: nodes, then links. The umask is 0. Returns the directory in which the
    /// default ones are.
    pub(super) fn apply(
        &self,
        stage: &Stage,
        bound: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Cause> {
        if !self.defaults {
            return Ok(None);
        }
        let (root, at) = (stage.root, stage.at);
        let mut bound = bound.into_iter();
        at.enter(Step::DeviceDirectory);
        let dev = root.directory(Path::new("/dev"), Links::Follow)?;
        for item in &self.default_nodes {
            at.at(Step::DefaultDevice, *item);
            let (name, major, minor) = DEFAULTS[*item];
            if let Some(node) = bound.next() {
                bind(stage, &Path::new("/dev").join(name), node)?;
                continue;
            }
            make(
                &dev,
                Path::new(name),
                SFlag::S_IFCHR,
                0o666,
                makedev(major, minor),
            )?;
        }
        for node in &self.nodes {
            at.at(Step::Device, node.index);
            match self.binds(node) {
                true => bind(stage, &node.path, bound.next().ok_or(Errno::EBADF)?)?,
                false => node.apply(root)?,
            }
        }
        for (item, (name, target)) in LINKS.into_iter().enumerate() {
            at.at(Step::DeviceLink, item);
            let there = || {
                root.open(Path::new(target), OFlag::O_PATH, Links::Follow)
                    .is_ok()
            };
            if name != "core" || there() {
                link(&dev, name, target)?;
            }
        }
        at.at(Step::DeviceLink, LINKS.len());
        relink(&dev, "ptmx", "pts/ptmx")?;
        Ok(Some(dev))
    }

    pub(super) fn describe(&self, step: Step, item: usize) -> Option<(String, String)> {
        match step {
            Step::OpenDefaultDevice => Some((
                "default devices".into(),
                format!("/dev/{} of this machine", DEFAULTS.get(item)?.0),
            )),
            Step::OpenDevice => {
                let node = self.nodes.iter().find(|node| node.index == item)?;
                Some((
                    format!("linux.devices[{item}]"),
                    format!("{} of this machine", node.path.display()),
                ))
            }
            Step::DeviceDirectory => Some(("root".into(), "make /dev".into())),
            Step::DefaultDevice => Some((
                "default devices".into(),
                format!("make /dev/{}", DEFAULTS.get(item)?.0),
            )),
            Step::Device => {
                let node = self.nodes.iter().find(|node| node.index == item)?;
                Some((
                    format!("linux.devices[{item}]"),
                    format!("make {}", node.path.display()),
                ))
            }
            Step::DeviceLink => {
                let name = LINKS.get(item).map_or("ptmx", |link| link.0);
                Some(("default devices".into(), format!("link /dev/{name}")))
            }
            _ => None,
        }
    }
}

/// A node of the machine, detached, if it is the device that is meant.
fn open_node(path: &Path, kind: SFlag, device: u64, setter: Setter) -> Result<OwnedFd, Cause> {
    let tree = open_tree(path, OpenTree::Mount)?;
    check(&tree, kind, device)?;
    if setter == Setter::Detached {
        setter.shield(tree.as_fd(), None)?;
    }
    Ok(tree)
}

/// Init: a detached copy of the null device that it has just made in `dev`, to cover
/// files with: whatever the container does to it, nobody else sees.
pub(super) fn copy_of_null(stage: &Stage, dev: &OwnedFd) -> Result<OwnedFd, Cause> {
    let (name, major, minor) = DEFAULTS[NULL];
    stage.at.at(Step::DefaultDevice, NULL);
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let node = openat(dev, name, flags, Mode::empty())?;
    check(&node, SFlag::S_IFCHR, makedev(major, minor))?;
    let copy = sys::open_tree(node.as_fd(), c"", OpenTree::Mount)?;
    if stage.setter == Setter::Detached {
        stage.setter.shield(copy.as_fd(), None)?;
    }
    stage.close_batch.add(node);
    Ok(copy)
}

/// Whether a file is the device that is meant.
fn check(file: &OwnedFd, kind: SFlag, device: u64) -> Result<(), Cause> {
    let found = fstat(file)?;
    if found.st_mode & libc::S_IFMT != kind.bits() || found.st_rdev != device {
        return Err(Refusal::OtherFile.into());
    }
    Ok(())
}

/// Binds a node on a file that is made for it, or that was, or on another node.
fn bind(stage: &Stage, path: &Path, node: OwnedFd) -> Result<(), Cause> {
    let (directory, name) = stage.root.parent(path)?;
    let place = file_in(&directory, name)?;
    let there = fstat(&place)?.st_mode & libc::S_IFMT;
    if there == libc::S_IFDIR || there == libc::S_IFLNK {
        return Err(Refusal::OtherFile.into());
    }
    stage.close_batch.add(directory);
    sys::move_mount(node.as_fd(), place.as_fd())?;
    if stage.setter == Setter::Attached {
        stage.setter.shield(node.as_fd(), Some(stage.proc))?;
    }
    stage.close_batch.add(place);
    stage.close_batch.add(node);
    Ok(())
}

impl Node {
    fn plan(index: usize, device: &LinuxDevice) -> anyhow::Result<Node> {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
            LinuxDeviceType::B => SFlag::S_IFBLK,
            LinuxDeviceType::P => SFlag::S_IFIFO,
            LinuxDeviceType::A => bail!("type: a node is c, b, u or p"),
        };
        ensure!(
            device.path().is_absolute(),
            "path: {} is not absolute",
            device.path().display()
        );
        let path = clean(device.path());
        ensure!(path != Path::new("/"), "path: the root is no device");
        let number = |name: &str, value: i64| {
            u64::try_from(value).with_context(|| format!("{name}: {value} is no device number"))
        };
        let (major, minor) = (
            number("major", device.major())?,
            number("minor", device.minor())?,
        );
        let mode = device.file_mode().unwrap_or(0o666);
        // Podman writes the whole st_mode of the machine's file: the type comes along (stat(2)).
        let (type_of_file, mode) = (mode & !0o7777, mode & 0o7777);
        ensure!(
            type_of_file == 0 || type_of_file == kind.bits(),
            "fileMode: {} is no mode of this type",
            type_of_file | mode
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
        make(&directory, name, self.kind, self.mode, self.device)?;
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

/// Makes a node; one that is there already must be the same (config-linux.md).
fn make(
    directory: &OwnedFd,
    name: &Path,
    kind: SFlag,
    mode: u32,
    device: u64,
) -> Result<(), Cause> {
    let made = mknodat(
        directory,
        name,
        kind,
        Mode::from_bits_truncate(mode),
        device,
    );
    let Err(refused @ (Errno::EEXIST | Errno::EROFS)) = made else {
        return Ok(made?);
    };
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & libc::S_IFMT == kind.bits() && found.st_rdev == device => {
            Ok(())
        }
        Ok(_) => Err(Refusal::OtherFile.into()),
        Err(_) => Err(refused.into()),
    }
}

fn link(directory: &OwnedFd, name: &str, target: &str) -> nix::Result<()> {
    match symlinkat(target, directory, name) {
        // An image may bring its own; nothing of the runtime follows it.
        Err(Errno::EEXIST) => Ok(()),
        // A read-only /dev has it, or has none: the default devices are what matters.
        Err(Errno::EROFS) if fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() => {
            Ok(())
        }
        done => done,
    }
}

/// A link that replaces whatever has its name: the machine's ptmx would hand
/// out terminals of another devpts.
fn relink(directory: &OwnedFd, name: &str, target: &str) -> Result<(), Cause> {
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
