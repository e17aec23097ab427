//! One hook, from the clone to its end.

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

use super::super::descriptors::close_all_but;
use super::Hook;
use super::wired::{Output, input, tell};
use crate::process::{Prepared, Process};
use crate::step::{Cause, Progress, Refusal};
use crate::sys::{self, Ended, Forked};

/// As much as the largest signal's number (signal(7)).
const SIGNALS: i32 = 64;

/// Waits until one of the descriptors can be read, and returns its index; `None` when
/// the time is over, or for no reason. `ECANCELED` calls the hook off.
pub(crate) type Wait<'a> = dyn FnMut(&[BorrowedFd], PollTimeout) -> nix::Result<Option<usize>> + 'a;

/// How a hook failed, and what it said.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    /// `, stdout: ..., stderr: ...`, or nothing.
    pub(crate) said: String,
}

/// What a hook finds when it begins.
pub(super) struct Scene<'a> {
    /// Begins at its start.
    pub(super) input: BorrowedFd<'a>,
    /// Without, it writes where its parent does.
    pub(super) output: Option<&'a Output>,
    pub(super) directory: Directory<'a>,
    /// Without, its parent's.
    pub(super) umask: Option<Mode>,
    /// The container's process, whose end is the hook's. Without, nobody's is.
    pub(super) container: Option<BorrowedFd<'a>>,
    /// The process whose limits, filter and, without one of its own, environment
    /// the hook has.
    pub(super) like: Option<(&'a Process, &'a Prepared)>,
}

