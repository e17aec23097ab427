//! cpuset of v1.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::setting::{CPUSET, Setting};

/// Hands CPUs and memory nodes down to a cpuset and to those above it, where
/// they have none: a new one starts empty, and an empty one takes no process
/// (cpuset(7), "EBUSY", "ENOSPC").
///
/// # Errors
/// Those of reading and writing the two files, each with its directory.
pub(in crate::cgroups) fn inherit_cpuset(
    root: &Directory,
    relative: &Path,
    leaf: (&Directory, Origin),
    settings: &[Setting],
) -> Result<()> {
    let (leaf, origin) = leaf;
    let set = CPUSET.map(|file| settings.iter().any(|setting| setting.file == file));
    let parent = relative.parent().unwrap_or(Path::new(""));
    if set == [true, true] && parent.as_os_str().is_empty() {
        return Ok(());
    }
    let own = match origin {
        Origin::Made => [String::new(), String::new()],
        Origin::Found => read_cpuset(leaf)?,
    };
    let above = filled_cpuset(root, parent)?;
    for (number, file) in CPUSET.into_iter().enumerate() {
        if !set[number] && own[number].is_empty() {
            write_cpuset(leaf, file, &above[number])?;
        }
    }
    Ok(())
}

/// The CPUs and memory nodes of the cgroup `relative`, given what its parent
/// has where it had none.
fn filled_cpuset(root: &Directory, relative: &Path) -> Result<[String; 2]> {
    let Some(parent) = relative.parent() else {
        return read_cpuset(root);
    };
    let directory = root
        .below(relative)
        .with_context(|| format!("cgroup {}", root.path().join(relative).display()))?;
    let mut own = read_cpuset(&directory)?;
    if own.iter().any(String::is_empty) {
        let above = filled_cpuset(root, parent)?;
        for (number, file) in CPUSET.into_iter().enumerate() {
            if own[number].is_empty() {
                write_cpuset(&directory, file, &above[number])?;
                own[number].clone_from(&above[number]);
            }
        }
    }
    Ok(own)
}

fn read_cpuset(directory: &Directory) -> Result<[String; 2]> {
    let read = |file| {
        directory
            .line(file)
            .with_context(|| format!("read {}/{file}", directory.path().display()))
    };
    Ok([read(CPUSET[0])?, read(CPUSET[1])?])
}

fn write_cpuset(directory: &Directory, file: &str, value: &str) -> Result<()> {
    directory
        .write(file, value)
        .with_context(|| format!("write \"{value}\" to {}/{file}", directory.path().display()))
}
