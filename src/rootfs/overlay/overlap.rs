//! Finds layers that overlayfs cannot merge: one that is missing, is there twice, or lies in
//! another. The kernel refuses some of them, but does not say which.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};

use super::describe::unsuitable_upper;
use super::{Layers, UPPER, Upper};
use crate::annotations::key;
use crate::pathname::{Access, explain};
use crate::sys;

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// A directory, whichever path leads to it: device and inode number.
type Identity = (u64, u64);

/// A layer with the directories above it.
struct Located<'a> {
    path: &'a Path,
    /// The layer itself first, up to the root of its mount: overlayfs does not cross mounts.
    way_up: Vec<Identity>,
}

impl Layers {
    /// Reads only. `root.path` is checked by whoever opens it.
    ///
    /// # Errors
    /// When a layer cannot be opened, or two layers overlap.
    pub(in crate::rootfs) fn check(&self) -> Result<()> {
        if self.lower.len() == 1 && !matches!(self.upper, Upper::Directory(_)) {
            return Ok(());
        }
        let mut located: Vec<Located> = Vec::with_capacity(self.lower.len());
        for path in &self.lower {
            let way_up = match open(path, DIRECTORY, Mode::empty()).map(way_up) {
                Ok(way_up) => way_up?,
                Err(_) if self.is_root(path) => continue,
                Err(errno) => {
                    let reason = explain(path, errno.into(), Access::Search);
                    return Err(reason).with_context(|| self.name(path));
                }
            };
            located.push(Located { path, way_up });
        }
        for (item, layer) in located.iter().enumerate() {
            if let Some(other) = located[..item].iter().find(|other| other.is_same(layer)) {
                let (layer, other) = (self.name(layer.path), other.path.display());
                bail!("{layer}: is the same directory as {other}; name each layer once");
            }
        }
        for layer in &located {
            if let Some(other) = located.iter().find(|other| layer.is_below(other)) {
                let (layer, other) = (self.name(layer.path), other.path.display());
                bail!(
                    "{layer}: lies in the layer {other}; overlayfs takes no layer inside of another"
                );
            }
        }
        match &self.upper {
            Upper::None | Upper::Memory(_) => Ok(()),
            Upper::Directory(directory) => self.check_upper(&located, directory),
        }
    }

    fn check_upper(&self, lower: &[Located], directory: &Path) -> Result<()> {
        let name = || format!("annotations: {}: {}", key::OVERLAY, directory.display());
        let upper = directory.join(UPPER);
        // A missing directory is made in the last one that exists.
        let existing = upper.ancestors().find_map(|path| {
            let opened = open(path, DIRECTORY, Mode::empty());
            opened.ok().map(|opened| (path, opened))
        });
        let (path, opened) = existing.ok_or_else(|| anyhow!("{}: cannot be opened", name()))?;
        if let Some(reason) = unsuitable_upper(path) {
            bail!("{}: {reason}", name());
        }
        let upper = Located {
            path,
            way_up: way_up(opened)?,
        };
        let exists = path.ends_with(UPPER) && path.parent() == Some(directory);
        for layer in lower {
            if upper.is_below(layer) || upper.is_same(layer) {
                bail!(
                    "{}: lies in the layer {}; name a directory outside of it, or on another file system",
                    name(),
                    layer.path.display()
                );
            }
            if exists && layer.is_below(&upper) {
                bail!(
                    "{}: lies in the upper layer {}; name directories outside of each other",
                    self.name(layer.path),
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// The place in config.json of a lower layer.
    pub(super) fn name(&self, path: &Path) -> String {
        let place = if self.is_root(path) {
            "root.path".to_owned()
        } else {
            format!("annotations: {}", key::LOWER)
        };
        format!("{place}: {}", path.display())
    }

    fn is_root(&self, path: &Path) -> bool {
        self.lower.last().is_some_and(|root| root == path)
    }
}

impl Located<'_> {
    fn is_same(&self, other: &Located) -> bool {
        self.way_up.first() == other.way_up.first()
    }

    fn is_below(&self, other: &Located) -> bool {
        let above = self.way_up.iter().skip(1);
        other
            .way_up
            .first()
            .is_some_and(|other| above.clone().any(|above| above == other))
    }
}

/// `directory` and the directories above it, as far as the caller may see them.
fn way_up(mut directory: OwnedFd) -> nix::Result<Vec<Identity>> {
    let mount = sys::mount_id(directory.as_fd(), c"")?;
    let mut found: Vec<Identity> = Vec::new();
    loop {
        let stat = fstat(&directory)?;
        // The root is its own parent.
        if found.last() == Some(&(stat.st_dev, stat.st_ino)) {
            return Ok(found);
        }
        found.push((stat.st_dev, stat.st_ino));
        let Ok(parent) = openat(&directory, "..", DIRECTORY, Mode::empty()) else {
            return Ok(found);
        };
        if sys::mount_id(parent.as_fd(), c"")? != mount {
            return Ok(found);
        }
        directory = parent;
    }
}
