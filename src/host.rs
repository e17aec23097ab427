//! Facts about this machine, asked once: a plain value, so that a test can
//! hand the planner an older kernel or another cgroup layout.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::stat;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};
use procfs::FromRead;
use procfs::process::{MountInfo, MountInfos};

use crate::sys;
use crate::trusted_proc::Proc;

/// Where version 2 alone is mounted by convention, and version 1 below it
/// (cgroups(7), systemd's file hierarchy).
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// What the planner needs to know about the machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) cgroups: CgroupLayout,
    pub(crate) kernel: Kernel,
    pub(crate) caller: Caller,
}

/// Who runs this, as the machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The effective ids.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In the user namespace that the machine started with.
    pub(crate) initial_user_namespace: bool,
}

impl Caller {
    /// Root of the machine, whom files and devices obey.
    pub(crate) fn is_host_root(&self) -> bool {
        self.uid == 0 && self.initial_user_namespace
    }
}

/// The inode of the first user namespace (`PROC_USER_INIT_INO` in the kernel's
/// include/linux/proc_ns.h, the same since Linux 3.8).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// Calls that not every kernel from 5.10 on has, or that a sandbox around
/// `rt` refuses. Each has one fallback, named in the crate's documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// mount_setattr(2), Linux 5.12.
    pub(crate) mount_setattr: bool,
    /// The caller may copy and change the mounts of its mount namespace.
    pub(crate) may_mount: bool,
}

/// What version 2 is called among the controllers of version 1, as in state.json.
pub(crate) const UNIFIED: &str = "";

/// How the machine arranges its cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// One tree for everything.
    V2 {
        /// Where it is mounted.
        mount: PathBuf,
        /// The caller's own place in it, as /proc/self/cgroup says.
        own: PathBuf,
    },
    /// A tree for each set of controllers.
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// "Hybrid": the tree of version 2 beside them, under [`UNIFIED`], in
        /// which nobody is limited, but services are found.
        unified: Option<Hierarchy>,
    },
}

/// One tree of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// As /proc/self/cgroup names them: `["cpu", "cpuacct"]`, `["name=systemd"]`.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The caller's own place in it, relative to `mount`.
    pub(crate) own: PathBuf,
}

impl Host {
    /// Asks the running machine.
    ///
    /// # Errors
    /// When /proc cannot be read, or no cgroups are mounted.
    pub(crate) fn probe(proc: &Proc) -> Result<Host> {
        Ok(Host {
            cgroups: cgroup_layout(proc).context("cgroups of this machine")?,
            kernel: Kernel::probe(proc),
            caller: Caller::probe()?,
        })
    }
}

impl Caller {
    /// # Errors
    /// When /proc/self/ns/user cannot be looked at.
    pub(crate) fn probe() -> Result<Caller> {
        let own = "/proc/self/ns/user";
        Ok(Caller {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            initial_user_namespace: stat(own).context(own)?.st_ino == INITIAL_USER_NAMESPACE,
        })
    }
}

/// Whether somebody on this machine enforces profiles of AppArmor (apparmor(7)).
pub(crate) fn enforces_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text == b"Y\n")
}

impl Kernel {
    /// A call that can only fail tells whether it exists, and whether this
    /// caller may make it: the kernel looks at its flags, then at the caller's
    /// rights, then at its arguments (`mount_setattr` in fs/namespace.c).
    fn probe(proc: &Proc) -> Kernel {
        use std::os::fd::AsFd;
        let impossible = sys::MountAttr {
            set: u64::MAX,
            ..sys::MountAttr::default()
        };
        let proc = proc.as_fd();
        let asked = sys::mount_setattr(proc, sys::OpenTree::Mount, &impossible);
        if asked == Err(Errno::EINVAL) {
            return Kernel {
                mount_setattr: true,
                may_mount: true,
            };
        }
        // An older kernel, a filter around `rt` that refuses the call, or a
        // caller without the right to it.
        Kernel {
            mount_setattr: sys::has_mount_setattr(),
            may_mount: sys::open_tree(proc, c"", sys::OpenTree::Mount).is_ok(),
        }
    }
}

fn cgroup_layout(proc: &Proc) -> Result<CgroupLayout> {
    let own = own_cgroups(&proc.read("self/cgroup").context("/proc/self/cgroup")?);
    let root = statfs(CGROUP_ROOT).context(CGROUP_ROOT)?;
    if root.filesystem_type() == CGROUP2_SUPER_MAGIC {
        return Ok(CgroupLayout::V2 {
            mount: PathBuf::from(CGROUP_ROOT),
            own: own
                .into_iter()
                .find(|(controllers, _)| controllers.is_empty())
                .map_or_else(|| PathBuf::from("/"), |(_, path)| path),
        });
    }
    let mounts = MountInfos::from_read(
        proc.file("self/mountinfo", OFlag::O_RDONLY)
            .context("/proc/self/mountinfo")?,
    )
    .context("/proc/self/mountinfo")?;
    let (mut hierarchies, mut unified) = (Vec::new(), None);
    for (mut controllers, own) in own {
        let is_tree = |mount: &&MountInfo| match controllers.is_empty() {
            true => mount.fs_type == "cgroup2" && mount.mount_point.starts_with(CGROUP_ROOT),
            false => {
                let has = |name: &String| has_option(&mount.super_options, name);
                mount.fs_type == "cgroup" && controllers.iter().all(has)
            }
        };
        let Some(mount) = mounts.iter().find(is_tree) else {
            continue;
        };
        // Inside a container the mount may show a part of the tree only.
        let below = own
            .strip_prefix(&mount.root)
            .map(|path| PathBuf::from("/").join(path));
        let own = below.unwrap_or(own);
        let mount = mount.mount_point.clone();
        let is_unified = controllers.is_empty();
        if is_unified {
            controllers.push(UNIFIED.to_owned());
        }
        let hierarchy = Hierarchy {
            controllers,
            mount,
            own,
        };
        match is_unified {
            true => unified = Some(hierarchy),
            false => hierarchies.push(hierarchy),
        }
    }
    anyhow::ensure!(
        !hierarchies.is_empty(),
        "no cgroup file system is mounted below {CGROUP_ROOT}"
    );
    Ok(CgroupLayout::V1 {
        hierarchies,
        unified,
    })
}

/// Whether a mount's options hold `name`, which may itself be `key=value`.
fn has_option(options: &std::collections::HashMap<String, Option<String>>, name: &str) -> bool {
    match name.split_once('=') {
        Some((key, value)) => options
            .get(key)
            .is_some_and(|v| v.as_deref() == Some(value)),
        None => options.contains_key(name),
    }
}

/// The lines `ID:CONTROLLERS:PATH` of /proc/PID/cgroup (cgroups(7)); no
/// controllers for version 2.
fn own_cgroups(text: &str) -> Vec<(Vec<String>, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let controllers = controllers
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            Some((controllers, PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_versions_are_read() {
        let own = own_cgroups("3:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/user.slice\n");
        assert_eq!(
            own[0],
            (vec!["cpu".into(), "cpuacct".into()], "/a:b".into())
        );
        assert_eq!(own[1].0, ["name=systemd"]);
        assert_eq!(own[2], (vec![], "/user.slice".into()));
    }
}
