//! The layers of the root, which overlayfs merges: the annotations `rt.rootfs.overlay`,
//! `rt.rootfs.lower` and `rt.rootfs.size`.
//!
//! The lower layers are read-only. The last one is `root.path`. Changes go to the upper layer,
//! which is a tmpfs in the container's mount namespace or a directory of the host.

mod decisions;
mod describe;
mod mount;
mod overlap;
mod upper;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

pub(super) use mount::{OpenLayers, Place};
pub(super) use upper::remove_unfinished;

use crate::annotations::{Annotations, invalid, key};
use crate::nearest::nearest;

/// The value of `rt.rootfs.overlay` for an upper layer that ends with the container.
const EPHEMERAL: &str = "ephemeral";

/// The most lower layers of an overlay (`OVL_MAX_STACK` of the kernel).
const MAX_LAYERS: usize = 500;

/// The content of the upper layer, below the directory of `rt.rootfs.overlay`.
pub(super) const UPPER: &str = "upper";

/// The work directory of overlayfs, beside it: both must be on one mount.
pub(super) const WORK: &str = "work";

/// The planned layers of one container's root.
#[derive(Debug)]
pub(crate) struct Layers {
    /// Absolute paths, top first; `root.path` is the last.
    lower: Vec<PathBuf>,
    pub(super) upper: Upper,
}

/// Where changes go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upper {
    /// Nowhere: the root is read-only.
    None,
    /// To a tmpfs that ends with the container, with its option `size`.
    Memory(Option<CString>),
    /// To `upper` in this directory of the host.
    Directory(PathBuf),
}

impl Layers {
    /// Plans from the annotations. `None` if the container writes to `root` itself. Relative
    /// paths start at `bundle`.
    ///
    /// # Errors
    /// When a value is not valid, or has no effect because another key is missing.
    pub(super) fn plan(
        annotations: &Annotations,
        (root, readonly): (&Path, bool),
        bundle: &Path,
    ) -> Result<Option<Layers>> {
        let upper = Upper::plan(annotations, bundle)?;
        let Some(names) = annotations.list(key::LOWER)? else {
            let lower = vec![root.to_owned()];
            return Ok((upper != Upper::None).then_some(Layers { lower, upper }));
        };
        ensure!(
            readonly || upper != Upper::None,
            "annotations: {}: nothing takes the container's changes; set {}, or root.readonly",
            key::LOWER,
            key::OVERLAY
        );
        ensure!(
            names.len() < MAX_LAYERS,
            "annotations: {}: {} layers; overlayfs takes at most {MAX_LAYERS}, with root.path",
            key::LOWER,
            names.len()
        );
        let mut lower = Vec::with_capacity(names.len() + 1);
        for name in names {
            let path = bundle.join(name);
            if lower.contains(&path) || path == root {
                let same = if path == root {
                    "is root.path"
                } else {
                    "is there twice"
                };
                let reason = format!("{same}; name each layer once");
                return Err(invalid(key::LOWER, name, &reason));
            }
            lower.push(path);
        }
        lower.push(root.to_owned());
        Ok(Some(Layers { lower, upper }))
    }

    /// The read-only layers, top first; `root.path` is the last.
    pub(crate) fn lower(&self) -> &[PathBuf] {
        &self.lower
    }

    /// Whether there is an upper layer.
    pub(super) fn is_writable(&self) -> bool {
        self.upper != Upper::None
    }

    /// The content of the upper layer, if it is a directory of the host.
    pub(crate) fn upper_directory(&self) -> Option<PathBuf> {
        match &self.upper {
            Upper::None | Upper::Memory(_) => None,
            Upper::Directory(directory) => Some(directory.join(UPPER)),
        }
    }
}

impl Upper {
    fn plan(annotations: &Annotations, bundle: &Path) -> Result<Upper> {
        let size = annotations.get(key::SIZE);
        match (annotations.get(key::OVERLAY), size) {
            (Some(EPHEMERAL), size) => Ok(Upper::Memory(size.map(tmpfs_size).transpose()?)),
            (_, Some(size)) => {
                let reason = format!("has an effect with {} {EPHEMERAL:?} only", key::OVERLAY);
                Err(invalid(key::SIZE, size, &reason))
            }
            (None, None) => Ok(Upper::None),
            (Some(path), None) => {
                if path.is_empty() || path.contains('\0') {
                    bail!(invalid(key::OVERLAY, path, "is no directory"));
                }
                if let Some(likely) = nearest(path, [EPHEMERAL]) {
                    let reason =
                        format!("did you mean {likely:?}? the directory of that name is ./{path}");
                    bail!(invalid(key::OVERLAY, path, &reason));
                }
                Ok(Upper::Directory(bundle.join(path)))
            }
        }
    }
}

/// The option `size` of a tmpfs (tmpfs(5)), for which 0 means no limit.
///
/// # Errors
/// When it is not a number above 0, with `k`, `m`, `g` or `%` behind it.
fn tmpfs_size(value: &str) -> Result<CString> {
    let digits = value.trim_end_matches(|end: char| "kKmMgG%".contains(end));
    let unit: u64 = match &value[digits.len()..] {
        "" | "%" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => 0,
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit));
    let bytes = bytes.filter(|bytes| is_number && *bytes > 0 && i64::try_from(*bytes).is_ok());
    let reason = "is no size of a tmpfs; write 64m, 1g, a number of bytes, or 10% of the memory";
    bytes.ok_or_else(|| invalid(key::SIZE, value, reason))?;
    Ok(CString::new(value)?)
}
