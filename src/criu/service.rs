//! A process `criu swrk`, and the exchange of messages with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Error, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use prost::Message;

use super::program::Program;
use super::rpc::{Features, Options, Request, Response, Task};
use crate::sys::{self, Forked, Pointers};

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
}

impl Swrk {
    pub(crate) fn new() -> Result<Swrk> {
        let (own, criu) = sys::socketpair().context("socketpair")?;
        Ok(Swrk { own, criu })
    }

    /// Starts CRIU as a child in the namespaces of this process.
    pub(super) fn start_program(self, program: &Program) -> Result<Service> {
        match sys::fork().context("criu")? {
            Forked::Parent { pid, .. } => Ok(self.started(pid)),
            Forked::Child => {
                let _errno = self.execute_program(program, &[]);
                sys::exit(127)
            }
        }
    }

    /// The service of a process that calls `Criu::execute`.
    pub(crate) fn started(self, pid: Pid) -> Service {
        Service {
            socket: self.own,
            pid,
        }
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
        mut answer: impl FnMut(Notice) -> Result<()>,
    ) -> Result<(), Failure> {
        let request = Request {
            task: task.into(),
            options: Some(options),
            ..Request::default()
        };
        let mut refused = None;
        let performed = self.send(&request).and_then(|()| {
            self.serve(&mut |notice| {
                let answered = answer(notice);
                let succeeded = answered.is_ok();
                refused = refused.take().or(answered.err());
                succeeded
            })
        });
        let exited = self.reap();
        if let Some(error) = refused {
            return Err(Failure::Answer(error));
        }
        performed.map_err(Failure::Criu)?;
        // After a pre-dump CRIU waits for the next one, and ends when the socket is closed.
        let error = match exited {
            Some(sys::Ended::Exited(0)) | None => return Ok(()),
            _ if task == Task::PreDump => return Ok(()),
            Some(sys::Ended::Exited(code)) => anyhow!("criu: exit status {code}"),
            Some(sys::Ended::Signaled(signal)) => anyhow!("criu: ended by signal {signal}"),
        };
        Err(Failure::Criu(error))
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

    /// Closes the socket and waits for the end of the process. `None` if another has reaped it.
    fn reap(self) -> Option<sys::Ended> {
        let Service { socket, pid } = self;
        drop(socket);
        loop {
            match sys::wait(Some(pid), WaitPidFlag::empty()) {
                Ok(ended) => return ended.map(|(_, ended)| ended),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

fn notice(script: &str, pid: Pid, descriptor: Option<OwnedFd>) -> Notice {
    match (script, descriptor) {
        ("status-ready", _) => Notice::StatusReady,
        ("setup-namespaces", _) => Notice::NamespacesReady { pid },
        ("post-restore", _) => Notice::Restored { pid },
        ("pre-resume", _) => Notice::BeforeResume,
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
