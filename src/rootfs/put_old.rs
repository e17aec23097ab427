//! The directory of the root by which CRIU changes to it (`put_old` of pivot_root(2)).
//!
//! CRIU takes /tmp. If that is no directory, CRIU makes one of another name in the root, which a
//! read-only root does not allow. CRIU follows a link at /tmp as any process of the host does.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::Rootfs;
use super::root::{Links, Root, open_from};
use crate::step::{Cause, Progress, Refusal, Step};

const TMP: &str = "tmp";

/// What CRIU finds at /tmp.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Directory,
    /// A link to a directory of the host, by which CRIU fails.
    LinkToHost,
    /// A file, or a link that leads to no directory.
    Other,
    Nothing,
}

fn find(root: BorrowedFd) -> nix::Result<Found> {
    let open = |flags, links, scope| open_from(root, Path::new(TMP), flags, links, scope);
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open(directory, Links::Follow, ResolveFlag::RESOLVE_BENEATH) {
        Ok(_) => return Ok(Found::Directory),
        Err(Errno::EXDEV) => {
            // The one place where a link of the root is followed to the host: CRIU does it next.
            // Nothing is done with what is there.
            if open(directory, Links::Follow, ResolveFlag::empty()).is_ok() {
                return Ok(Found::LinkToHost);
            }
        }
        Err(_) => {}
    }
    let itself = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    match open(itself, Links::Follow, ResolveFlag::RESOLVE_BENEATH) {
        Ok(_) => Ok(Found::Other),
        Err(Errno::ENOENT) => Ok(Found::Nothing),
        Err(errno) => Err(errno),
    }
}

/// Whether the mount or its file system is read-only.
fn is_readonly(root: BorrowedFd) -> nix::Result<bool> {
    Ok(fstatvfs(root)?.flags().contains(FsFlags::ST_RDONLY))
}

/// Checks the root of a container that is to be checkpointed. `is_fixed` says whether its file system is
/// read-only, not only the container's mount.
///
/// # Errors
/// When CRIU could not restore a container with this root.
pub(crate) fn check_put_old(root: BorrowedFd, is_fixed: impl FnOnce() -> bool) -> Result<()> {
    match find(root)? {
        Found::Directory => {}
        Found::LinkToHost => bail!(
            "root.path: /tmp is a link that leads out of the root; CRIU cannot restore such a container"
        ),
        Found::Other if is_readonly(root)? => bail!(
            "root.readonly: /tmp is no directory; CRIU cannot restore a container with such a read-only root"
        ),
        Found::Nothing if is_readonly(root)? && is_fixed() => bail!(
            "root.path: has no directory /tmp, and its file system is read-only; CRIU cannot restore such a container"
        ),
        Found::Other | Found::Nothing => {}
    }
    Ok(())
}

impl Rootfs {
    /// Makes /tmp in a root where CRIU can make no directory.
    ///
    /// # Errors
    /// When that fails, or CRIU would take a directory of the host.
    pub(super) fn provide_put_old(&self, root: &Root, progress: &Progress) -> Result<(), Cause> {
        progress.enter(Step::PutOld);
        match find(root.as_fd())? {
            // A file system of the images may have what a link leads to, so CRIU decides.
            Found::Directory | Found::Other => Ok(()),
            Found::LinkToHost => Err(Refusal::LinkToHost.into()),
            Found::Nothing if self.readonly || is_readonly(root.as_fd())? => {
                let path = Path::new("/").join(TMP);
                root.directory(&path, Links::Refuse)?;
                Ok(())
            }
            Found::Nothing => Ok(()),
        }
    }
}
