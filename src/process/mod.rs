//! The container's process, from the clone to execve(2): the order of the steps that
//! turn a copy of `rt` into the program of config.json.
//!
//! This is the third page on which the crate explains an order, beside
//! `container/init.rs` and `container/exec_process.rs`. Both call the steps below, in this
//! order, between the steps for namespaces and mounts:
//!
//! 1. [`Process::detach`]: default signal actions, a new session.
//! 2. With the runtime's privileges: [`Process::set_oom_score`] (init), or
//!    [`Process::raise_limits`] and [`Process::set_io_priority`] (`rt exec`).
//! 3. As root of the user namespace: [`Process::join_keyring`], then
//!    [`Process::take_terminal`] and, for init, [`Process::make_working_directory`].
//! 4. Inside the root: [`Process::prepare`] gives up the privileges and finds the
//!    executable.
//! 5. After `rt start`: with `rt.init`, [`Process::become_child_of_init`] (init); then
//!    [`Process::exec`].
//!
//! What can be checked is checked by the end of step 4, so that `rt create` reports the
//! failure. Step 5 holds what would stop the steps before it: closed descriptors, tiny
//! limits, the seccomp filter.
//!
//! A process performs the plan of [`Process::plan`]. [`describe`] turns the
//! position of a failed step into text.

mod affinity;
mod apparmor;
mod caller;
mod capabilities;
mod check;
mod command;
mod credentials;
mod decisions;
mod describe;
mod descriptors;
mod exec_refusal;
mod filter;
mod hint;
mod home;
mod hooks;
mod init;
mod keyring;
mod memory_policy;
mod numbers;
mod options;
mod personality;
mod pid_1;
mod plan;
mod restored;
mod rlimits;
mod scheduler;
mod scheduling;
mod seccomp;
mod selinux;
mod stdio;
mod supervise;
mod terminal;
mod workdir;

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::setsid;

pub(crate) use caller::Caller;
pub(crate) use capabilities::names as capabilities;
pub(crate) use descriptors::Passed;
pub(crate) use hint::{HostIds, hint};
pub(crate) use hooks::{Failed, Hook, HookKind, Hooks, InitHookFiles, SavedHooks, Wait, poll_fds};
pub(crate) use init::Init;
pub(crate) use memory_policy::{
    MemoryPolicy, MemoryPolicyFeatures, features as memory_policy_features,
};
pub(crate) use options::{Options, ProcessKind, SeccompSource};
pub(crate) use personality::Personality;
pub(crate) use pid_1::InitProgram;
pub(crate) use seccomp::{Agent, Seccomp, SeccompFeatures, features as seccomp_features};
pub(crate) use stdio::StdioOwnership;

use crate::step::{Cause, Progress, Step};
use crate::sys::{self, CloseBatch, Program};
use crate::trusted_proc::Proc;

use affinity::Affinity;
use apparmor::AppArmor;
use capabilities::Capabilities;
use command::{Command, HomeSource};
use credentials::Credentials;
use exec_refusal::ExecRefusal;
use keyring::Keyring;
use rlimits::Limits;
use scheduler::Scheduler;
use scheduling::{IoPriority, OomScore};
use selinux::ProcessLabel;
use terminal::Terminal;
use workdir::WorkingDirectory;

/// The validated `process` of config.json.
#[derive(Debug)]
pub(crate) struct Process {
    /// There is nothing to execute.
    is_absent: bool,
    /// The signals that the caller ignores, and the process does not.
    ignored_signals: Vec<i32>,
    keyring: Option<Keyring>,
    oom_score: Option<OomScore>,
    io_priority: Option<IoPriority>,
    scheduler: Option<Scheduler>,
    /// Only for an exec process. Init runs on the CPUs of its cgroup.
    affinity: Option<Affinity>,
    memory_policy: Option<MemoryPolicy>,
    personality: Option<Personality>,
    working_directory: WorkingDirectory,
    credentials: Credentials,
    capabilities: Capabilities,
    selinux_label: Option<ProcessLabel>,
    app_armor: Option<AppArmor>,
    no_new_privileges: bool,
    terminal: Option<Terminal>,
    command: Command,
    limits: Limits,
    /// Only for init: a small init stays as PID 1.
    init: Option<Init>,
    seccomp: Option<Seccomp>,
    streams: StdioOwnership,
    passed: Passed,
}

/// What [`Process::prepare`] has found inside the container, for [`Process::exec`].
pub(crate) struct Prepared {
    executable: CString,
    /// The error text for execve(2), if that is going to fail for a known reason.
    refusal: Option<ExecRefusal>,
    /// `HOME=...`, unless the configuration has it.
    home: Option<CString>,
    /// `LISTEN_PID=...`, where the process is not PID 1 and sockets are passed to it.
    listen_pid: Option<CString>,
}

