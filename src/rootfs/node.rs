//! One device node: created by mknod(2), bind-mounted from the host, or found in a bind mount
//! on /dev.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::attributes::Setter;
use super::context::MountContext;
use super::detached::open_tree;
use super::root::{Links, Root, clean, open_or_create_file};
use crate::step::{Cause, Refusal};
use crate::sys::{self, OpenTree};

/// The greatest numbers of a device. mknod(2) would drop the rest of a greater one (`MINORBITS` in
/// linux/kdev_t.h).
const MAX_MAJOR: i64 = (1 << 12) - 1;
const MAX_MINOR: i64 = (1 << 20) - 1;

/// How the container gets a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeSource {
    /// Created by mknod(2).
    Mknod,
    /// Bind-mounted from the host.
    Bind,
}

/// A device of `linux.devices`.
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
    /// `None` if it must be in the bind mount on /dev, where `rt` creates nothing.
    pub(super) source: Option<NodeSource>,
}

impl Node {
    /// `source` is how other nodes than a FIFO are made.
    pub(super) fn plan(
        index: usize,
        device: &LinuxDevice,
        source: NodeSource,
    ) -> anyhow::Result<Node> {
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
        let is_fifo = kind == SFlag::S_IFIFO;
        Ok(Node {
            index,
            path,
            kind,
            mode,
            device: if is_fifo { 0 } else { makedev(major, minor) },
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            // A FIFO needs no privilege (mknod(2)).
            source: Some(if is_fifo { NodeSource::Mknod } else { source }),
        })
    }

    /// Init: makes the node with mknod(2). One that exists must be the same device.
    pub(super) fn create(&self, root: &Root) -> Result<(), Cause> {
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

    /// Init: checks that the node, or a link to it, is there.
    pub(super) fn find(&self, root: &Root) -> Result<(), Cause> {
        match root.open(&self.path, OFlag::O_PATH, Links::Follow) {
            Ok(file) if is_device(&fstat(&file)?, self.kind, self.device) => Ok(()),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Refusal::NotInBoundDev.into()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Opens a node of the host as a detached mount, if it is the expected device.
pub(super) fn open_node(
    path: &Path,
    kind: SFlag,
    device: u64,
    setter: Setter,
) -> Result<OwnedFd, Cause> {
    let tree = open_tree(path, OpenTree::Mount)?;
    check_device(&tree, kind, device)?;
    if setter == Setter::Detached {
        setter.restrict_node(tree.as_fd(), None)?;
    }
    Ok(tree)
}

/// Init: bind-mounts a node. The mount point is created. One that exists must be an empty file,
/// as an earlier run leaves it, or the same device.
pub(super) fn bind_node(
    context: &MountContext,
    path: &Path,
    (kind, device): (SFlag, u64),
    node: OwnedFd,
) -> Result<(), Cause> {
    let (directory, name) = context.root.parent(path)?;
    let mount_point = open_or_create_file(&directory, name)?;
    let found = fstat(&mount_point)?;
    let is_empty_file = found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_size == 0;
    if !is_empty_file && !is_device(&found, kind, device) {
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

/// Creates a node. One that exists must be the same device (config-linux.md).
pub(super) fn create_node(
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
        Ok(found) if is_device(&found, kind, device) => Ok(()),
        Ok(_) => Err(Refusal::PathOccupied.into()),
        Err(_) => Err(error.into()),
    }
}

/// Refuses any other file than the expected device.
pub(super) fn check_device(file: &OwnedFd, kind: SFlag, device: u64) -> Result<(), Cause> {
    if is_device(&fstat(file)?, kind, device) {
        Ok(())
    } else {
        Err(Refusal::PathOccupied.into())
    }
}

fn is_device(found: &FileStat, kind: SFlag, device: u64) -> bool {
    found.st_mode & libc::S_IFMT == kind.bits() && found.st_rdev == device
}
