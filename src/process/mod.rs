//! What the container's process becomes: the last steps before execve(2), the
//! same for a container's init and for a process that joins it later.
//!
//! [`Process::prepare`] is their order. Everything that can fail has failed by
//! its end, so that whoever creates the container hears of it.

mod caller;
mod capabilities;
mod command;
mod credentials;
mod describe;
mod descriptors;
mod execute;
mod home;
mod hooks;
mod keyring;
mod labels;
mod obstacle;
mod rlimits;
mod scheduling;
mod seccomp;
mod stdio;
mod terminal;
mod workdir;

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Pid, setsid};
use oci_spec::runtime::LinuxSeccomp;

pub(crate) use caller::Caller;
pub(crate) use capabilities::names as capabilities;
pub(crate) use descriptors::Passed;
pub(crate) use hooks::{Failed, Hook, Hooks, LaterHooks, Moment, Wait, WiredHooks, wait_alone};
pub(crate) use seccomp::{Seccomp, Vocabulary, vocabulary as seccomp_vocabulary};
pub(crate) use stdio::Streams;

use crate::step::{Cause, Failure, Progress, Step};
use crate::sys;
use crate::trusted_proc::Proc;

use capabilities::Capabilities;
use command::{Command, Home};
use credentials::Credentials;
use keyring::Keyring;
use labels::AppArmor;
use obstacle::Obstacle;
use rlimits::Limits;
use scheduling::{Affinity, OomScore};
use terminal::Terminal;
use workdir::WorkingDirectory;

/// What the planner must know beside the configuration.
pub(crate) struct Options<'a> {
    /// The container's id, after which its session keyring is called.
    pub(crate) id: &'a str,
    /// Whether the process leaves the caller's session keyring for one of the container's.
    pub(crate) new_keyring: bool,
    pub(crate) caller: &'a Caller,
    /// Whether this machine enforces profiles of AppArmor. Asked only for a
    /// process that has one.
    pub(crate) apparmor: bool,
    /// `linux.seccomp`: it is about the process.
    pub(crate) filter: Filter<'a>,
    pub(crate) role: Role,
    pub(crate) streams: Streams,
    /// Descriptors beside standard input, output and error.
    pub(crate) passed: Passed,
    /// Its additional groups are the caller's.
    pub(crate) keeps_groups: bool,
    /// What the runtime adds to `process.env`: `NAME=value`.
    pub(crate) variable: Option<&'a str>,
}

/// Where the process's filter for system calls comes from.
pub(crate) enum Filter<'a> {
    None,
    Profile(&'a LinuxSeccomp),
    /// It is the one that the container was made with.
    Compiled(Seccomp),
}

/// What the process is to its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its first.
    Init,
    /// One that joins it later.
    ExecProcess,
}

/// `process`, decided.
#[derive(Debug)]
pub(crate) struct Process {
    ignored_signals: Vec<i32>,
    keyring: Option<Keyring>,
    oom_score: Option<OomScore>,
    /// Of a process that joins. The first one runs wherever its cgroup does.
    affinity: Option<Affinity>,
    working_directory: WorkingDirectory,
    credentials: Credentials,
    capabilities: Capabilities,
    app_armor: Option<AppArmor>,
    no_new_privileges: bool,
    terminal: Option<Terminal>,
    command: Command,
    limits: Limits,
    seccomp: Option<Seccomp>,
    streams: Streams,
    passed: Passed,
}

/// What [`Process::prepare`] found inside the container.
pub(crate) struct Prepared {
    executable: CString,
    /// What execve(2) will miss of it.
    obstacle: Option<Obstacle>,
    /// `HOME=...`, unless the configuration has it.
    home: Option<CString>,
}

