//! A read-only view of the layers of a container, for `rt diff`: a detached mount that no
//! process of a container sees.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::layers::{MAX_VALUE, supports_lowerdir_append};
use crate::sys::{self, FsConfig, MountAttr, OpenTree};

/// Nothing in a view is executed, and no device in it is opened.
const ATTRIBUTES: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC;

/// Merges `layers`, the top one first, as an overlay does. A single one is shown as it is,
/// without the mounts below it. `user_namespace` says whether overlayfs stores its own
/// attributes as `user.` attributes.
///
/// # Errors
/// When a layer is missing, or the caller may not mount.
pub(crate) fn merged_layers(layers: &[PathBuf], user_namespace: bool) -> Result<OwnedFd> {
    let open_layer = |path: &PathBuf| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path, flags, Mode::empty()).with_context(|| path.display().to_string())
    };
    let opened: Vec<OwnedFd> = layers.iter().map(open_layer).collect::<Result<_>>()?;
    if let [layer] = opened.as_slice() {
        let cloned = sys::open_tree(layer.as_fd(), c"", OpenTree::Mount);
        return cloned.with_context(|| layers[0].display().to_string());
    }
    let subject = "mount an overlay of the layers";
    let context = sys::fsopen(c"overlay").context(subject)?;
    let (key, values) = lower_parameters(&opened)?;
    for value in &values {
        sys::fsconfig(context.as_fd(), FsConfig::String(key, value)).context(subject)?;
    }
    if user_namespace {
        sys::fsconfig(context.as_fd(), FsConfig::Flag(c"userxattr")).context(subject)?;
    }
    sys::fsconfig(context.as_fd(), FsConfig::Create).context(subject)?;
    sys::fsmount(context.as_fd(), ATTRIBUTES).context(subject)
}

/// Clones the root of this process's mount namespace, without the mounts below it.
///
/// # Errors
/// When it is not an overlay. A container that may mount can have changed that.
pub(crate) fn root_of_overlay() -> Result<OwnedFd> {
    let root = sys::open_tree(AT_FDCWD, c"/", OpenTree::Mount).context("clone the root")?;
    ensure!(
        fstatfs(&root).context("/")?.filesystem_type() == OVERLAYFS_SUPER_MAGIC,
        "the container has another root now, which is not an overlay"
    );
    let attributes = MountAttr {
        set: ATTRIBUTES,
        ..MountAttr::default()
    };
    match sys::mount_setattr(root.as_fd(), OpenTree::Mount, &attributes) {
        // Before Linux 5.12. Devices are not opened anyway.
        Err(Errno::ENOSYS) => {}
        done => done.context("change the clone of the root")?,
    }
    Ok(root)
}

/// The key and the values for fsconfig(2). Descriptors are passed rather than paths, which
/// could be too long or have characters to escape.
fn lower_parameters(layers: &[OwnedFd]) -> Result<(&'static std::ffi::CStr, Vec<CString>)> {
    let paths = layers.iter();
    let paths = paths.map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()));
    if supports_lowerdir_append().context("overlay")? {
        let values = paths.map(|path| Ok(CString::new(path)?));
        return Ok((c"lowerdir+", values.collect::<Result<_>>()?));
    }
    let joined = paths.collect::<Vec<_>>().join(":");
    ensure!(
        joined.len() <= MAX_VALUE,
        "{} layers: too many before Linux 6.7",
        layers.len()
    );
    Ok((c"lowerdir", vec![CString::new(joined)?]))
}
