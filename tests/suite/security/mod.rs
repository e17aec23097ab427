//! Known attacks on container runtimes, one test each, and related classes of attack.
//!
//! | test | attack |
//! |---|---|
//! | `cve_2016_3697_…` | a user name in the image's passwd that looks like a number |
//! | `cve_2019_16884_…` | a mount over /proc that takes labels and profiles away |
//! | `cve_2019_19921_…`, `cve_2023_27561_…` | /proc or /sys of the image is a symbolic link |
//! | `cve_2021_30465_…` | a directory on the way to a mount point swapped for a link |
//! | `cve_2022_29162_…` | inheritable capabilities that config.json does not ask for |
//! | `cve_2024_21626_…` | a working directory or program through a leaked descriptor |
//! | `cve_2024_45310_…` | mount points created through a link swapped in |
//! | `cve_2025_23266_…` | a hook with the environment and directory of the container, in `hooks` |
//! | `cve_2025_31133_…` | the image's /dev/null is not a null device |
//! | `…_at_execve…`, `the_interpreter_of_…` | an interpreter behind a descriptor that is still open at execve(2) |
//! | `…_cannot_be_changed`, `…_not_the_hosts_null_device` | mode, owner and times of a host file changed by the container's root |
//! | `proc_…` | /proc swapped for a link between its mount and its masks |
//! | `links_…` | links in the image where the runtime creates or mounts |
//! | `sysctls_…` | names that leave the namespaces or /proc/sys |
//! | `passwd_…` | a user database that blocks, is huge, or is no file |
//! | `after_a_killed_…` | the runtime is killed at any of its system calls |

mod descriptors;
mod escapes;
mod images;
mod inodes;
mod interpreters;
mod kills;
mod program;
mod races;
mod streams;

pub(crate) use kills::sweep;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        descriptors::tests(),
        escapes::tests(),
        images::tests(),
        inodes::tests(),
        interpreters::tests(),
        kills::tests(),
        program::tests(),
        races::tests(),
        streams::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