impl Process {
    /// Decides everything that does not depend on what the container holds.
    ///
    /// # Errors
    /// Each names its place in config.json.
    pub(crate) fn plan(
        process: &oci_spec::runtime::Process,
        options: &Options,
    ) -> anyhow::Result<Process> {
        let cwd = process.cwd().to_str().context("process.cwd: is no UTF-8")?;
        let keyring = options.new_keyring.then(|| Keyring::plan(options.id));
        let affinity = process.exec_cpu_affinity().as_ref();
        let affinity = affinity.map(Affinity::plan).transpose()?;
        let mut added = options.passed.variables();
        added.extend(options.variable.map(str::to_owned));
        Ok(Process {
            ignored_signals: options.caller.ignored_signals.clone(),
            keyring: keyring.transpose()?,
            oom_score: process.oom_score_adj().map(OomScore::plan).transpose()?,
            affinity: affinity.filter(|_| options.role == Role::ExecProcess),
            working_directory: WorkingDirectory::plan(cwd, options.role)?,
            credentials: Credentials::plan(process.user(), options.keeps_groups)?,
            app_armor: process
                .apparmor_profile()
                .as_ref()
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
            seccomp: match &options.filter {
                Filter::None => None,
                Filter::Profile(profile) => Some(Seccomp::plan(profile)?),
                Filter::Compiled(filter) => Some(filter.clone()),
            },
            streams: match process.terminal() {
                // A terminal of the container's own is no business of the caller's.
                Some(true) => Streams::Left,
                Some(false) | None => options.streams,
            },
            passed: options.passed,
            // Last: it may warn, and a plan that is refused is worth one line only.
            capabilities: Capabilities::plan(
                process.capabilities().as_ref(),
                &options.caller.grantable,
            ),
        })
    }

    /// Leaves the caller's signal settings and session. First of all: what is
    /// done later must not reach the caller's terminal.
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

