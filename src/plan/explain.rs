//! Writes the error for a failed step: the place in config.json, the action, the reason, and a
//! hint at what nearly always remedies it.
//!
//! The runtime looks for hints only after the failure, so they cost nothing otherwise. Each
//! feature module has those for its steps; this module asks them in turn, and lends the process
//! a view of the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::anyhow;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::{ExecPlan, Plan, privileges};
use crate::cgroups::CgroupJoin;
use crate::log;
use crate::namespaces::{Kind, Place};
use crate::pathname::{User, View};
use crate::process::{self, HostIds};
use crate::step::{Cause, Failure, Refusal, Step};

/// For an errno that no step explains.
const MISSING_SYSTEM_CALL: &str =
    "rt needs Linux 5.10 or later; does a seccomp filter of the caller forbid the system call?";

impl Plan {
    /// The error message for a failure of init, without verb and container id.
    pub(crate) fn explain(&self, failure: Failure) -> anyhow::Error {
        let Failure { step, item, cause } = failure;
        let description = match cause {
            Cause::Parameter(index, _) => self.rootfs.describe_parameter(step, item, index),
            Cause::Refused(_) => self.rootfs.describe_refused(step, item),
            Cause::Errno(_) | Cause::Exit(_) | Cause::Signal(_) | Cause::TimedOut(_) => None,
        };
        let description = description
            .or_else(|| self.describe(step, item))
            .unwrap_or_else(|| ("init".into(), format!("{step:?}")));
        let maps = |uid, gid| self.namespaces.maps_outside(uid, gid);
        // In a user namespace of its own, init has all capabilities. Only the runtime may lack
        // one, for the cgroup in which it creates init.
        let uses_callers = *self.namespaces.place(Kind::User) == Place::Shared
            || (step, cause) == (Step::Clone, Errno::EACCES.into());
        let missing = || privileges::missing_capability(failure).filter(|_| uses_callers);
        let hint = missing()
            .or_else(|| self.process_hint(failure))
            .or_else(|| self.rootfs.hint(failure, &self.root_user(&maps)))
            .or_else(|| self.namespaces.hint(failure))
            .or_else(|| process::hint(failure))
            .or_else(|| privileges::filter_hint(failure));
        error_message(&description, failure, hint)
    }

    /// The user who builds the container: root of its user namespace, or the caller.
    fn root_user<'a>(&self, maps: &'a dyn Fn(u32, u32) -> bool) -> User<'a> {
        match self.namespaces.root_outside() {
            Some((uid, gid)) => User {
                name: format!("the container's root, uid {uid} on the host,"),
                uid,
                gids: vec![gid],
                overrides: maps,
            },
            None => User::caller(),
        }
    }

    /// A hint about a file that the process could not use. It is looked for in the root as the
    /// host sees it, unless a mount of the container hides it there.
    fn process_hint(&self, failure: Failure) -> Option<String> {
        let path = self.process.path_of(failure)?;
        if failure.cause == Cause::Errno(Errno::EROFS) {
            return Some(self.rootfs.readonly_hint(&path, usize::MAX));
        }
        let root = self.rootfs.open_path()?;
        let hides = |path: &Path| self.rootfs.hides(path);
        let ids = HostIds {
            uid: &|uid| self.namespaces.outside(uid),
            gid: &|gid| self.namespaces.outside_gid(gid),
            maps: &|uid, gid| self.namespaces.maps_outside(uid, gid),
        };
        let view = View::below(root.as_fd(), Some(&hides));
        let hint = self.process.path_hint(failure, &view, &ids);
        let may_be_noexec =
            (failure.step, failure.cause) == (Step::Executable, Errno::EACCES.into());
        hint.or_else(|| self.rootfs.noexec_hint(&path).filter(|_| may_be_noexec))
    }

    /// The place in config.json and the action of a position.
    pub(super) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        self.process
            .describe(step, item)
            .or_else(|| self.hooks.describe(step, item))
            .or_else(|| self.namespaces.describe(step, item))
            .or_else(|| self.rootfs.describe(step, item))
    }
}

impl ExecPlan {
    /// The error message for a failure of the process, without verb and container id. `root` is
    /// the container's root, if it can be opened.
    pub(crate) fn explain(
        &self,
        failure: Failure,
        cgroup_join: &CgroupJoin,
        root: impl FnOnce() -> Option<OwnedFd>,
    ) -> anyhow::Error {
        let Failure { step, item, .. } = failure;
        let description = self
            .process
            .describe(step, item)
            .or_else(|| cgroup_join.describe(step, item))
            .unwrap_or_else(|| {
                let action = match step {
                    Step::JoinContainer => "enter its namespaces",
                    Step::NamespaceRoot => "become root of its user namespace",
                    Step::Terminal => "open a terminal of its /dev/pts",
                    Step::Clone => "make a process in it",
                    _ => "join it",
                };
                ("container".to_owned(), action.to_owned())
            });
        // The namespaces are entered with the capabilities of this process in its own.
        let uses_own = step == Step::JoinContainer || !self.membership.has(Kind::User);
        let missing = || privileges::missing_capability(failure).filter(|_| uses_own);
        let hint = missing()
            .or_else(|| self.process_hint(failure, root))
            .or_else(|| process::hint(failure))
            .or_else(|| privileges::filter_hint(failure));
        error_message(&description, failure, hint)
    }

