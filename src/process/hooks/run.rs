//! Runs one hook: forks, executes the program, and waits for its end, its timeout, or the
//! end of the container.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{
    Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, fchdir, pipe2, read, setpgid, write,
};

use super::Hook;
use super::stdio::{Output, new_input, write_state};
use crate::process::descriptors::close_all_but;
use crate::process::{Prepared, Process};
use crate::step::{Cause, Progress, Refusal};
use crate::sys::{self, Ended, Forked};

/// The largest signal number (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// Waits until one of the descriptors is readable and returns its index, or `None` on a
/// timeout or a spurious wakeup. The error `ECANCELED` cancels the hook.
pub(crate) type Wait<'a> = dyn FnMut(&[BorrowedFd], PollTimeout) -> nix::Result<Option<usize>> + 'a;

/// Why a hook failed, and the end of its output.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    /// `, stdout: ..., stderr: ...`, or nothing.
    pub(crate) said: String,
}

/// The surroundings of a hook when it starts.
pub(super) struct HookContext<'a> {
    /// Standard input, with its offset at 0.
    pub(super) input: BorrowedFd<'a>,
    /// Standard output and error; `None` inherits those of the parent.
    pub(super) output: Option<&'a Output>,
    pub(super) directory: HookDirectory<'a>,
    /// `None` inherits the umask of the parent.
    pub(super) umask: Option<Mode>,
    /// A pidfd of the container's process, if the hook is to be killed when that ends.
    pub(super) container: Option<BorrowedFd<'a>>,
    /// The process whose limits and seccomp filter apply to the hook. A hook without
    /// `env` has the environment of this process, too.
    pub(super) process: Option<(&'a Process, &'a Prepared)>,
}

