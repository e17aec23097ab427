//! The annotation `rt.volumes.create`: missing sources of bind mounts are made, as directories.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::stat::Mode;

use super::Rootfs;
use super::directories::{Attributes, CreatedDirectories};
use super::kind::Kind;

const MODE: Mode = Mode::S_IRWXU
    .union(Mode::S_IRGRP)
    .union(Mode::S_IXGRP)
    .union(Mode::S_IROTH)
    .union(Mode::S_IXOTH);

impl Rootfs {
    /// Whether `source`, of `mounts[item]`, is made if it is missing. A source in the root is
    /// not: init looks for it there, and a lower layer must not change.
    pub(super) fn makes_source(&self, item: usize, source: &Path) -> bool {
        let is_in_layer =
            self.layers.is_some() && self.path != Path::new("/") && source.starts_with(&self.path);
        self.create_volumes
            && item < self.configured_mounts
            && !is_in_layer
            && self.path_in_root(item).is_none()
    }

    /// The sources that are made if they are missing, with the index in `mounts`.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (usize, &Path)> {
        let mounts = self.mounts.iter().enumerate();
        mounts.filter_map(|(item, mount)| match &mount.kind {
            Kind::Bind { source, .. } if self.makes_source(item, source) => {
                Some((item, source.as_path()))
            }
            _ => None,
        })
    }

    /// Makes the missing sources, owned by root of the container.
    pub(super) fn make_volumes(&self, directories: &mut CreatedDirectories) -> Result<()> {
        for (item, source) in self.volumes() {
            // The files of an idmapped mount belong to root on the host.
            let is_mapped = self.mounts[item].idmap.is_some();
            let new = Attributes {
                mode: MODE,
                owner: self.owner.filter(|_| !is_mapped),
            };
            let made = directories.make(source, new);
            made.with_context(|| {
                format!(
                    "{}: make the source {}",
                    self.mount_field(item),
                    source.display()
                )
            })?;
        }
        Ok(())
    }
}
