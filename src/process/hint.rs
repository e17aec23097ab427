//! Hints at what remedies a failed step of a process, where that is nearly always the same.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Process, capabilities, rlimits, scheduling};
use crate::pathname::{Access, User, View};
use crate::step::{Cause, Failure, Refusal, Step};

const FILTER_HINT: &str = "a filter needs CAP_SYS_ADMIN or process.noNewPrivileges";

/// Advice about a failure, from the position and the errno alone.
pub(crate) fn hint(Failure { step, item, cause }: Failure) -> Option<String> {
    let Cause::Errno(errno) = cause else {
        return None;
    };
    let hint = match (step, errno) {
        (Step::Capabilities, Errno::EPERM) if item == capabilities::TEMPORARY => FILTER_HINT,
        (Step::Seccomp, Errno::EACCES) => FILTER_HINT,
        (Step::Seccomp, Errno::EAGAIN) => {
            "to hand over the listener of SCMP_ACT_NOTIFY takes a second task; raise linux.resources.pids.limit, or RLIMIT_NPROC"
        }
        (Step::Seccomp, Errno::ENOSYS | Errno::EPERM) => {
            "SCMP_ACT_NOTIFY needs userfaultfd(2): CONFIG_USERFAULTFD"
        }
        (Step::Seccomp, Errno::EINVAL) => "does this kernel have CONFIG_SECCOMP_FILTER?",
        (Step::SelinuxLabel | Step::Keyring, Errno::EINVAL) => {
            "the policy that is loaded does not have this label"
        }
        (Step::SelinuxLabel | Step::Keyring, Errno::EACCES) => {
            "the policy forbids rt to set it; see ausearch -m avc"
        }
        (Step::AppArmor, Errno::ENOENT) => "is the profile loaded?",
        (Step::OomScore, Errno::EACCES | Errno::EPERM) => {
            "a score below the caller's needs CAP_SYS_RESOURCE"
        }
        (Step::IoPriority, Errno::EPERM) => scheduling::REAL_TIME_HINT,
        (Step::Keyring, Errno::EDQUOT) => {
            "the user has too many keys, see kernel.keys.maxkeys; --no-new-keyring does without one"
        }
        (Step::Keyring, Errno::ENOSYS) => {
            "does this kernel have CONFIG_KEYS? --no-new-keyring does without"
        }
        (Step::Groups, Errno::EPERM) => {
            "does the user namespace deny setgroups(2)? see /proc/PID/setgroups"
        }
        (Step::Groups | Step::Gid | Step::Uid, Errno::EINVAL) => {
            "the id is not mapped in the user namespace"
        }
        (Step::InitProgram, Errno::EACCES) => {
            "the file of rt must be executable for all users: chmod a+rx"
        }
        (Step::InitProcess, Errno::EAGAIN) => {
            "PID 1 and the process are two processes; raise linux.resources.pids.limit, or RLIMIT_NPROC"
        }
        (Step::MemoryPolicy, Errno::EINVAL) => {
            "no node of the list is in the cpuset, or this kernel does not combine this mode with these flags"
        }
        (Step::MemoryPolicy, Errno::ENOSYS) => "does this kernel have CONFIG_NUMA?",
        (Step::Affinity, Errno::EINVAL) => "none of these CPUs is online and in its cpuset",
        (Step::Limit, errno) => rlimits::hint(errno)?,
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The host's ids for those of the container. `None` for an id that is not known.
pub(crate) struct HostIds<'a> {
    pub(crate) uid: &'a dyn Fn(u32) -> Option<u32>,
    pub(crate) gid: &'a dyn Fn(u32) -> Option<u32>,
    /// Whether a uid and a gid of the host are both mapped.
    pub(crate) maps: &'a dyn Fn(u32, u32) -> bool,
}

impl Process {
    /// The file that made a step fail, if it was a file of the container: the executable or the
    /// working directory. For a name that is not in PATH, the directory where a search starts.
    pub(crate) fn path_of(&self, Failure { step, cause, .. }: Failure) -> Option<Cow<'_, Path>> {
        let directory = self.working_directory.path();
        match (step, cause) {
            (Step::WorkingDirectory, Cause::Errno(_)) => Some(Cow::Borrowed(directory)),
            (Step::Executable, Cause::Errno(_)) => {
                let path = self.command.path()?;
                Some(Cow::Owned(directory.join(path)))
            }
            (Step::Executable, Cause::Refused(Refusal::NotInPath)) => {
                Some(Cow::Borrowed(directory))
            }
            _ => None,
        }
    }

    /// What made the file of [`Process::path_of`] fail, found in the container's root.
    pub(crate) fn path_hint(&self, failure: Failure, view: &View, ids: &HostIds) -> Option<String> {
        let user = self.user(ids)?;
        let path = self.path_of(failure)?;
        match (failure.step, failure.cause) {
            (Step::WorkingDirectory, Cause::Errno(errno)) => {
                view.obstacle(&path, errno, &user, Access::Search)
            }
            (Step::Executable, Cause::Errno(errno)) => {
                view.obstacle(&path, errno, &user, Access::Execute)
            }
            (Step::Executable, Cause::Refused(Refusal::NotInPath)) => {
                let candidates = self.command.candidates();
                let candidates = candidates.map(|name| path.join(OsStr::from_bytes(name)));
                self.not_in_path(candidates, view, &user)
            }
            _ => None,
        }
    }

    /// The first candidate that exists, and why it cannot be executed; or that PATH is missing.
    fn not_in_path(
        &self,
        mut candidates: impl Iterator<Item = PathBuf>,
        view: &View,
        user: &User,
    ) -> Option<String> {
        candidates
            .find_map(|path| view.obstacle(&path, Errno::EACCES, user, Access::Execute))
            .or_else(|| {
                let without = "process.env has no PATH, so /bin and /usr/bin were searched";
                (!self.command.has_path_variable()).then(|| without.to_owned())
            })
    }

    /// The process's user, as the host sees it.
    fn user<'a>(&self, ids: &'a HostIds) -> Option<User<'a>> {
        let uid = self.uid();
        let outside = (ids.uid)(uid)?;
        let gids = self.gids().into_iter().map(|(_, gid)| (ids.gid)(gid));
        let mut gids: Vec<u32> = gids.collect::<Option<_>>()?;
        if self.keeps_groups() {
            gids.extend(User::caller().gids);
        }
        Some(User {
            name: if outside == uid {
                format!("uid {uid}")
            } else {
                format!("uid {uid}, on the host {outside},")
            },
            uid: outside,
            gids,
            overrides: if self.overrides_modes() {
                ids.maps
            } else {
                &|_, _| false
            },
        })
    }

    /// Whether the process has CAP_DAC_OVERRIDE.
    fn overrides_modes(&self) -> bool {
        self.capabilities.has(caps::Capability::CAP_DAC_OVERRIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_belongs_to_a_step_an_item_and_an_errno() {
        let hint = |step, item, errno| {
            let cause = Cause::Errno(errno);
            hint(Failure { step, item, cause })
        };
        let filter = Some(FILTER_HINT.to_owned());
        assert_eq!(hint(Step::Seccomp, 0, Errno::EACCES), filter);
        assert_eq!(hint(Step::Capabilities, 2, Errno::EPERM), filter);
        assert_eq!(hint(Step::Capabilities, 0, Errno::EPERM), None);
        assert_eq!(hint(Step::Limit, 0, Errno::EINVAL), None);
        assert!(hint(Step::Limit, 0, Errno::EPERM).is_some());
    }
}
