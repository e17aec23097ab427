//! Fills cpusets of cgroup v1. A new cpuset is empty, and the kernel refuses processes in an
//! empty one (cpuset(7), "EBUSY", "ENOSPC").

use std::path::Path;

use anyhow::{Context, Result};

use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::setting::{CPUSET, Setting};

/// Copies the parent's CPUs and memory nodes to the container's cgroup, unless `settings` sets
/// them. Parents that are empty get those of their own parent first.
///
/// # Errors
/// When the kernel refuses to read or write one of the two files. The error names the directory.
pub(in crate::cgroups) fn inherit_cpuset(
    root: &Directory,
    relative: &Path,
    cgroup: (&Directory, Origin),
    settings: &[Setting],
) -> Result<()> {
    let (cgroup, origin) = cgroup;
    let is_set = CPUSET.map(|file| settings.iter().any(|setting| setting.file == file));
    let parent = relative.parent().unwrap_or(Path::new(""));
    if is_set == [true, true] && parent.as_os_str().is_empty() {
        return Ok(());
    }
    let present = match origin {
        Origin::Created => [String::new(), String::new()],
        Origin::Found => read_cpuset(cgroup)?,
    };
    let inherited = filled_cpuset(root, parent)?;
    for (index, file) in CPUSET.into_iter().enumerate() {
        if !is_set[index] && present[index].is_empty() {
            write_cpuset(cgroup, file, &inherited[index])?;
        }
    }
    Ok(())
}

/// The CPUs and memory nodes of the cgroup at `relative`, after empty values were filled from
/// its parent.
fn filled_cpuset(root: &Directory, relative: &Path) -> Result<[String; 2]> {
    let Some(parent) = relative.parent() else {
        return read_cpuset(root);
    };
    let directory = root
        .below(relative)
        .with_context(|| format!("cgroup {}", root.path().join(relative).display()))?;
    let mut present = read_cpuset(&directory)?;
    if present.iter().any(String::is_empty) {
        let inherited = filled_cpuset(root, parent)?;
        for (index, file) in CPUSET.into_iter().enumerate() {
            if present[index].is_empty() {
                write_cpuset(&directory, file, &inherited[index])?;
                present[index].clone_from(&inherited[index]);
            }
        }
    }
    Ok(present)
}

fn read_cpuset(directory: &Directory) -> Result<[String; 2]> {
    let read = |file| {
        directory
            .read_page(file)
            .with_context(|| format!("read {}/{file}", directory.path().display()))
    };
    Ok([read(CPUSET[0])?, read(CPUSET[1])?])
}

fn write_cpuset(directory: &Directory, file: &str, value: &str) -> Result<()> {
    directory
        .write(file, value)
        .with_context(|| format!("write \"{value}\" to {}/{file}", directory.path().display()))
}
