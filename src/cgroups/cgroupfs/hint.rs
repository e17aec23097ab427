//! Hints at why the kernel refuses a write to a cgroup, where that is nearly always the same.

use caps::Capability;
use nix::errno::Errno;

use super::huge_page_sizes::huge_page_sizes;
use crate::cgroups::directory::Directory;
use crate::cgroups::plan::huge_pages;
use crate::cgroups::plan::setting::{CPUSET, Setting};
use crate::host::missing_capability;

/// The files that only some kernels have, by the beginning of their names.
const OPTIONAL_FILES: [(&str, &str); 15] = [
    (
        "memory.memsw.",
        "this kernel does not count swap; boot it with swapaccount=1",
    ),
    (
        "memory.swap.",
        "this kernel does not count swap; boot it with swapaccount=1",
    ),
    ("cpu.rt_", "this kernel has no CONFIG_RT_GROUP_SCHED"),
    ("cpu.cfs_burst_us", "needs Linux 5.14"),
    ("cpu.max.burst", "needs Linux 5.14"),
    ("cpu.idle", "needs Linux 5.15"),
    ("cpu.cfs_", "this kernel has no CONFIG_CFS_BANDWIDTH"),
    ("cpu.max", "this kernel has no CONFIG_CFS_BANDWIDTH"),
    (
        "blkio.throttle.",
        "this kernel has no CONFIG_BLK_DEV_THROTTLING",
    ),
    ("io.max", "this kernel has no CONFIG_BLK_DEV_THROTTLING"),
    (
        "blkio.bfq.",
        "this kernel has no BFQ scheduler (is the module bfq loaded?)",
    ),
    (
        "blkio.leaf_weight",
        "Linux 5.0 has removed it with the CFQ scheduler",
    ),
    (
        "io.weight",
        "this kernel has neither the BFQ scheduler (is the module bfq loaded?) nor CONFIG_BLK_CGROUP_IOCOST",
    ),
    (
        "io.bfq.weight",
        "this kernel has no BFQ scheduler (is the module bfq loaded?)",
    ),
    ("hugetlb.", "this kernel has no huge pages of that size"),
];

impl Setting {
    /// Why the kernel refuses to write this setting to a file of `directory`.
    pub(super) fn hint(&self, errno: Errno, directory: &Directory) -> Option<String> {
        let hint = match errno {
            Errno::EPERM if self.controller == "devices" => {
                return missing_capability(errno, &[Capability::CAP_SYS_ADMIN]);
            }
            Errno::ENOENT if self.controller == huge_pages::CONTROLLER => match huge_page_sizes() {
                Some(sizes) => {
                    return Some(format!("this host has huge pages of {}", sizes.join(", ")));
                }
                None => missing_file(&self.file),
            },
            Errno::ENOENT => missing_file(&self.file),
            Errno::EOPNOTSUPP if self.file.contains("weight") => {
                "the I/O scheduler of the disk has no weights, see /sys/block/*/queue/scheduler"
            }
            Errno::EOPNOTSUPP if is_threaded(directory) => {
                "the cgroup is threaded and has no limits for whole processes"
            }
            // The versions of the kernel, and of cgroups, differ in this errno.
            Errno::EINVAL | Errno::ERANGE | Errno::EACCES | Errno::ENOSPC
                if CPUSET.contains(&self.file.as_ref()) =>
            {
                return parents_cpuset(&self.file, directory);
            }
            Errno::EINVAL if matches!(self.file.as_ref(), "cpu.max" | "cpu.cfs_quota_us") => {
                "a quota is at least 1000, and quota/period at most the parent's"
            }
            Errno::EINVAL if self.file == "cpu.cfs_period_us" => {
                "a period is 1000 to 1000000, and quota/period at most the parent's"
            }
            Errno::EINVAL if self.file.starts_with("cpu.rt_") => {
                "more than the parent cgroup has left, see its cpu.rt_runtime_us"
            }
            Errno::ENODEV if self.controller == "blkio" || self.controller == "io" => {
                "no disk has these numbers; a partition has no limits of its own"
            }
            Errno::ENODEV if self.controller == "rdma" => {
                "no RDMA device of the host has this name, see /sys/class/infiniband"
            }
            Errno::ENODEV if self.controller == "net_prio" => {
                "no network interface of the host has this name"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Why a cgroup takes no process.
pub(super) fn process_hint(errno: Errno, directory: &Directory) -> Option<String> {
    let hint = match errno {
        Errno::EBUSY => "a cgroup that enables controllers for cgroups below it takes no process",
        Errno::EOPNOTSUPP if is_threaded(directory) => "the cgroup is threaded",
        Errno::EOPNOTSUPP => "the cgroup is below a threaded one",
        Errno::ENOSPC => "its cpuset.cpus or cpuset.mems is empty",
        Errno::EAGAIN => "pids.max of the cgroup, or of one above it, is reached",
        Errno::ENODEV => "the cgroup was removed meanwhile",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Why a cgroup cannot be made.
pub(super) fn directory_hint(errno: Errno) -> Option<String> {
    let hint = match errno {
        Errno::EAGAIN => "cgroup.max.depth or cgroup.max.descendants of a parent is reached",
        Errno::ENOSPC => "the hierarchy has the most cgroups that the kernel can count",
        Errno::EROFS => {
            "in a container, the option of that container's cgroup mount must be \"rw\", not \"ro\""
        }
        Errno::ENOTDIR => "a component of the path is no cgroup but a file of one",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn missing_file(file: &str) -> &'static str {
    let mut known = OPTIONAL_FILES.iter();
    let found = known.find(|(start, _)| file.starts_with(start));
    found.map_or("this kernel has no such file", |(_, hint)| hint)
}

fn is_threaded(directory: &Directory) -> bool {
    let cgroup_type = directory.read_page("cgroup.type");
    cgroup_type.is_ok_and(|cgroup_type| cgroup_type == "threaded")
}

/// The CPUs or memory nodes of the parent cgroup, of which a cgroup can have a part.
fn parents_cpuset(file: &str, directory: &Directory) -> Option<String> {
    let parent = Directory::open(directory.path().parent()?).ok()?;
    let name = file.strip_prefix("cpuset.")?;
    let effective = [
        format!("cpuset.{name}.effective"),
        format!("cpuset.effective_{name}"),
    ];
    let list = effective
        .iter()
        .find_map(|file| parent.read_page(file).ok());
    Some(format!("the parent cgroup has {name} {}", list?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_explained_by_the_longest_known_name() {
        assert_eq!(missing_file("cpu.max.burst"), "needs Linux 5.14");
        assert_eq!(
            missing_file("cpu.max"),
            "this kernel has no CONFIG_CFS_BANDWIDTH"
        );
        assert_eq!(missing_file("no.such"), "this kernel has no such file");
    }
}
