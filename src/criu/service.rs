//! A process `criu swrk`, and the exchange of messages with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, setpgid};
use prost::Message;

use super::hierarchy::HierarchyOptions;
use super::program::Program;
use super::rpc::{Features, Options, Request, Response, Task};
use crate::sys::{self, Forked, Pointers};
use crate::trusted_proc::Proc;

/// The number that CRIU's end of the socket has in its process.
const SOCKET: RawFd = 3;

/// The number of the first descriptor that CRIU inherits for the container.
pub(crate) const FIRST_DESCRIPTOR: RawFd = SOCKET + 1;

/// The longest message of CRIU, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// What CRIU has done, or is about to do (criu(8), "ACTION SCRIPTS").
pub(crate) enum Notice {
    /// The memory is still to be fetched, over the network.
    StatusReady,
    /// The namespaces of the restored processes exist; `pid` is the first process.
    NamespacesReady { pid: Pid },
    /// The processes exist; `pid` is the first of them.
    Restored { pid: Pid },
    /// The processes have all their attributes, and run when CRIU has its answer, whatever that
    /// is.
    BeforeResume,
    /// The images are whole. The processes still exist; if the answer is a failure, they run on.
    Dumped,
    /// The master of the container's terminal.
    TerminalMaster(OwnedFd),
    /// Nothing that `rt` acts on.
    Other,
}

/// Why a task failed.
pub(crate) enum Failure {
    /// The answer to a notice.
    Answer(Error),
    /// CRIU, whose log has the cause.
    Criu(Error),
    /// The signal that has ended CRIU.
    Killed(i32),
}

/// Both ends of the socket, before there is a process.
pub(crate) struct Swrk {
    own: OwnedFd,
    criu: OwnedFd,
}

/// A running CRIU.
pub(crate) struct Service {
    socket: OwnedFd,
    pid: Pid,
    pidfd: OwnedFd,
    /// The process has a process group of its own.
    has_group: bool,
}

impl Swrk {
    pub(crate) fn new() -> Result<Swrk> {
        let (own, criu) = sys::socketpair().context("socketpair")?;
        Ok(Swrk { own, criu })
    }

    /// Starts CRIU as a child in the namespaces of this process.
    pub(super) fn start_program(self, program: &Program) -> Result<Service> {
        match sys::fork().context("criu")? {
            Forked::Parent { pid, .. } => Ok(Service {
                has_group: true,
                ..self.started(pid)?
            }),
            Forked::Child => {
                // A signal of the terminal is for the runtime. If that ends, CRIU undoes what it has
                // done, but not if it is ended itself. A new child that is no session leader can
                // always have its own group.
                let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
                // The runtime sees the end of the process.
                let _ = self.execute_program(program, &[]);
                sys::exit(127)
            }
        }
    }

    /// The end that the other process has. While CRIU has it too, CRIU sees no end of the
    /// connection.
    pub(super) fn peer(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// The service of a process that calls `Criu::execute`.
    pub(crate) fn started(self, pid: Pid) -> Result<Service> {
        Ok(Service {
            socket: self.own,
            pid,
            pidfd: sys::pidfd_open(pid).context("pidfd_open")?,
            has_group: false,
        })
    }

    /// Executes CRIU in this process, with `inherited` from [`FIRST_DESCRIPTOR`] on. Returns
    /// only on failure.
    pub(super) fn execute_program(&self, program: &Program, inherited: &[BorrowedFd]) -> Errno {
        let placed = place_descriptors(self.criu.as_fd(), inherited);
        if let Err(errno) = placed {
            return errno;
        }
        let args: Pointers = [c"criu", c"swrk", c"3"].into_iter().collect();
        let env: Pointers = [&*program.search_path].into_iter().collect();
        sys::execve(&program.path, &args, &env)
    }
}

/// Gives the descriptors their numbers, from 3 on, without close-on-exec.
fn place_descriptors(socket: BorrowedFd, inherited: &[BorrowedFd]) -> nix::Result<()> {
    let count = RawFd::try_from(inherited.len()).map_err(|_| Errno::EMFILE)?;
    let above = FIRST_DESCRIPTOR + count;
    // First out of the way, because a number may be in use by another of them.
    let all = std::iter::once(&socket).chain(inherited);
    let moved = all.map(|fd| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above)));
    let moved: Vec<RawFd> = moved.collect::<nix::Result<_>>()?;
    for (number, fd) in (SOCKET..).zip(moved) {
        sys::duplicate_to(fd, number)?;
    }
    Ok(())
}

impl Service {
    /// A request that CRIU answers with one message.
    pub(super) fn ask(self, task: Task, features: Option<Features>) -> Result<Response> {
        let request = Request {
            task: task.into(),
            features,
            ..Request::default()
        };
        let answer = self.send(&request).and_then(|()| self.receive());
        self.reap();
        Ok(answer?.0)
    }

