//! Threaded cgroups: a container whose v2 cgroup lies below one that manages threads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cgroups::directory::Directory;

/// Makes `cgroup` threaded when its parent is. All cgroups below a threaded one are threaded,
/// and a new one takes no process until "threaded" is written to its cgroup.type
/// (cgroup-v2.rst, "Threads"). No memory limit is lost by this: a threaded parent does not
/// enable the memory controller for its children.
///
/// `created` are the directories that were made for the container, parents first.
///
/// # Errors
/// When cgroup.type cannot be read, or the kernel refuses the write.
pub(in crate::cgroups) fn join_threaded_subtree(
    cgroup: &Directory,
    created: &[PathBuf],
) -> Result<()> {
    let path = cgroup.path().display();
    let cgroup_type = cgroup.read_page("cgroup.type");
    let cgroup_type = cgroup_type.with_context(|| format!("read {path}/cgroup.type"))?;
    if cgroup_type != "domain invalid" {
        return Ok(());
    }
    // Parents first: a cgroup below an invalid one stays invalid.
    for parent in created.iter().filter(|path| *path != cgroup.path()) {
        Directory::open(parent)
            .and_then(|parent| parent.write("cgroup.type", "threaded"))
            .with_context(|| making_threaded(parent))?;
    }
    cgroup
        .write("cgroup.type", "threaded")
        .with_context(|| making_threaded(cgroup.path()))
}

fn making_threaded(path: &Path) -> String {
    let path = path.display();
    format!("linux.cgroupsPath: write \"threaded\" to {path}/cgroup.type")
}
