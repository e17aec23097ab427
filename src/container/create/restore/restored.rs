//! What `rt restore` does while CRIU works, at its notices.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::request::RestoreRequest;
use super::verify;
use crate::container::checkpoint::images::Images;
use crate::container::checkpoint::{CriuRequest, yards};
use crate::container::child::Child;
use crate::container::create::exec_defaults;
use crate::container::foreground::Foreground;
use crate::container::hooks;
use crate::container::state::{Container, State};
use crate::container::teardown::{self, surviving_cgroups};
use crate::criu::Notice;
use crate::network;
use crate::plan::Plan;
use crate::rootfs::Staged;
use crate::sys;
use crate::trusted_proc::Proc;

/// The container while CRIU restores it.
pub(super) struct Restored<'a> {
    pub(super) request: &'a RestoreRequest,
    pub(super) plan: &'a Plan,
    pub(super) container: &'a Container,
    pub(super) state: State,
    pub(super) proc: &'a Proc,
    pub(super) staged: &'a Staged,
    pub(super) images: &'a Images,
    pub(super) criu: Pid,
    /// CRIU leaves the new network namespace as it is.
    pub(super) brings_up_loopback: bool,
    /// The restored process.
    pub(super) child: Option<Child>,
    /// The answer to a notice was a failure. CRIU goes on after some of them.
    pub(super) refused: bool,
    /// The processes are as the bundle demands.
    pub(super) finished: bool,
}

impl Restored<'_> {
    pub(super) fn answer(
        &mut self,
        notice: Notice,
        console: Option<BorrowedFd>,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        let answered = self.act(notice, console, foreground);
        self.refused |= answered.is_err();
        answered
    }

    fn act(
        &mut self,
        notice: Notice,
        console: Option<BorrowedFd>,
        foreground: &mut Option<Foreground>,
    ) -> Result<()> {
        match notice {
            Notice::NamespacesReady { pid } => self.call_hooks(pid, foreground),
            Notice::Restored { pid } => {
                let pidfd = sys::pidfd_open(pid).context("pidfd_open")?;
                self.child = Some(Child { pid, pidfd });
                Ok(())
            }
            Notice::BeforeResume => self.finish().inspect_err(|_| {
                self.kill();
                self.kill_criu();
            }),
            Notice::TerminalMaster(master) => {
                let console = console
                    .context("process.terminal: the images have one, and config.json has none")?;
                sys::send_descriptor(console, b"/dev/ptmx", master.as_fd())
                    .context("console socket")
            }
            Notice::StatusReady | Notice::Dumped | Notice::Other => Ok(()),
        }
    }

    /// As runc does: nothing is mounted at this moment of a restore.
    fn call_hooks(&self, pid: Pid, foreground: &mut Option<Foreground>) -> Result<()> {
        if self.brings_up_loopback {
            network::bring_up_loopback(pid, self.proc)?;
        }
        hooks::call_at_creation(self.plan, &self.state, (pid, None), foreground)?;
        let namespaces = &self.plan.namespaces;
        namespaces.write_lost_sysctls(pid, self.brings_up_loopback, self.proc)
    }

    /// The processes do not run yet: they run after this, unless it fails.
    fn finish(&mut self) -> Result<()> {
        ensure!(!self.refused, "criu: restored what was refused");
        let pid = self.child.as_ref().context("criu: restored nothing")?.pid;
        self.images.check_filters()?;
        verify::compare((pid, self.criu), (self.plan, self.staged), self.proc)?;
        self.state.restored = true;
        self.state.set_init_process(pid, self.plan, self.proc)?;
        let exec = exec_defaults(&self.request.container, self.plan)?;
        self.state.finish(exec);
        // If this command is killed before CRIU has its answer, the processes never run; after that
        // they run, whoever is killed.
        let state = with_criu(&self.state, &self.request.common);
        state.save(self.container.as_fd())?;
        self.finished = true;
        Ok(())
    }

    /// CRIU would let the processes run all the same, so they have to end now.
    fn kill(&self) {
        if let Some(child) = &self.child {
            // The images may have put a process into another cgroup. While CRIU holds them, the tree is whole.
            for pid in self.proc.tree(child.pid).unwrap_or_default() {
                // An error means that it has ended.
                let _ = kill(pid, Signal::SIGKILL);
            }
            // The same. The tree is empty if /proc cannot be read.
            let _ = sys::pidfd_send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        // The caller has an error to report, and undoes the rest.
        let _ = surviving_cgroups(&self.state).kill(libc::SIGKILL);
    }

    /// The restored processes have stopped for CRIU (ptrace(2)). It would wait for the end of PID 1, which waits until
    /// CRIU has reaped the others.
    fn kill_criu(&self) {
        // An error means that it has ended. It is not reaped before that is noticed.
        let _ = kill(self.criu, Signal::SIGKILL);
    }

    /// After a failure CRIU has killed all processes and removed what it made, unless it was killed
    /// itself. It may have told of none of the processes then.
    pub(super) fn kill_all(&self) {
        let cgroups = self.state.cgroups();
        if cgroups.are_own() {
            // The error of CRIU is reported.
            let _ = teardown::kill_frozen(&cgroups);
        }
        self.kill();
        // The same.
        let _ = yards::remove(self.request.common.work_directory());
    }
}

/// The state while CRIU and what it has made are in the cgroup.
pub(super) fn with_criu(state: &State, common: &CriuRequest) -> State {
    State {
        own_pid_namespace: false,
        restore_directory: Some(common.work_directory().to_owned()),
        ..state.clone()
    }
}
