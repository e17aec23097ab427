//! The plan of a process: validates `process` of config.json, and answers questions about
//! the result.

use std::ffi::CString;
use std::os::fd::RawFd;

use anyhow::{Context, ensure};
use serde_json::json;

use super::affinity::Affinity;
use super::apparmor::AppArmor;
use super::capabilities::Capabilities;
use super::command::Command;
use super::credentials::Credentials;
use super::keyring::Keyring;
use super::rlimits::Limits;
use super::scheduler::Scheduler;
use super::scheduling::{IoPriority, OomScore};
use super::selinux::ProcessLabel;
use super::terminal::Terminal;
use super::workdir::WorkingDirectory;
use super::{
    MemoryPolicy, Options, Passed, Personality, Prepared, Process, ProcessKind, Seccomp,
    SeccompSource, StdioOwnership,
};

impl Process {
    /// Decides everything that does not depend on the content of the container.
    ///
    /// # Errors
    /// For an invalid value, with its place in config.json.
    pub(crate) fn plan(
        process: &oci_spec::runtime::Process,
        options: &Options,
    ) -> anyhow::Result<Process> {
        let cwd = process
            .cwd()
            .to_str()
            .context("process.cwd: is not valid UTF-8")?;
        let keyring = options.new_keyring.then(|| Keyring::plan(options.id));
        let affinity = process.exec_cpu_affinity().as_ref();
        let affinity = affinity.map(Affinity::plan).transpose()?;
        let mut added = options.passed.variables();
        added.extend(options.variable.map(str::to_owned));
        let seccomp = plan_filter(options)?;
        Ok(Process {
            is_absent: false,
            ignored_signals: options.caller.ignored_signals.clone(),
            keyring: keyring.transpose()?,
            oom_score: process.oom_score_adj().map(OomScore::plan).transpose()?,
            io_priority: process
                .io_priority()
                .as_ref()
                .map(IoPriority::plan)
                .transpose()?,
            scheduler: (process.scheduler().as_ref())
                .map(|scheduler| plan_scheduler(scheduler, options, seccomp.as_ref()))
                .transpose()?,
            affinity: affinity.filter(|_| options.kind == ProcessKind::ExecProcess),
            memory_policy: options.memory_policy.clone(),
            personality: options.personality,
            working_directory: WorkingDirectory::plan(cwd, options.kind)?,
            credentials: Credentials::plan(process.user(), options.keeps_groups)?,
            selinux_label: ProcessLabel::plan(process.selinux_label().as_deref(), options.selinux)?,
            app_armor: (process.apparmor_profile().as_ref())
                .map(|profile| AppArmor::plan(profile, options.apparmor))
                .transpose()?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            terminal: Terminal::plan(
                process.terminal().unwrap_or(false),
                process.console_size().as_ref(),
            )?,
            command: Command::plan(
                process.args().as_deref().unwrap_or_default(),
                process.env().as_deref().unwrap_or_default(),
                &added,
            )?,
            limits: Limits::plan(process.rlimits().as_deref().unwrap_or_default())?,
            init: options.init,
            seccomp,
            streams: match process.terminal() {
                // The terminal belongs to the container, not to the caller.
                Some(true) => StdioOwnership::Transferred,
                Some(false) | None => options.streams,
            },
            passed: options.passed,
            // Last, because it may warn: a configuration that is refused gives one line only.
            capabilities: Capabilities::plan(
                process.capabilities().as_ref(),
                &options.caller.grantable,
            ),
        })
    }

    /// A configuration without `process`: init builds the container and is never told to execute
    /// anything (config.md, "Process"). It keeps no capabilities.
    ///
    /// # Errors
    /// As [`Process::plan`].
    pub(crate) fn absent(options: &Options) -> anyhow::Result<Process> {
        let placeholder =
            json!({"cwd": "/", "args": ["none"], "noNewPrivileges": true, "user": {}});
        let placeholder = serde_json::from_value(placeholder).context("process")?;
        let mut process = Process::plan(&placeholder, options)?;
        process.is_absent = true;
        Ok(process)
    }

