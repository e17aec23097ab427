//! The mount options of cgroup v2, which are those of the whole host.
//!
//! CRIU mounts cgroup v2 without any option, and the kernel then clears those of every mount of it,
//! such as `nsdelegate`, without which a container may change its own limits.

use std::ffi::CString;
use std::os::fd::AsFd;

use anyhow::{Context, Result};

use crate::sys::{self, FsConfig};
use crate::trusted_proc::Proc;

/// Those that the kernel shows beside `rw` and `ro`. Nothing if cgroup v2 is not mounted.
#[derive(PartialEq, Eq)]
pub(super) struct HierarchyOptions(Vec<String>);

impl HierarchyOptions {
    pub(super) fn read(proc: &Proc) -> Result<HierarchyOptions> {
        let mounts = proc.mounts("self").context("mountinfo")?;
        let unified = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2");
        let options = unified.map(|mount| mount.super_options).unwrap_or_default();
        let names = options
            .into_keys()
            .filter(|name| name != "rw" && name != "ro");
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(HierarchyOptions(names))
    }

    /// Sets them again if they are others now.
    pub(super) fn put_back(&self, proc: &Proc) -> Result<()> {
        if HierarchyOptions::read(proc)? == *self {
            return Ok(());
        }
        const SUBJECT: &str = "put back the mount options of cgroup v2";
        // The kernel takes the options of each new mount for all.
        let context = sys::fsopen(c"cgroup2").context(SUBJECT)?;
        for name in &self.0 {
            let name = CString::new(name.as_str()).context(SUBJECT)?;
            sys::fsconfig(context.as_fd(), FsConfig::Flag(&name)).context(SUBJECT)?;
        }
        sys::fsconfig(context.as_fd(), FsConfig::Create).context(SUBJECT)
    }
}
