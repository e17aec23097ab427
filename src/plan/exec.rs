//! The plan of an exec process: what it shares with all processes of the container, saved when
//! the container was created, and what is specific to it.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::cgroups::CgroupJoin;
use crate::namespaces::{Kind, Membership, Place, SavedMaps};
use crate::process::{
    self, Caller, MemoryPolicy, Passed, Personality, Process, ProcessKind, Seccomp, SeccompSource,
    StdioOwnership,
};
use crate::step::Step;

/// What all processes of a container have in common. It is saved in `state.json`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) membership: Membership,
    /// The container's root is not the root of a mount namespace of its own.
    pub(crate) chroot: bool,
    new_keyring: bool,
    keeps_groups: bool,
    filter: Option<Seccomp>,
    /// Absent in a state that an older `rt` has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    /// Absent in a state that an older `rt` has written.
    #[serde(default)]
    personality: Option<Personality>,
    /// The id maps of the container's own user namespace, where its changes to files outlive it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id_maps: Option<SavedMaps>,
}

/// What the command line and the host add to the description of the process.
pub(crate) struct ExecSettings<'a> {
    pub(crate) id: &'a str,
    pub(crate) caller: Caller,
    /// Whether SELinux is enabled on the host.
    pub(crate) selinux: bool,
    /// Whether the host enforces AppArmor profiles.
    pub(crate) apparmor: bool,
    pub(crate) streams: StdioOwnership,
    pub(crate) passed: Passed,
}

/// Everything that an exec process does.
pub(crate) struct ExecPlan {
    /// The container's namespaces that the runtime is not in.
    pub(crate) membership: Membership,
    pub(crate) chroot: bool,
    pub(crate) process: Process,
}

impl Plan {
    /// What later exec processes need.
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            membership: self.namespaces.membership(),
            chroot: *self.namespaces.place(Kind::Mount) != Place::New,
            new_keyring: self.process.has_keyring(),
            keeps_groups: self.process.keeps_groups(),
            filter: self.process.filter().cloned(),
            memory_policy: self.process.memory_policy().cloned(),
            personality: self.process.personality(),
            id_maps: (self.rootfs.layers())
                .and_then(|layers| layers.upper_directory())
                .and_then(|_| self.namespaces.saved_maps()),
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
            memory_policy,
            personality,
            id_maps: _,
        } = shared;
        let process = Process::plan(
            process,
            &process::Options {
                id: settings.id,
                new_keyring,
                caller: &if membership.has(Kind::User) {
                    settings.caller.with_all_capabilities()
                } else {
                    settings.caller.clone()
                },
                selinux: settings.selinux,
                apparmor: settings.apparmor,
                filter: filter.map_or(SeccompSource::None, SeccompSource::Compiled),
                memory_policy,
                personality,
                kind: ProcessKind::ExecProcess,
                init: None,
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

    /// The description of every position of the process.
    pub(crate) fn step_descriptions(
        &self,
        cgroup_join: &CgroupJoin,
    ) -> Vec<(Step, u16, (String, String))> {
        super::describe_all(Step::ALL.iter().copied(), |step, item| {
            let description = self.process.describe(step, item);
            description.or_else(|| cgroup_join.describe(step, item))
        })
    }
}