impl Process {
    /// Resets signal actions and the signal mask, and starts a session. This comes first:
    /// no later step may reach the caller's terminal.
    pub(crate) fn detach(&self, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::Signals);
        for signal in &self.ignored_signals {
            sys::default_signal(*signal)?;
        }
        sys::unblock_all()?;
        at.enter(Step::Session);
        setsid()?;
        Ok(())
    }

    /// Init: sets `process.oomScoreAdj`, while it is still the caller and may write to its
    /// /proc. For an exec process the runtime does it ([`Process::set_oom_score_of`]).
    pub(crate) fn set_oom_score(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::OomScore);
        if let Some(score) = &self.oom_score {
            score.apply(proc)?;
        }
        Ok(())
    }

    /// Exec process: raises its hard limits while it has the runtime's CAP_SYS_RESOURCE.
    /// For init the runtime does it ([`Process::raise_limits_of`]). [`Process::exec`] sets the limits
    /// of config.json.
    pub(crate) fn raise_limits(&self, at: &Progress) -> Result<(), Cause> {
        Ok(self.limits.raise_own(at)?)
    }

    /// Exec process: sets `process.ioPriority` while it has the runtime's privileges. For init
    /// the runtime does it ([`Process::set_io_priority_of`]).
    pub(crate) fn set_io_priority(&self, at: &Progress) -> Result<(), Cause> {
        if let Some(priority) = &self.io_priority {
            priority.apply(at)?;
        }
        Ok(())
    }

    /// Leaves the caller's session keyring. This comes after the process has become root of
    /// its user namespace, because a keyring belongs to the user that creates it. `proc` may be
    /// `None` without a SELinux label.
    pub(crate) fn join_keyring(&self, proc: Option<&Proc>, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::Keyring);
        match (&self.keyring, &self.selinux_label) {
            (None, _) => {}
            (Some(keyring), None) => keyring.join()?,
            (Some(keyring), Some(label)) => {
                label.label_keys(proc.ok_or(Errno::EPROTO)?, || keyring.join())?;
            }
        }
        Ok(())
    }

    /// CRIU's process: sets what CRIU does not restore, because the restored processes inherit it: the
    /// session keyring, the CPUs, `linux.memoryPolicy`, and a `process.oomScoreAdj` of 0. The runtime
    /// sets `process.ioPriority` ([`Process::set_io_priority_of`]).
    pub(crate) fn prepare_criu(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        self.set_oom_score(proc, at)?;
        self.join_keyring(Some(proc), at)?;
        at.enter(Step::Affinity);
        affinity::reset()?;
        if let Some(policy) = &self.memory_policy {
            policy.apply(at)?;
        }
        Ok(())
    }

    /// Sends the master of a new pseudoterminal to the socket `to`, and makes `terminal`
    /// the controlling terminal of this session.
    pub(crate) fn take_terminal(
        &self,
        master: OwnedFd,
        terminal: &OwnedFd,
        to: BorrowedFd,
        at: &Progress,
    ) -> Result<(), Cause> {
        match &self.terminal {
            Some(plan) => plan.take(master, terminal, to, at),
            None => Ok(()),
        }
    }

    /// Init: creates `process.cwd` if it is missing, before the root becomes read-only.
    pub(crate) fn make_working_directory(&self, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::WorkingDirectory);
        self.working_directory.make()
    }

    /// Gives up privileges and finds the executable, inside the container's root. At the
    /// end, the process could call execve(2).
    ///
    /// Each privilege is given up right after the last step that needs it. `proc` may be
    /// `None` when there is no SELinux label, no AppArmor profile and no user namespace.
    /// `unused` gets the descriptors that are not needed any more. `user_changed` is called after the change of
    /// user, if it changes any id: the kernel resets PR_SET_PDEATHSIG then.
    pub(crate) fn prepare(
        &self,
        user_changed: impl FnOnce() -> Result<(), Cause>,
        (proc, unused): (Option<&Proc>, &CloseBatch),
        at: &Progress,
    ) -> Result<Prepared, Cause> {
        at.enter(Step::Affinity);
        match &self.affinity {
            Some(affinity) => affinity.apply_final()?,
            None => affinity::reset()?,
        }
        if let Some(policy) = &self.memory_policy {
            policy.apply(at)?;
        }
        if let Some(personality) = self.personality {
            personality.apply(at)?;
        }

        // Before the change of user: the directory may have to be created, or only root may
        // enter it. A file system of the user (FUSE, NFS with root_squash) may refuse root;
        // then the second attempt follows after the change of user.
        at.enter(Step::WorkingDirectory);
        let entered = match self.enter_working_directory(at) {
            Err(Cause::Errno(Errno::EACCES | Errno::EPERM)) => false,
            done => done.map(|()| true)?,
        };
        // The change of owner needs CAP_CHOWN.
        stdio::change_owner(self.streams, self.credentials.uid, unused, at)?;
        // Dropping from the bounding set needs CAP_SETPCAP.
        at.enter(Step::BoundingSet);
        self.capabilities.drop_bounding()?;
        // The change of ids needs CAP_SETGID and CAP_SETUID. The permitted set survives it.
        self.credentials.apply(proc, at)?;
        if !self.credentials.is_root() {
            user_changed()?;
        }
        self.capabilities.apply(self.temporary_capability(), at)?;
        self.confine(proc, at)?;

        // From here on the process has the container's user and capabilities, so that it can
        // read and execute no more than the program itself could.
        if !entered {
            at.enter(Step::WorkingDirectory);
            self.enter_working_directory(at)?;
        }
        if self.is_absent {
            return Ok(Prepared {
                executable: CString::default(),
                refusal: None,
                home: None,
                listen_pid: None,
            });
        }
        at.enter(Step::Home);
        let home = match self.command.home {
            HomeSource::Config => None,
            HomeSource::Passwd => Some(home::variable(self.credentials.uid)),
        };
        at.enter(Step::Executable);
        let executable = self.command.find(unused)?.to_owned();
        let refusal = ExecRefusal::predict(&executable, unused);
        let labelled = self.selinux_label.is_some();
        let refusal = refusal.or(labelled.then_some(ExecRefusal::SelinuxLabel));
        // Last: files that the steps above create have exact modes.
        self.credentials.set_umask();
        Ok(Prepared {
            executable,
            refusal,
            home,
            listen_pid: None,
        })
    }

    /// Sets what confines the program from execve(2) on, and no_new_privs.
    fn confine(&self, proc: Option<&Proc>, at: &Progress) -> Result<(), Cause> {
        // After the change of capabilities: the kernel requires the file to be opened and
        // written with the same credentials.
        at.enter(Step::SelinuxLabel);
        if let Some(label) = &self.selinux_label {
            label.apply(proc.ok_or(Errno::EPROTO)?)?;
        }
        at.enter(Step::AppArmor);
        if let Some(profile) = &self.app_armor {
            profile.apply(proc.ok_or(Errno::EPROTO)?)?;
        }
        at.enter(Step::NoNewPrivileges);
        if self.no_new_privileges {
            set_no_new_privs()?;
        }
        Ok(())
    }

    fn enter_working_directory(&self, at: &Progress) -> Result<(), Cause> {
        match self.working_directory.enter() {
            Err(Cause::Errno(Errno::ENOENT)) => {
                self.make_working_directory(at)?;
                self.working_directory.enter()
            }
            done => done,
        }
    }

    /// Closes descriptors, sets the limits, installs the filter, and calls execve(2).
    /// Returns only on failure. `report`, the socket for that failure, stays open until
    /// execve(2) succeeds. `hand_over` gives a seccomp listener to the runtime.
    ///
    /// When execve(2) itself fails, the reason is also written to the container's standard
    /// error.
    pub(crate) fn exec(
        &self,
        prepared: &Prepared,
        (report, hand_over): (BorrowedFd, impl FnOnce(OwnedFd) -> Result<(), Cause>),
        at: &Progress,
    ) -> Cause {
        let program = Program {
            path: &prepared.executable,
            args: &self.command.args.iter().map(CString::as_c_str).collect(),
            env: &self.environment(prepared).map(CString::as_c_str).collect(),
        };
        // Before execve(2), which resolves paths of the image (CVE-2024-21626).
        let closed = self.passed.close_others(report, at);
        if let Some(filter) = self.filter().filter(|filter| filter.agent().is_some()) {
            return match closed {
                Ok(()) => self.exec_with_agent(filter, (&program, prepared), hand_over, at),
                Err(errno) => errno.into(),
            };
        }
        // Late: a tiny limit would stop the steps above.
        let limited = closed.and_then(|()| self.limits.apply(at));
        // After the start hooks, which must not inherit these descriptors.
        let passed = limited.and_then(|()| self.passed.clear_cloexec(at));
        // Last: execve(2) is the only system call that a filter has to allow.
        if let Err(errno) = passed.and_then(|()| self.install_filter(at)) {
            return errno.into();
        }
        at.enter(Step::Exec);
        let errno = sys::execve(program.path, program.args, program.env);
        exec_refusal::report(program.path, errno, prepared.refusal.as_ref());
        errno.into()
    }
}
