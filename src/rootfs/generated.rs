//! Files that `rt` writes for one container, such as /etc/resolv.conf, each mounted at its place.
//!
//! They are on a tmpfs of the container's own, so no inode of the host is behind them, and the
//! container's root owns them. Only a mount in a mount namespace can be cloned (open_tree(2)), so
//! the tmpfs lies on top of the root, where no process can see it, while each of its files is cloned.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use super::Rootfs;
use super::context::MountContext;
use super::detached::new_file_system;
use super::facts::{Content, GeneratedFile};
use super::kind::Kind;
use super::mount::Mount;
use super::parameter::{self, Parameter};
use crate::log;
use crate::step::{Cause, Step};
use crate::sys::{self, OpenTree};

/// The most that the files of a container can hold together: the container can write them.
const SIZE: &str = "1m";

/// Adds the mounts of `files` to those of config.json. A mount of config.json at the same place
/// replaces the file.
pub(super) fn plan(files: &[GeneratedFile], mounts: &mut Vec<Mount>) {
    for file in files {
        let target = Path::new(file.path);
        match mounts.iter().position(|mount| mount.target == target) {
            None => mounts.push(Mount::generated(file)),
            Some(index) if file.explicit => log::defer_warning(format!(
                "annotations: {}: no effect: mounts[{index}] is on {}",
                file.key, file.path
            )),
            Some(_) => {}
        }
    }
}

impl Rootfs {
    /// Init: writes the generated files. Returns them as detached mounts, in the order of
    /// `mounts`.
    pub(super) fn write_generated(
        &self,
        contents: &[Content],
        context: &MountContext,
    ) -> Result<Vec<OwnedFd>, Cause> {
        let mut generated = (self.mounts.iter().enumerate())
            .filter(|(_, mount)| matches!(mount.kind, Kind::Generated(_)))
            .peekable();
        let Some((first, mount)) = generated.peek() else {
            return Ok(Vec::new());
        };
        context.progress.at(Step::OpenSource, *first);
        let (batch, attributes) = (context.close_batch, mount.attributes.set);
        let size = CString::new(SIZE).map_err(|_| Errno::EINVAL)?;
        let mut parameters = vec![
            Parameter::Value(c"mode".into(), c"0755".into()),
            Parameter::Value(c"size".into(), size),
        ];
        parameters.extend(parameter::context(context.label));
        let tmpfs = new_file_system(batch, c"tmpfs", c"tmpfs", &[], &parameters, attributes)?;
        sys::move_mount(tmpfs.as_fd(), context.root.as_fd())?;
        let mut files = Vec::new();
        for (item, mount) in generated {
            context.progress.at(Step::OpenSource, item);
            files.push(write(&tmpfs, mount, content_of(mount, contents)?)?);
        }
        fchdir(&tmpfs)?;
        umount2(".", MntFlags::MNT_DETACH)?;
        fchdir(context.root)?;
        batch.add(tmpfs);
        Ok(files)
    }
}

fn content_of<'a>(mount: &Mount, contents: &'a [Content]) -> nix::Result<&'a str> {
    let content = contents
        .iter()
        .find(|(path, _)| Path::new(path) == mount.target);
    content.map(|(_, text)| text.as_str()).ok_or(Errno::EBADF)
}

/// Writes a file below the attached `tmpfs`, and clones it as a detached mount.
fn write(tmpfs: &OwnedFd, mount: &Mount, content: &str) -> Result<OwnedFd, Cause> {
    let name = mount.target.file_name().unwrap_or_default();
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(tmpfs, &*name, flags, Mode::from_bits_truncate(0o644))?;
    File::from(file)
        .write_all(content.as_bytes())
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(sys::open_tree(tmpfs.as_fd(), &name, OpenTree::Mount)?)
}