    /// A hint about a file that the process could not use. The ids of another user namespace
    /// are not known here.
    fn process_hint(
        &self,
        failure: Failure,
        root: impl FnOnce() -> Option<OwnedFd>,
    ) -> Option<String> {
        self.process.path_of(failure)?;
        if self.membership.has(Kind::User) {
            return None;
        }
        let root = root()?;
        let ids = HostIds {
            uid: &Some,
            gid: &Some,
            maps: &|_, _| true,
        };
        let view = View::below(root.as_fd(), None);
        self.process.path_hint(failure, &view, &ids)
    }
}

/// The error message for a failure where there is no plan, as in `rt start`: `description` is
/// the place and the action.
pub(crate) fn explain_without_plan(
    description: &(String, String),
    failure: Failure,
) -> anyhow::Error {
    error_message(description, failure, process::hint(failure))
}

/// The line `place: action: reason`, where `description` is the place and the action.
fn error_message(
    (place, action): &(String, String),
    Failure { step, cause, .. }: Failure,
    hint: Option<String>,
) -> anyhow::Error {
    let reason = reason(step, cause);
    let is_missing_call = cause == Cause::Errno(Errno::ENOSYS);
    let hint = hint.or_else(|| is_missing_call.then(|| MISSING_SYSTEM_CALL.to_owned()));
    let reason = match hint {
        Some(hint) => log::with_hint(&reason, &hint),
        None => reason,
    };
    anyhow!("{place}: {action}: {reason}")
}

fn reason(step: Step, cause: Cause) -> String {
    match cause {
        // Engines read this text as "command not found", so it is used for these steps only.
        // runc uses it for a working directory too.
        Cause::Errno(Errno::ENOENT)
            if matches!(
                step,
                Step::Executable | Step::Exec | Step::WorkingDirectory
            ) =>
        {
            "no such file or directory (ENOENT)".into()
        }
        Cause::Errno(Errno::ENOEXEC) => {
            "exec format error (ENOEXEC; a program for another architecture, or a script without #!?)"
                .into()
        }
        Cause::Errno(errno) | Cause::Parameter(_, errno) => log::errno_text(errno),
        Cause::Exit(status) => format!("exit status {status}"),
        Cause::Signal(number) => match Signal::try_from(number) {
            Ok(signal) => format!("ended by {signal}"),
            Err(_) => format!("ended by signal {number}"),
        },
        // The format of runc, with one decimal.
        Cause::TimedOut(seconds) => format!("hook ran past specified timeout of {seconds}.0s"),
        Cause::Refused(refusal) => match refusal {
            Refusal::NotOrdinaryDirectory => "must be mounted on ordinary directory",
            Refusal::InsideProc => "cannot be mounted because it is inside /proc",
            Refusal::PathOccupied => "another file is there already",
            Refusal::NotInBoundDev => "the device is not in it",
            Refusal::OutsideRoot => "lies outside of the container's root",
            Refusal::NotInPath => "executable file not found in $PATH",
            // The text of execve(2), from which Docker derives status 126.
            Refusal::IsDirectory => "is a directory: permission denied (EACCES)",
            Refusal::HostRoot => {
                "is the host's own root; set root.readonly, or the annotation rt.rootfs.overlay to \"ephemeral\""
            }
            Refusal::EmptyIdMap => "its uid_map or gid_map is empty",
            Refusal::DifferentIdMaps => {
                "its ids are not those of linux.uidMappings and linux.gidMappings"
            }
            Refusal::NotProc => "\"/proc\" cannot be mounted because it is not of type proc",
            Refusal::RuntimeEnded => "the runtime has ended",
            Refusal::ContainerEnded => "the container ended meanwhile",
            Refusal::HostNullDevice => {
                "is the host's /dev/null, and the container has no null device that can be opened"
            }
            Refusal::UpperInUse => {
                "a mounted overlay writes to it already; stop the container that uses it, or name another directory"
            }
            Refusal::LinkToHost => "is a link that leads out of the root, which CRIU cannot restore",
            Refusal::MountReplaced => "another process has replaced it",
        }
        .into(),
    }
}