/// Where a hook begins.
#[derive(Clone, Copy)]
pub(super) enum Directory<'a> {
    Path(&'a Path),
    Open(BorrowedFd<'a>),
    /// Where its parent is.
    Parents,
}

impl Hook {
    /// Runs a hook in the namespaces of this process, the runtime, and waits
    /// for its end. `state` is what it reads, `bundle` where it begins, as long
    /// as that is there: a manager may remove it before the container. When the
    /// process of `container` ends, a hook has nothing left to wait for.
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
        let input = input().map_err(failed)?;
        tell(input.as_fd(), state).map_err(failed)?;
        let output = Output::new().map_err(failed)?;
        let directory = if bundle.is_dir() {
            bundle
        } else {
            "/".as_ref()
        };
        let scene = Scene {
            input: input.as_fd(),
            output: Some(&output),
            directory: Directory::Path(directory),
            umask: None,
            container,
            like: None,
        };
        let ran = self.run_in(&scene, wait);
        ran.map_err(|cause| Failed {
            cause,
            said: output.said(),
        })
    }

    /// Runs a hook as a child of this process and waits for its end.
    pub(super) fn run_in(&self, scene: &Scene, wait: &mut Wait) -> Result<(), Cause> {
        let path = word(&self.path)?;
        let (args, env) = (words(&self.args)?, self.environment(scene)?);
        let (why, say_why) = pipe2(OFlag::O_CLOEXEC)?;
        let (pid, pidfd) = match sys::fork()? {
            Forked::Parent { pid, pidfd } => (pid, pidfd),
            Forked::Child => {
                let ready = scene.enter(say_why.as_fd());
                let Err(errno) = ready.and_then(|()| execve(&path, &args, &env));
                // If that fails too, the parent sees a hook that ended with 127.
                let _ = write(say_why, &(errno as i32).to_ne_bytes());
                sys::exit(127)
            }
        };
        drop(say_why);
        let both = [Some(pidfd.as_fd()), scene.container];
        let ended = self.wait(pid, both, wait);
        // The other end is closed by now, by execve(2) or by the end.
        let mut errno = [0; size_of::<i32>()];
        match read(why, &mut errno) {
            Ok(length) if length == errno.len() => {
                Err(Errno::from_raw(i32::from_ne_bytes(errno)).into())
            }
            Ok(_) | Err(_) => ended,
        }
    }

    fn environment(&self, scene: &Scene) -> nix::Result<Vec<CString>> {
        match (&self.env, scene.like) {
            (Some(own), _) => words(own),
            (None, Some((process, prepared))) => {
                Ok(process.environment(prepared).cloned().collect())
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Waits for the end of a hook; ends it, and what it has started, when its
    /// time is over, its container has ended, or it is called off.
    fn wait(
        &self,
        pid: Pid,
        [hook, container]: [Option<BorrowedFd>; 2],
        wait: &mut Wait,
    ) -> Result<(), Cause> {
        let both: Vec<BorrowedFd> = [hook, container].into_iter().flatten().collect();
        let waited = wait_until(&both, self.timeout, wait);
        if waited != Ok(Waited::Ended) {
            // The group is there as soon as the hook runs.
            for sent in [
                killpg(pid, Signal::SIGKILL),
                sys::pidfd_send_signal(both[0], libc::SIGKILL),
            ] {
                if !matches!(sent, Ok(()) | Err(Errno::ESRCH)) {
                    sent?;
                }
            }
        }
        let ended = loop {
            match sys::wait(Some(pid), WaitPidFlag::empty()) {
                Err(Errno::EINTR) => {}
                done => break done?,
            }
        };
        match (waited?, ended) {
            (Waited::TimeOver(seconds), _) => Err(Cause::TimedOut(seconds)),
            (Waited::ContainerEnded, _) => Err(Refusal::ContainerEnded.into()),
            (_, Some((_, Ended::Exited(0)))) => Ok(()),
            (_, Some((_, Ended::Exited(code)))) => Err(Cause::Exit(code.into())),
            (_, Some((_, Ended::Signaled(signal)))) => Err(Cause::Signal(signal)),
            // It was waited for.
            (_, None) => Err(Errno::ECHILD.into()),
        }
    }
}

impl Scene<'_> {
    /// Makes this process, a copy of its parent, one that knows nothing of it, but
    /// for `report`.
    fn enter(&self, report: BorrowedFd) -> nix::Result<()> {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        match self.directory {
            Directory::Path(path) => chdir(path)?,
            Directory::Open(directory) => fchdir(directory)?,
            Directory::Parents => {}
        }
        if let Some(mask) = self.umask {
            umask(mask);
        }
        dup2_stdin(self.input)?;
        if let Some(output) = self.output {
            dup2_stdout(&output.stdout)?;
            dup2_stderr(&output.stderr)?;
        }
        // What the caller ignores, and what `rt` blocks in the foreground.
        for signal in 1..=SIGNALS {
            match sys::default_signal(signal) {
                // SIGKILL and SIGSTOP have no other.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
        sys::unblock_all()?;
        close_all_but(report)?; // The container's hooks are files of the image, too.
        match self.like {
            Some((process, _)) => process.restrict(&Progress::new()),
            None => Ok(()),
        }
    }
}

/// What came first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    Ended,
    ContainerEnded,
    /// So many seconds have passed.
    TimeOver(u32),
}

/// Waits for the end of the hook, which comes first, of its container, or of its time.
fn wait_until(both: &[BorrowedFd], seconds: Option<u32>, wait: &mut Wait) -> nix::Result<Waited> {
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let patience = match left {
            None => PollTimeout::NONE,
            // Rounded up: what is left of the last millisecond is waited for.
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        match (wait(both, patience)?, left, seconds) {
            (Some(0), ..) => return Ok(Waited::Ended),
            (Some(_), ..) => return Ok(Waited::ContainerEnded),
            (None, Some(Duration::ZERO), Some(seconds)) => return Ok(Waited::TimeOver(seconds)),
            (None, ..) => {}
        }
    }
}

/// Waits for nothing else ([`Wait`]).
pub(crate) fn wait_alone(fds: &[BorrowedFd], patience: PollTimeout) -> nix::Result<Option<usize>> {
    let fds = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    let mut fds: Vec<PollFd> = fds.collect();
    match poll(&mut fds, patience) {
        Ok(_) => Ok(fds.iter().position(|fd| fd.any() != Some(false))),
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn word(word: &str) -> nix::Result<CString> {
    CString::new(word).map_err(|_| Errno::EINVAL)
}

fn words(list: &[String]) -> nix::Result<Vec<CString>> {
    list.iter().map(|text| word(text)).collect()
}
