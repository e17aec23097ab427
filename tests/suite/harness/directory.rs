//! A temporary directory, which is removed when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use nix::mount::{MntFlags, umount2};

use super::host;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("rt-suite-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    /// Unmounts first: the files of a mount below must not be removed.
    fn drop(&mut self) {
        let below = |point: &String| Path::new(point).starts_with(&self.0);
        for point in host::mount_points().iter().filter(|p| below(p)).rev() {
            let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
        }
        if !host::mount_points().iter().any(below) {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}
