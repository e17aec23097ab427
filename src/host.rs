//! What the planner needs to know about the host: cgroups, kernel and caller.
//!
//! It is probed once and is a plain value, so that a test can plan for an older kernel
//! or another cgroup layout.

mod interfaces;
mod resctrl;
mod rights;
mod security;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use procfs::process::MountInfo;

use crate::log;
use crate::sys;
use crate::trusted_proc::Proc;
pub(crate) use interfaces::{MINIMUM_RELEASE, interfaces, release};
pub(crate) use resctrl::resctrl_mounts;
pub(crate) use rights::{
    SubordinateIds, is_filtered, missing_capability, subordinate_ids, try_user_namespace,
};
pub(crate) use security::{enforces_apparmor, enforces_selinux, security_modules, uses_selinux};

/// The conventional mount point of cgroup v2, or of the directory in which the
/// hierarchies of cgroup v1 are mounted (cgroups(7)).
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

const CGROUP_MOUNT_REMEDY: &str =
    "in a container, add a writable mount of type cgroup there to that container's mounts";

/// The facts about the host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) cgroups: CgroupLayout,
    pub(crate) kernel: Kernel,
    pub(crate) caller: Caller,
    /// Reads a text file of the host that few containers need. `None` if it cannot be read.
    pub(crate) read_text: fn(&Path) -> Option<String>,
}

/// The user that runs `rt`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// Effective user id.
    pub(crate) uid: u32,
    /// Effective group id.
    pub(crate) gid: u32,
    /// Whether this process is in the initial user namespace.
    pub(crate) initial_user_namespace: bool,
}

impl Caller {
    /// Whether the caller is root in the initial user namespace.
    pub(crate) fn is_host_root(&self) -> bool {
        self.uid == 0 && self.initial_user_namespace
    }
}

/// The inode number of the initial user namespace (`PROC_USER_INIT_INO` in the kernel's
/// include/linux/proc_ns.h, the same since Linux 3.8).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// System calls that some kernels from 5.10 on lack, or that a sandbox around `rt` may
/// refuse. The crate's documentation names the fallback for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// The kernel has mount_setattr(2) (Linux 5.12).
    pub(crate) mount_setattr: bool,
    /// The caller may copy the mounts of its mount namespace and change their attributes.
    pub(crate) may_mount: bool,
}

/// The key of the cgroup v2 hierarchy among those of cgroup v1, as in state.json.
pub(crate) const UNIFIED: &str = "";

/// The host's cgroup hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// cgroup v2 only.
    V2 {
        /// The mount point.
        mount: PathBuf,
        /// The caller's cgroup, as in /proc/self/cgroup.
        own: PathBuf,
    },
    /// cgroup v1, with a hierarchy for each set of controllers.
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// In systemd's hybrid mode, the cgroup v2 hierarchy beside them, with the key
        /// [`UNIFIED`]. It has no controllers; systemd uses it to track services.
        unified: Option<Hierarchy>,
    },
}

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// As in /proc/self/cgroup: `["cpu", "cpuacct"]` or `["name=systemd"]`.
    pub(crate) controllers: Vec<String>,
    /// The mount point.
    pub(crate) mount: PathBuf,
    /// The caller's cgroup, relative to `mount`.
    pub(crate) own: PathBuf,
}

impl Host {
    /// Probes the running host.
    ///
    /// # Errors
    /// When /proc cannot be read, or no cgroup hierarchy is mounted.
    pub(crate) fn probe(proc: &Proc) -> Result<Host> {
        Ok(Host {
            cgroups: cgroup_layout(proc).context("cgroups of the host")?,
            kernel: Kernel::probe(proc),
            caller: Caller::probe()?,
            read_text,
        })
    }
}

impl Caller {
    /// Probes the ids and the user namespace of this process.
    ///
    /// # Errors
    /// When stat(2) of /proc/self/ns/user fails.
    pub(crate) fn probe() -> Result<Caller> {
        let own = "/proc/self/ns/user";
        let (uid, gid) = sys::ids_at_execve();
        Ok(Caller {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            initial_user_namespace: stat(own).context(own)?.st_ino == INITIAL_USER_NAMESPACE,
        })
    }
}