    /// `process.env`, HOME, and the LISTEN_PID of a child of PID 1.
    pub(super) fn environment<'a>(
        &'a self,
        prepared: &'a Prepared,
    ) -> impl Iterator<Item = &'a CString> {
        let replaced = prepared.listen_pid.as_ref();
        let env = (self.command.env.iter())
            .filter(move |variable| replaced.is_none() || !Passed::is_listen_pid(variable));
        env.chain(&prepared.home).chain(replaced)
    }

    /// The numbers of the descriptors that the caller passes on, beside 0 to 2.
    pub(crate) fn passed(&self) -> impl Iterator<Item = RawFd> {
        self.passed.numbers()
    }

    pub(crate) fn has_oom_score(&self) -> bool {
        self.oom_score.is_some()
    }

    /// Whether the process writes a SELinux label or an AppArmor profile to /proc.
    pub(crate) fn is_confined(&self) -> bool {
        self.selinux_label.is_some() || self.app_armor.is_some()
    }

    /// `process.user.uid`.
    pub(crate) fn uid(&self) -> u32 {
        self.credentials.uid.as_raw()
    }

    /// Whether the process keeps the caller's additional groups.
    pub(crate) fn keeps_groups(&self) -> bool {
        self.credentials.keeps_groups()
    }

    /// `process.user.gid` and `additionalGids`, each with its place in config.json.
    pub(crate) fn gids(&self) -> Vec<(String, u32)> {
        self.credentials.gids()
    }

    /// Whether the process leaves the caller's session keyring.
    pub(crate) fn has_keyring(&self) -> bool {
        self.keyring.is_some()
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Whether [`Process::set_scheduler_of`] has something to do.
    pub(crate) fn has_scheduler(&self) -> bool {
        self.scheduler.is_some()
    }

    /// Whether the process can call fork(2) before it executes its program.
    pub(crate) fn may_fork(&self) -> bool {
        (self.scheduler.as_ref()).is_none_or(Scheduler::may_fork)
    }

    /// `linux.memoryPolicy`, which `rt exec` gives to later processes.
    pub(crate) fn memory_policy(&self) -> Option<&MemoryPolicy> {
        self.memory_policy.as_ref()
    }

    /// `linux.personality`, which `rt exec` gives to later processes.
    pub(crate) fn personality(&self) -> Option<Personality> {
        self.personality
    }

    /// The compiled filter, which `rt exec` installs in later processes.
    pub(crate) fn filter(&self) -> Option<&Seccomp> {
        self.seccomp.as_ref()
    }
}

/// # Errors
/// For an invalid value; and with `rt.init`, if PID 1 could not work under the filter.
fn plan_filter(options: &Options) -> anyhow::Result<Option<Seccomp>> {
    let filter = match &options.filter {
        SeccompSource::None => None,
        SeccompSource::Profile(profile) => Some(Seccomp::plan(profile)?),
        SeccompSource::Compiled(filter) => Some(filter.clone()),
    };
    if let (Some(init), Some(filter)) = (options.init, &filter) {
        init.require_calls(filter)?;
    }
    Ok(filter)
}

/// # Errors
/// For an invalid value; and if the process, a child of PID 1 (`rt.init`) or a second task
/// (`SCMP_ACT_NOTIFY`), would not get the policy.
fn plan_scheduler(
    listed: &oci_spec::runtime::Scheduler,
    options: &Options,
    filter: Option<&Seccomp>,
) -> anyhow::Result<Scheduler> {
    let scheduler = Scheduler::plan(listed)?;
    ensure!(
        options.init.is_none() || scheduler.is_inherited(),
        "process.scheduler: with rt.init the process is a child of PID 1, and a child does not get this policy"
    );
    ensure!(
        filter.is_none_or(|filter| filter.agent().is_none()) || scheduler.is_inherited(),
        "process.scheduler: with SCMP_ACT_NOTIFY in linux.seccomp a second task of rt executes the program, and it does not get this policy"
    );
    Ok(scheduler)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::process::Caller;

    pub(in crate::process) fn plan(json: &str) -> anyhow::Result<Process> {
        let process = serde_json::from_str(json).unwrap();
        let options = Options {
            id: "web",
            new_keyring: true,
            caller: &Caller::default(),
            selinux: true,
            apparmor: true,
            filter: SeccompSource::None,
            kind: ProcessKind::Init,
            init: None,
            streams: StdioOwnership::Transferred,
            passed: Passed::default(),
            keeps_groups: false,
            memory_policy: None,
            personality: None,
            variable: None,
        };
        Process::plan(&process, &options)
    }

    #[test]
    fn a_process_without_args_is_refused() {
        let error = plan(r#"{"user": {"uid": 0, "gid": 0}, "cwd": "/"}"#).unwrap_err();
        assert_eq!(error.to_string(), "process.args: must not be empty");
    }
}
