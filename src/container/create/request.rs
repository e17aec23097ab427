//! What `rt create` and `rt run` are asked to make, and the plan and first state of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, ensure};
use serde_json::value::RawValue;

use crate::bundle::{self, Bundle};
use crate::cgroups::{BusEnvironment, CgroupMode, Systemd};
use crate::container::ipc;
use crate::container::state::{Config, ExecDefaults, Layers, State, boot_id};
use crate::host::{self, Host};
use crate::namespaces::{Kind, Place};
use crate::plan::{Plan, Settings};
use crate::process::{Caller, Passed, StdioOwnership};
use crate::resctrl::OpenGroup;
use crate::trusted_proc::Proc;

/// The id of a container that is not created. It is the name of its cgroup, in errors.
pub(in crate::container) const PLACEHOLDER: &str = "rt-check";

/// The container to create.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) bundle: Bundle,
    /// Absolute.
    pub(crate) pid_file: Option<PathBuf>,
    /// Absolute. Receives the terminal when no command stays in the foreground.
    pub(crate) console_socket: Option<PathBuf>,
    /// Absolute. Receives a pidfd of the init process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    pub(crate) passed: Passed,
    pub(crate) cgroups: CgroupMode,
    /// Where to look for systemd, with the systemd driver.
    pub(crate) systemd: Option<BusEnvironment>,
    /// The address of the service manager's socket (sd_notify(3)).
    pub(crate) notify_socket: Option<OsString>,
}

impl Request {
    /// A request without flags, for a container that is not created.
    pub(crate) fn for_check(
        bundle: Bundle,
        (cgroups, systemd): (CgroupMode, Option<BusEnvironment>),
        notify_socket: Option<OsString>,
    ) -> Request {
        Request {
            id: PLACEHOLDER.to_owned(),
            bundle,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            no_pivot: false,
            new_keyring: true,
            passed: Passed::default(),
            cgroups,
            systemd,
            notify_socket,
        }
    }
}

/// What the command does once the container is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateMode {
    /// `rt create`: init waits for `rt start`, on a socket in the container's directory.
    Create,
    /// `rt run --detach`: init executes the program, and the command returns.
    RunDetached,
    /// `rt run`: init executes the program, and the command waits until it ends.
    RunForeground,
}

/// Plans the container.
///
/// # Errors
/// The first part of the configuration that cannot be applied, by its place in config.json.
pub(crate) fn decide(
    root: &Path,
    request: &Request,
    mode: CreateMode,
    host: &Host,
    proc: &Proc,
) -> Result<Plan> {
    ensure!(
        mode == CreateMode::Create || request.bundle.spec.process().is_some(),
        "process: required to run the container"
    );
    let notify = request.notify_socket.as_ref();
    let bus = request.systemd.as_ref();
    let systemd = bus.map(|environment| Systemd::probe(environment, host));
    let settings = Settings {
        id: &request.id,
        no_pivot: request.no_pivot,
        new_keyring: request.new_keyring,
        streams: match mode {
            CreateMode::Create | CreateMode::RunDetached => StdioOwnership::Transferred,
            CreateMode::RunForeground => StdioOwnership::Kept,
        },
        passed: request.passed,
        cgroups: request.cgroups,
        systemd: systemd.as_ref(),
        notify: notify.map(|_| ipc::notify_directory(root, &request.id)),
        caller: Caller::read(proc)?,
        selinux: names_selinux_label(&request.bundle) && host::uses_selinux(),
        apparmor: names_apparmor_profile(&request.bundle) && host::enforces_apparmor(),
    };
    Plan::new(&request.bundle, &settings, host)
}

/// What `rt exec` will need, for [`State::exec`].
pub(crate) fn exec_defaults(request: &Request, plan: &Plan) -> Result<Box<RawValue>> {
    let process = request.bundle.spec.process().as_ref();
    ExecDefaults::to_json(bundle::process_json(process)?, plan)
}

fn names_selinux_label(bundle: &Bundle) -> bool {
    let process = bundle.spec.process().as_ref();
    let linux = bundle.spec.linux().as_ref();
    process.is_some_and(|process| process.selinux_label().is_some())
        || linux.is_some_and(|linux| linux.mount_label().is_some())
}

fn names_apparmor_profile(bundle: &Bundle) -> bool {
    let process = bundle.spec.process().as_ref();
    process.is_some_and(|process| process.apparmor_profile().is_some())
}

/// The state of the container before its init process exists.
pub(crate) fn initial_state(
    request: &Request,
    (plan, resctrl): (&Plan, Option<&OpenGroup>),
    host: &Host,
    proc: &Proc,
) -> Result<State> {
    let cgroup_paths = plan.cgroups.paths();
    let annotations = request
        .bundle
        .spec
        .annotations()
        .clone()
        .unwrap_or_default();
    Ok(State {
        id: request.id.clone(),
        init_process_pid: 0,
        creating: true,
        init_process_start: 0,
        boot_id: boot_id(proc)?,
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        bundle: request.bundle.directory.clone(),
        owner: host.caller.uid,
        annotations: annotations.into_iter().collect(),
        config: Config {
            rootfs: plan.rootfs.path().to_owned(),
        },
        layers: plan.rootfs.layers().map(|layers| Layers {
            lower: layers.lower().to_vec(),
            upper: layers.upper_directory(),
        }),
        directories_created: plan.rootfs.missing_directories(),
        cgroups_created: plan.cgroups.missing(),
        cgroup_paths,
        systemd: plan.cgroups.unit().cloned(),
        resctrl: resctrl.map(|open| open.record().clone()),
        namespace_paths: Default::default(),
        own_pid_namespace: *plan.namespaces.place(Kind::Pid) == Place::New,
        seccomp_agent: (plan.process.filter())
            .and_then(|filter| filter.agent())
            .cloned(),
        restored: false,
        restore_directory: None,
        without_process: request.bundle.spec.process().is_none(),
        start_step_descriptions: plan.start_step_descriptions(),
        hooks: plan.hooks.later.clone(),
        exec: None,
    })
}