impl Kernel {
    /// Calls mount_setattr(2) with invalid attributes. The kernel checks the flags
    /// first, then the caller's rights, then the attributes (`mount_setattr` in
    /// fs/namespace.c), so the error tells whether the call exists and is permitted.
    fn probe(proc: &Proc) -> Kernel {
        use std::os::fd::AsFd;
        let invalid = sys::MountAttr {
            set: u64::MAX,
            ..sys::MountAttr::default()
        };
        let proc = proc.as_fd();
        let result = sys::mount_setattr(proc, sys::OpenTree::Mount, &invalid);
        if result == Err(Errno::EINVAL) {
            return Kernel {
                mount_setattr: true,
                may_mount: true,
            };
        }
        // The kernel is older, a seccomp filter refuses the call, or the caller may not
        // make it.
        Kernel {
            mount_setattr: sys::has_mount_setattr(),
            may_mount: sys::open_tree(proc, c"", sys::OpenTree::Mount).is_ok(),
        }
    }
}

fn cgroup_layout(proc: &Proc) -> Result<CgroupLayout> {
    let own = own_cgroups(
        &proc
            .read_record("self/cgroup")
            .context("/proc/self/cgroup")?,
    );
    let root = statfs(CGROUP_ROOT).map_err(no_cgroup_root)?;
    if root.filesystem_type() == CGROUP2_SUPER_MAGIC {
        return Ok(CgroupLayout::V2 {
            mount: PathBuf::from(CGROUP_ROOT),
            own: own
                .into_iter()
                .find(|(controllers, _)| controllers.is_empty())
                .map_or_else(|| PathBuf::from("/"), |(_, path)| path),
        });
    }
    let mounts = proc.mounts("self").context("/proc/self/mountinfo")?;
    let (mut hierarchies, mut unified) = (Vec::new(), None);
    for (mut controllers, own) in own {
        let is_hierarchy = |mount: &&MountInfo| {
            if controllers.is_empty() {
                mount.fs_type == "cgroup2" && mount.mount_point.starts_with(CGROUP_ROOT)
            } else {
                let has = |name: &String| has_option(&mount.super_options, name);
                mount.fs_type == "cgroup" && controllers.iter().all(has)
            }
        };
        let Some(mount) = mounts.iter().find(is_hierarchy) else {
            continue;
        };
        // In a container the mount may show only a part of the hierarchy.
        let relative = own
            .strip_prefix(&mount.root)
            .map(|path| PathBuf::from("/").join(path));
        let own = relative.unwrap_or(own);
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
        if is_unified {
            unified = Some(hierarchy);
        } else {
            hierarchies.push(hierarchy);
        }
    }
    anyhow::ensure!(
        !hierarchies.is_empty(),
        "no cgroup file system is mounted below {CGROUP_ROOT}; {CGROUP_MOUNT_REMEDY}"
    );
    Ok(CgroupLayout::V1 {
        hierarchies,
        unified,
    })
}

fn no_cgroup_root(errno: Errno) -> anyhow::Error {
    let remedy = (errno == Errno::ENOENT).then(|| CGROUP_MOUNT_REMEDY.to_owned());
    log::hinted(errno, remedy).context(CGROUP_ROOT)
}

/// Whether a mount's options contain `name`, which may have the form `key=value`.
fn has_option(options: &std::collections::HashMap<String, Option<String>>, name: &str) -> bool {
    match name.split_once('=') {
        Some((key, value)) => options
            .get(key)
            .is_some_and(|v| v.as_deref() == Some(value)),
        None => options.contains_key(name),
    }
}

/// Parses the lines `ID:CONTROLLERS:PATH` of /proc/PID/cgroup (cgroups(7)). The list of
/// controllers is empty for cgroup v2.
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

/// The most of a text file that is read, such as /etc/passwd.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The text of /etc/passwd, empty if there is none. getpwuid(3) would load the libraries that
/// /etc/nsswitch.conf names.
pub(crate) fn read_passwd() -> String {
    // After an error, users are shown by number, as on a host without the file.
    read_text(Path::new("/etc/passwd")).unwrap_or_default()
}

/// The first [`MAX_TEXT_BYTES`] of a file. `None` if it cannot be read.
fn read_text(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_TEXT_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The name that the text of /etc/passwd gives a user.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.len() > 3 && fields.get(2) == Some(&uid.as_str()));
    found.and_then(|fields| fields.first().map(|name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_cgroup_versions_are_parsed() {
        let own = own_cgroups("3:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/user.slice\n");
        assert_eq!(
            own[0],
            (vec!["cpu".into(), "cpuacct".into()], "/a:b".into())
        );
        assert_eq!(own[1].0, ["name=systemd"]);
        assert_eq!(own[2], (vec![], "/user.slice".into()));
    }
}