/// The working directory of a hook.
#[derive(Clone, Copy)]
pub(super) enum HookDirectory<'a> {
    Path(&'a Path),
    Open(BorrowedFd<'a>),
    /// That of the parent.
    Inherited,
}

impl Hook {
    /// Runs a hook in the namespaces of this process, the runtime, and waits for its end.
    ///
    /// The hook reads `state` and starts in `bundle`, or in `/` when the bundle is gone: a
    /// manager may remove it before the container is deleted. `container` is a pidfd: when
    /// the container's process ends, the hook is killed and fails.
    pub(crate) fn run(
        &self,
        state: &[u8],
        bundle: &Path,
        container: Option<BorrowedFd>,
        wait: &mut Wait,
    ) -> Result<(), Failed> {
        let failed = |errno: Errno| Failed {
            cause: errno.into(),
            said: String::new(),
        };
        let input = new_input().map_err(failed)?;
        write_state(input.as_fd(), state).map_err(failed)?;
        let output = Output::new().map_err(failed)?;
        let directory = if bundle.is_dir() {
            bundle
        } else {
            "/".as_ref()
        };
        let context = HookContext {
            input: input.as_fd(),
            output: Some(&output),
            directory: HookDirectory::Path(directory),
            umask: None,
            container,
            process: None,
        };
        self.run_in(&context, wait).map_err(|cause| Failed {
            cause,
            said: output.excerpt(),
        })
    }

    /// Runs a hook as a child of this process and waits for its end.
    pub(super) fn run_in(&self, context: &HookContext, wait: &mut Wait) -> Result<(), Cause> {
        let path = c_string(&self.path)?;
        let (args, env) = (c_strings(&self.args)?, self.environment(context)?);
        let (error_reader, error_writer) = pipe2(OFlag::O_CLOEXEC)?;
        let (pid, pidfd) = match sys::fork()? {
            Forked::Parent { pid, pidfd } => (pid, pidfd),
            Forked::Child => {
                let entered = context.enter(error_writer.as_fd());
                let Err(errno) = entered.and_then(|()| execve(&path, &args, &env));
                // When this write fails too, the parent sees exit status 127.
                let _ = write(error_writer, &(errno as i32).to_ne_bytes());
                sys::exit(127)
            }
        };
        drop(error_writer);
        let pidfds = [Some(pidfd.as_fd()), context.container];
        let result = self.wait(pid, pidfds, wait);
        // The write end is closed by now: by execve(2), or by the exit of the child.
        let mut errno = [0; size_of::<i32>()];
        match read(error_reader, &mut errno) {
            Ok(length) if length == errno.len() => {
                Err(Errno::from_raw(i32::from_ne_bytes(errno)).into())
            }
            Ok(_) | Err(_) => result,
        }
    }

    fn environment(&self, context: &HookContext) -> nix::Result<Vec<CString>> {
        match (&self.env, context.process) {
            (Some(env), _) => c_strings(env),
            (None, Some((process, prepared))) => {
                Ok(process.environment(prepared).cloned().collect())
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Waits for the end of a hook. Kills the hook and its process group when the timeout
    /// expires, the container's process ends, or `wait` fails.
    fn wait(
        &self,
        pid: Pid,
        [hook, container]: [Option<BorrowedFd>; 2],
        wait: &mut Wait,
    ) -> Result<(), Cause> {
        let pidfds: Vec<BorrowedFd> = [hook, container].into_iter().flatten().collect();
        let end = wait_until(&pidfds, self.timeout, wait);
        if end != Ok(WaitResult::HookExited) {
            // The group exists as soon as the hook runs. Until then only the pidfd reaches it.
            for sent in [
                killpg(pid, Signal::SIGKILL),
                sys::pidfd_send_signal(pidfds[0], libc::SIGKILL),
            ] {
                if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
                    sent?;
                }
            }
        }
        let status = loop {
            match sys::wait(Some(pid), WaitPidFlag::empty()) {
                Err(Errno::EINTR) => {}
                done => break done?,
            }
        };
        match (end?, status) {
            (WaitResult::TimedOut(seconds), _) => Err(Cause::TimedOut(seconds)),
            (WaitResult::ContainerExited, _) => Err(Refusal::ContainerEnded.into()),
            (_, Some((_, Ended::Exited(0)))) => Ok(()),
            (_, Some((_, Ended::Exited(code)))) => Err(Cause::Exit(code.into())),
            (_, Some((_, Ended::Signaled(signal)))) => Err(Cause::Signal(signal)),
            // Impossible: wait(2) is called without WNOHANG.
            (_, None) => Err(Errno::ECHILD.into()),
        }
    }
}

impl HookContext<'_> {
    /// Prepares this process, the child of fork(2), for execve(2): it inherits nothing of
    /// its parent that is not listed here. The descriptor `report` stays open.
    fn enter(&self, report: BorrowedFd) -> nix::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        match self.directory {
            HookDirectory::Path(path) => chdir(path)?,
            HookDirectory::Open(directory) => fchdir(directory)?,
            HookDirectory::Inherited => {}
        }
        if let Some(mask) = self.umask {
            umask(mask);
        }
        dup2_stdin(self.input)?;
        if let Some(output) = self.output {
            dup2_stdout(&output.stdout)?;
            dup2_stderr(&output.stderr)?;
        }
        // The caller of `rt` may ignore signals, and `rt run` in the foreground blocks some.
        for signal in 1..=LAST_SIGNAL {
            match sys::default_signal(signal) {
                // SIGKILL and SIGSTOP always have their default action.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        sys::unblock_all()?;
        close_all_but(report)?; // startContainer hooks are programs of the image, which is untrusted.
        match self.process {
            Some((process, _)) => process.restrict(&Progress::new()),
            None => Ok(()),
        }
    }
}

/// Why the wait for a hook ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitResult {
    HookExited,
    ContainerExited,
    /// The timeout of so many seconds expired.
    TimedOut(u32),
}

/// Waits until the hook exits, the container's process exits, or the timeout expires.
/// `pidfds` are those of the hook and, optionally, of the container.
fn wait_until(
    pidfds: &[BorrowedFd],
    seconds: Option<u32>,
    wait: &mut Wait,
) -> nix::Result<WaitResult> {
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            // Rounded up: rounded down, the last millisecond would be a busy loop.
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        match (wait(pidfds, timeout)?, left, seconds) {
            (Some(0), ..) => return Ok(WaitResult::HookExited),
            (Some(_), ..) => return Ok(WaitResult::ContainerExited),
            (None, Some(Duration::ZERO), Some(seconds)) => {
                return Ok(WaitResult::TimedOut(seconds));
            }
            (None, ..) => {}
        }
    }
}

/// The [`Wait`] of a caller that has nothing else to wait for: poll(2) alone.
pub(crate) fn poll_fds(fds: &[BorrowedFd], timeout: PollTimeout) -> nix::Result<Option<usize>> {
    let fds = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut fds: Vec<PollFd> = fds.collect();
    match poll(&mut fds, timeout) {
        Ok(_) => Ok(fds.iter().position(|fd| fd.any() != Some(false))),
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn c_string(text: &str) -> nix::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

fn c_strings(list: &[String]) -> nix::Result<Vec<CString>> {
    list.iter().map(|text| c_string(text)).collect()
}