    /// Init: `process.oomScoreAdj`, while /proc still is the caller's to write.
    pub(crate) fn set_oom_score(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::OomScore);
        if let Some(score) = &self.oom_score {
            score.apply(proc)?;
        }
        Ok(())
    }

    /// Runtime: the same for a process that joins, which has no /proc of the machine.
    ///
    /// # Errors
    /// A position in the plan.
    pub(crate) fn wire_oom_score(&self, pid: Pid, proc: &Proc) -> Result<(), Failure> {
        let Some(score) = &self.oom_score else {
            return Ok(());
        };
        let at = Progress::new();
        at.enter(Step::OomScore);
        score
            .wire(pid, proc)
            .map_err(|errno| at.failed(errno.into()))
    }

    /// The descriptors beside 0 to 2 that the caller hands on.
    pub(crate) fn passed(&self) -> impl Iterator<Item = RawFd> {
        self.passed.numbers()
    }

    pub(crate) fn has_oom_score(&self) -> bool {
        self.oom_score.is_some()
    }

    /// Whether [`Process::prepare`] writes to /proc.
    pub(crate) fn has_label(&self) -> bool {
        self.app_armor.is_some()
    }

    /// Leaves the caller's session keyring, as the user that its keys are to be of.
    pub(crate) fn join_keyring(&self, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::Keyring);
        if let Some(keyring) = &self.keyring {
            keyring.join()?;
        }
        Ok(())
    }

    /// `process.user.uid`.
    pub(crate) fn uid(&self) -> u32 {
        self.credentials.uid.as_raw()
    }

    /// Whether its additional groups are the caller's.
    pub(crate) fn keeps_groups(&self) -> bool {
        self.credentials.keeps_groups()
    }

    /// Its groups, each with its place in config.json.
    pub(crate) fn gids(&self) -> Vec<(String, u32)> {
        self.credentials.gids()
    }

    /// Whether it leaves the caller's session keyring.
    pub(crate) fn has_keyring(&self) -> bool {
        self.keyring.is_some()
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Hands the master of a new pseudoterminal to `to`, and takes the other end
    /// as the terminal of this session.
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

    /// Everything in order up to a process that could execve, with the root in
    /// place. Privileges go step by step; each step is the last that needs what
    /// the next one gives away. `proc` may be absent where there is no label to
    /// write and no user namespace.
    pub(crate) fn prepare(&self, proc: Option<&Proc>, at: &Progress) -> Result<Prepared, Cause> {
        self.prepare_with(|| Ok(()), proc, at)
    }

    /// The same with something to be done once more by the user that it becomes,
    /// if that is another: `assumed`.
    pub(crate) fn prepare_with(
        &self,
        assumed: impl FnOnce() -> Result<(), Cause>,
        proc: Option<&Proc>,
        at: &Progress,
    ) -> Result<Prepared, Cause> {
        at.enter(Step::Affinity);
        match &self.affinity {
            Some(affinity) => affinity.apply()?,
            None => scheduling::reset_affinity()?,
        }

        // Before the user changes: the directory may have to be made, or be
        // closed to all but root. If it is closed to root (a file system of the
        // user's, FUSE or NFS), once more after.
        at.enter(Step::WorkingDirectory);
        let entered = match self.enter_working_directory(at) {
            Err(Cause::Errno(Errno::EACCES | Errno::EPERM)) => false,
            done => done.map(|()| true)?,
        };
        stdio::hand_over(self.streams, self.credentials.uid, at)?;
        at.enter(Step::BoundingSet);
        self.capabilities.bound()?;
        self.credentials.assume(proc, at)?;
        if !self.credentials.are_roots() {
            assumed()?;
        }
        self.capabilities.apply(self.reserved(), at)?;
        at.enter(Step::AppArmor);
        if let Some(profile) = &self.app_armor {
            profile.apply(proc.ok_or(Errno::EPROTO)?)?;
        }
        at.enter(Step::NoNewPrivileges);
        if self.no_new_privileges {
            set_no_new_privs()?;
        }

        // From here on this is the container's user, who may read and execute
        // no more than its process could.
        if !entered {
            at.enter(Step::WorkingDirectory);
            self.enter_working_directory(at)?;
        }
        at.enter(Step::Home);
        let home = match self.command.home {
            Home::Given => None,
            Home::FromPasswd => Some(home::variable(self.credentials.uid)),
        };
        at.enter(Step::Executable);
        let executable = self.command.find()?.to_owned();
        let obstacle = Obstacle::of(&executable);
        // Last, as nothing of the above may depend on it.
        self.credentials.set_umask();
        Ok(Prepared {
            executable,
            obstacle,
            home,
        })
    }

    /// Makes `process.cwd` if it is missing. For a root that is about to become
    /// read-only this is the last occasion; else [`Process::prepare`] does it.
    pub(crate) fn make_working_directory(&self, at: &Progress) -> Result<(), Cause> {
        at.enter(Step::WorkingDirectory);
        self.working_directory.make()
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

    /// Raises, from outside, the limits of the process `pid` that it could not
    /// raise itself. The rest of the limits come with [`Process::exec`].
    ///
    /// # Errors
    /// `process.rlimits[2]: RLIMIT_NPROC`, with the errno as its source.
    pub(crate) fn wire(&self, pid: Pid) -> anyhow::Result<()> {
        self.limits.raise(pid)
    }

    /// The same for a process that joins, and still has all the runtime's rights:
    /// it is the one that asks for more.
    pub(crate) fn raise_limits(&self, at: &Progress) -> Result<(), Cause> {
        Ok(self.limits.raise_own(at)?)
    }

    /// Runtime: where a process that joins is to begin. This one goes there.
    ///
    /// # Errors
    /// When there is no such CPU.
    pub(crate) fn begin(&self) -> anyhow::Result<()> {
        self.affinity.as_ref().map_or(Ok(()), Affinity::wire)
    }

    /// The compiled filter, for those that join later.
    pub(crate) fn filter(&self) -> Option<&Seccomp> {
        self.seccomp.as_ref()
    }

    /// Runtime, as soon as the process has its copies: what was handed on is its alone.
    ///
    /// # Errors
    /// What close_range(2) says.
    pub(crate) fn let_go(&self) -> anyhow::Result<()> {
        self.passed.let_go()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn plan(json: &str) -> anyhow::Result<Process> {
        let process = serde_json::from_str(json).unwrap();
        let options = Options {
            id: "web",
            new_keyring: true,
            caller: &Caller::default(),
            apparmor: true,
            filter: Filter::None,
            role: Role::Init,
            streams: Streams::Left,
            passed: Passed::default(),
            keeps_groups: false,
            variable: None,
        };
        Process::plan(&process, &options)
    }

    #[test]
    fn a_process_without_arguments_is_refused() {
        let error = plan(r#"{"user": {"uid": 0, "gid": 0}, "cwd": "/"}"#).unwrap_err();
        assert_eq!(error.to_string(), "process.args: must not be empty");
    }
}
