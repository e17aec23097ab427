//! The kinds of mount: bind mount, new file system, cgroups; and a file that `rt` writes.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::cgroup::CgroupMount;
use super::facts::{Facts, GeneratedFile};
use super::filesystem::FileSystem;
use super::options::{self, Options, Recursion};
use super::parameter::Parameter;
use super::remount::Remount;
use crate::log;

#[derive(Debug)]
pub(super) enum Kind {
    Bind {
        source: PathBuf,
        recursion: Recursion,
    },
    FileSystem(FileSystem),
    Cgroup(CgroupMount),
    /// A change of an earlier mount.
    Remount(Remount),
    /// Not of `mounts`: added for a feature of `rt`'s own.
    Generated(GeneratedFile),
}

impl Kind {
    /// As mountinfo shows it. Empty for what is not a new file system.
    pub(super) fn fs_type(&self) -> String {
        match self {
            Kind::FileSystem(FileSystem { fs_type, .. }) => fs_type.to_string_lossy().into_owned(),
            Kind::Cgroup(mount) => mount.fs_type().to_owned(),
            Kind::Bind { .. } | Kind::Remount(_) | Kind::Generated(_) => String::new(),
        }
    }

    pub(super) fn plan(
        mount: &oci_spec::runtime::Mount,
        mount_type: &str,
        bundle: &Path,
        options: Options,
        facts: &Facts,
    ) -> anyhow::Result<Kind> {
        let source = mount.source().as_deref();
        let bind = mount_type == "bind" || options.bind.is_some();
        ensure!(
            !options.copy_up || mount_type == "tmpfs" && !bind && !options.remount,
            "options: tmpcopyup: only a tmpfs can start with a copy"
        );
        if options.remount {
            return Ok(Kind::Remount(Remount::plan(options)?));
        }
        if bind {
            let is_filesystem_option = |option: &&Parameter| !option.is_volume_option();
            if let Some(option) = options.data.iter().find(is_filesystem_option) {
                let remedy = options::likely(&option.to_string());
                let remedy = remedy.map(|name| format!("; did you mean {name:?}?"));
                bail!(
                    "options: {option}: bind mounts cannot have any filesystem-specific options applied{}",
                    remedy.unwrap_or_default()
                );
            }
            for flag in &options.superblock {
                log::defer_warning(format!(
                    "mounts: {}: {flag} is an option of a file system, not of a bind mount: left out",
                    mount.destination().display()
                ));
            }
            let source = source.filter(|path| !path.as_os_str().is_empty());
            let source = source.context("source: required for a bind mount")?;
            return Ok(Kind::Bind {
                source: bundle.join(source),
                recursion: options.bind.unwrap_or(Recursion::MountOnly),
            });
        }
        if mount_type == "cgroup" || mount_type == "cgroup2" {
            if let Some(option) = options.data.first() {
                bail!("options: {option}: a cgroup mount has no options of its own; remove it");
            }
            return Ok(Kind::Cgroup(CgroupMount::plan(mount_type, facts)));
        }
        if mount_type.is_empty() || mount_type == "none" {
            bail!("type: required, such as \"tmpfs\", unless the options make it a bind mount");
        }
        let filesystem = FileSystem::plan(mount_type, source, options, facts)?;
        Ok(Kind::FileSystem(filesystem))
    }
}
