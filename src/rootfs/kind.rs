//! What one entry of `mounts` is: a bind mount, a file system, the cgroups.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::cgroup::CgroupMount;
use super::facts::Facts;
use super::filesystem::FileSystem;
use super::options::{Options, Parameter, Recursion};
use crate::log;

#[derive(Debug)]
pub(super) enum Kind {
    Bind {
        source: PathBuf,
        recursion: Recursion,
    },
    FileSystem(FileSystem),
    Cgroup(CgroupMount),
}

impl Kind {
    pub(super) fn plan(
        mount: &oci_spec::runtime::Mount,
        name: &str,
        bundle: &Path,
        options: Options,
        facts: &Facts,
    ) -> anyhow::Result<Kind> {
        let source = mount.source().as_deref();
        let bind = name == "bind" || options.bind.is_some();
        ensure!(
            !options.copy_up || name == "tmpfs" && !bind,
            "options: tmpcopyup: only a tmpfs begins with a copy"
        );
        if bind {
            let of_a_mount = |option: &&Parameter| !option.is_of_a_volume();
            if let Some(option) = options.data.iter().find(of_a_mount) {
                bail!(
                    "options: {option}: bind mounts cannot have any filesystem-specific options applied"
                );
            }
            for flag in &options.superblock {
                log::warn_later(format!(
                    "mounts: {}: {flag} is of the file system, not of a bind mount: left out",
                    mount.destination().display()
                ));
            }
            let source = source.filter(|path| !path.as_os_str().is_empty());
            let source = source.context("source: a bind mount needs one")?;
            return Ok(Kind::Bind {
                source: bundle.join(source),
                recursion: options.bind.unwrap_or(Recursion::One),
            });
        }
        if name == "cgroup" || name == "cgroup2" {
            ensure!(
                options.data.is_empty(),
                "options: a cgroup mount takes none of its own"
            );
            return Ok(Kind::Cgroup(CgroupMount::plan(name, facts)));
        }
        if name.is_empty() || name == "none" {
            bail!("type: neither a file system nor, by its options, a bind mount");
        }
        let filesystem = FileSystem::plan(name, source, options)?;
        Ok(Kind::FileSystem(filesystem))
    }
}
