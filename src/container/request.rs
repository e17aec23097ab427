//! What `rt create` and `rt run` are asked for, decided before anything is made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::value::RawValue;

use super::create::Way;
use super::state::{self, Config, State};
use super::{exec, notify};
use crate::bundle::Bundle;
use crate::cgroups::CgroupMode;
use crate::host::{self, Host};
use crate::namespaces::{Kind, Place};
use crate::plan::{Plan, Settings};
use crate::process::{Caller, Passed, Streams};
use crate::trusted_proc::Proc;

/// What is to be made.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) bundle: Bundle,
    /// Absolute.
    pub(crate) pid_file: Option<PathBuf>,
    /// Absolute. Where the terminal goes when nobody stays to serve it.
    pub(crate) console_socket: Option<PathBuf>,
    /// Absolute. Who gets a pidfd of the container's process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    pub(crate) passed: Passed,
    pub(crate) cgroups: CgroupMode,
    /// Where a service manager waits to hear that the container is ready.
    pub(crate) notify_socket: Option<OsString>,
}

pub(super) fn decide(
    root: &Path,
    request: &Request,
    way: Way,
    host: &Host,
    proc: &Proc,
) -> Result<Plan> {
    let notify = request.notify_socket.as_ref();
    let settings = Settings {
        id: &request.id,
        no_pivot: request.no_pivot,
        new_keyring: request.new_keyring,
        streams: match way {
            Way::Create | Way::RunDetached => Streams::Left,
            Way::RunForeground => Streams::Lent,
        },
        passed: request.passed,
        cgroups: request.cgroups,
        notify: notify.map(|_| notify::directory(root, &request.id)),
        caller: Caller::read(proc)?,
        apparmor: has_profile(&request.bundle) && host::enforces_apparmor(),
    };
    Plan::new(&request.bundle, &settings, host)
}

pub(super) fn remember(request: &Request, plan: &Plan) -> Result<Box<RawValue>> {
    let process = serde_json::to_value(request.bundle.spec.process()).context("process")?;
    exec::remember(process, plan)
}

fn has_profile(bundle: &Bundle) -> bool {
    let process = bundle.spec.process().as_ref();
    process.is_some_and(|process| process.apparmor_profile().is_some())
}

/// The state before there is a process.
pub(super) fn draft(request: &Request, plan: &Plan, host: &Host, proc: &Proc) -> Result<State> {
    let cgroup_paths = plan.cgroups.paths();
    let annotations = request
        .bundle
        .spec
        .annotations()
        .clone()
        .unwrap_or_default();
    Ok(State {
        oci_version: request.bundle.spec.version().clone(),
        id: request.id.clone(),
        init_process_pid: 0,
        creating: true,
        init_process_start: 0,
        boot_id: state::boot_id(proc)?,
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        bundle: request.bundle.directory.clone(),
        owner: host.caller.uid,
        annotations: annotations.into_iter().collect(),
        config: Config {
            rootfs: plan.rootfs.path().to_owned(),
        },
        cgroups_created: plan.cgroups.missing(),
        cgroup_paths,
        namespace_paths: Default::default(),
        own_pid_namespace: *plan.namespaces.place(Kind::Pid) == Place::New,
        start_step_descriptions: plan.start_step_descriptions(),
        hooks: plan.hooks.later.clone(),
        exec: None,
    })
}