    /// Has CRIU perform a task. `answer` is called for each notice; if it fails, CRIU undoes
    /// what it has done.
    ///
    /// # Errors
    /// When `answer` or CRIU fails.
    pub(crate) fn perform(
        self,
        task: Task,
        options: Options,
        proc: &Proc,
        mut answer: impl FnMut(Notice) -> Result<()>,
    ) -> Result<(), Failure> {
        let hierarchy = HierarchyOptions::read(proc).map_err(Failure::Answer)?;
        let request = Request {
            task: task.into(),
            options: Some(options),
            ..Request::default()
        };
        let mut refused = None;
        let performed = self.send(&request).and_then(|()| {
            self.serve(&mut |notice| {
                let answered = hierarchy.put_back(proc).and_then(|()| answer(notice));
                let succeeded = answered.is_ok();
                refused = refused.take().or(answered.err());
                succeeded
            })
        });
        let exited = self.reap();
        let refused = refused.or(hierarchy.put_back(proc).err());
        if let Some(error) = refused {
            return Err(Failure::Answer(error));
        }
        if let Some(sys::Ended::Signaled(signal)) = exited {
            return Err(Failure::Killed(signal));
        }
        performed.map_err(Failure::Criu)?;
        // After a pre-dump CRIU waits for the next one, and ends when the socket is closed.
        match exited {
            Some(sys::Ended::Exited(code)) if code != 0 && task != Task::PreDump => {
                Err(Failure::Criu(anyhow!("criu: exit status {code}")))
            }
            _ => Ok(()),
        }
    }

    fn serve(&self, answer: &mut dyn FnMut(Notice) -> bool) -> Result<()> {
        loop {
            let (response, descriptor) = self.receive()?;
            if !response.success {
                return Err(refusal(&response));
            }
            let Some(notification) = response.notify else {
                return Ok(());
            };
            let pid = Pid::from_raw(notification.pid.unwrap_or_default());
            let script = notification.script.unwrap_or_default();
            let succeeded = answer(notice(&script, pid, descriptor));
            let request = Request {
                task: Task::Notify.into(),
                notify_success: Some(succeeded),
                ..Request::default()
            };
            self.send(&request)?;
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let message = request.encode_to_vec();
        sys::send(self.socket.as_fd(), &message).context("criu")
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        self.wait_for_message()?;
        let mut bytes = vec![0; MAX_MESSAGE];
        let received = sys::recv_with_descriptor(self.socket.as_fd(), &mut bytes);
        let received = received.context("criu")?;
        match &bytes[..received.length] {
            [] => bail!("criu: ended without an answer"),
            message => {
                let response = Response::decode(message).context("criu: its answer")?;
                Ok((response, received.descriptor))
            }
        }
    }

    /// Waits for a message, or for the end of the process. The processes that it has made may have
    /// its end of the socket too, so that is not always closed then.
    fn wait_for_message(&self) -> Result<()> {
        let ready = wait_for_one_of([self.socket.as_fd(), self.pidfd.as_fd()]);
        let [has_message, _] = ready.context("criu")?;
        ensure!(has_message, "criu: ended without an answer");
        Ok(())
    }

    /// Closes the socket and waits for the end of the process. `None` if another has reaped it.
    fn reap(self) -> Option<sys::Ended> {
        let Service {
            socket,
            pid,
            pidfd,
            has_group,
        } = self;
        drop(socket);
        if has_group && wait_for_one_of([pidfd.as_fd()]).is_ok() {
            // What it has started waits for it forever if it was killed. The number is not free
            // before it is reaped. An error means that nobody is left.
            let _ = killpg(pid, Signal::SIGKILL);
        }
        loop {
            match sys::wait(Some(pid), WaitPidFlag::empty()) {
                Ok(ended) => return ended.map(|(_, ended)| ended),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Waits until a descriptor is readable, and returns which ones are.
fn wait_for_one_of<const N: usize>(fds: [BorrowedFd; N]) -> nix::Result<[bool; N]> {
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(fds.map(|fd| fd.any() != Some(false))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn notice(script: &str, pid: Pid, descriptor: Option<OwnedFd>) -> Notice {
    match (script, descriptor) {
        ("status-ready", _) => Notice::StatusReady,
        ("setup-namespaces", _) => Notice::NamespacesReady { pid },
        ("post-restore", _) => Notice::Restored { pid },
        ("pre-resume", _) => Notice::BeforeResume,
        ("post-dump", _) => Notice::Dumped,
        ("orphan-pts-master", Some(master)) => Notice::TerminalMaster(master),
        _ => Notice::Other,
    }
}

fn refusal(response: &Response) -> Error {
    let errno = response.errno.filter(|errno| *errno != 0);
    let errno = errno.map(|errno| format!(" ({:?})", Errno::from_raw(errno)));
    let message = response.message.as_deref().unwrap_or("failed");
    anyhow!("criu: {message}{}", errno.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_rpc_proto() {
        let request = Request {
            task: Task::Dump.into(),
            options: Some(Options {
                images_dir_fd: 5,
                leave_running: Some(true),
                external: vec!["mnt[/a]:/a".to_owned()],
                ..Options::default()
            }),
            ..Request::default()
        };
        // Field 1: 1. Field 2, 17 bytes: field 1: 5, field 3: true, field 37, 10 bytes.
        let expected = b"\x08\x01\x12\x11\x08\x05\x18\x01\xaa\x02\x0amnt[/a]:/a";
        assert_eq!(request.encode_to_vec(), expected);
    }
}
