//! Threaded cgroups.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cgroups::directory::Directory;

/// Below a threaded cgroup there are threaded ones only, and one that is made
/// takes no process until it is told so (cgroup-v2.rst, "Threads"). What must be
/// whole, as a limit on memory, its parent has refused to hand down.
pub(in crate::cgroups) fn fit_among_threads(leaf: &Directory, created: &[PathBuf]) -> Result<()> {
    let path = leaf.path().display();
    let kind = leaf.line("cgroup.type");
    if kind.with_context(|| format!("read {path}/cgroup.type"))? != "domain invalid" {
        return Ok(());
    }
    // The upper first: one below an invalid one stays invalid.
    let above = created.iter().filter(|made| *made != leaf.path());
    for made in above {
        Directory::open(made)
            .and_then(|made| made.write("cgroup.type", "threaded"))
            .with_context(|| making_threaded(made))?;
    }
    leaf.write("cgroup.type", "threaded")
        .with_context(|| making_threaded(leaf.path()))
}

fn making_threaded(path: &Path) -> String {
    let path = path.display();
    format!("linux.cgroupsPath: write \"threaded\" to {path}/cgroup.type")
}
