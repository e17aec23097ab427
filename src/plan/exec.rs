//! A process that joins a container, decided: what it shares with the first one,
//! as that one's plan has left it, and what it is itself.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Plan, sentence};
use crate::cgroups::CgroupJoin;
use crate::namespaces::{Kind, Membership, Place};
use crate::process::{self, Caller, Filter, Passed, Process, Role, Seccomp, Streams};
use crate::step::{Cause, Failure, Step};

/// What all processes of a container have in common.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) membership: Membership,
    /// The root is not that of the mount namespace.
    pub(crate) chroot: bool,
    new_keyring: bool,
    keeps_groups: bool,
    filter: Option<Seccomp>,
}

/// What the command line and the machine add.
pub(crate) struct ExecSettings<'a> {
    pub(crate) id: &'a str,
    pub(crate) caller: Caller,
    /// Whether this machine enforces profiles of AppArmor.
    pub(crate) apparmor: bool,
    pub(crate) streams: Streams,
    pub(crate) passed: Passed,
}

/// Everything that a process does that joins a container.
pub(crate) struct ExecPlan {
    /// Those namespaces that the runtime is not in.
    pub(crate) membership: Membership,
    pub(crate) chroot: bool,
    pub(crate) process: Process,
}

impl Plan {
    /// What is to be remembered for those who join later.
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            membership: self.namespaces.membership(),
            chroot: *self.namespaces.place(Kind::Mount) != Place::New,
            new_keyring: self.process.has_keyring(),
            keeps_groups: self.process.keeps_groups(),
            filter: self.process.filter().cloned(),
        }
    }
}

impl ExecPlan {
    /// # Errors
    /// The first thing that cannot be applied, by its place in the process's description.
    pub(crate) fn new(
        process: &oci_spec::runtime::Process,
        shared: Shared,
        settings: &ExecSettings,
    ) -> Result<ExecPlan> {
        let Shared {
            membership,
            chroot,
            new_keyring,
            keeps_groups,
            filter,
        } = shared;
        let process = Process::plan(
            process,
            &process::Options {
                id: settings.id,
                new_keyring,
                caller: &match membership.has(Kind::User) {
                    true => settings.caller.all_powerful(),
                    false => settings.caller.clone(),
                },
                apparmor: settings.apparmor,
                filter: filter.map_or(Filter::None, Filter::Compiled),
                role: Role::ExecProcess,
                streams: settings.streams,
                passed: settings.passed,
                keeps_groups,
                variable: None,
            },
        )?;
        Ok(ExecPlan {
            membership,
            chroot,
            process,
        })
    }

    /// Every position of the process, in words.
    pub(crate) fn step_descriptions(
        &self,
        cgroup_join: &CgroupJoin,
    ) -> Vec<(Step, u16, (String, String))> {
        super::describe_all(Step::ALL.iter().copied(), |step, item| {
            let listed = self.process.describe(step, item);
            listed.or_else(|| cgroup_join.describe(step, item))
        })
    }

    /// The sentence for a failure of the process, without verb and container.
    pub(crate) fn explain(&self, failure: Failure, cgroup_join: &CgroupJoin) -> anyhow::Error {
        let Failure { step, item, cause } = failure;
        let words = self
            .process
            .describe(step, item)
            .or_else(|| cgroup_join.describe(step, item))
            .unwrap_or_else(|| {
                let what = match step {
                    Step::JoinContainer => "enter its namespaces",
                    Step::NamespaceRoot => "become root of its user namespace",
                    Step::Terminal => "open a terminal of its /dev/pts",
                    Step::Clone => "make a process in it",
                    _ => "join it",
                };
                ("container".to_owned(), what.to_owned())
            });
        let hint = match cause {
            Cause::Errno(errno) => self.process.hint(step, item, errno),
            _ => None,
        };
        sentence(&words, step, cause, hint)
    }
}
