//! `NOTIFY_SOCKET`: READY=1 is forwarded from a container to the service manager (sd_notify(3)).

mod absent;
mod ready;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use crate::runner::Test;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::harness::{Bundle, Call, Kind, Running, blocks_in_poll, stat, wait_until};

pub(super) fn tests() -> Vec<Test> {
    ready::tests().into_iter().chain(absent::tests()).collect()
}

/// A service manager that has started a unit with `Type=notify`.
struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    address: String,
}

/// A message and the descriptors that were sent with it.
struct Message {
    text: String,
    descriptors: Vec<OwnedFd>,
}

impl Manager {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.runtime().home().join("manager.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self {
            socket,
            address: path.to_str().unwrap().to_owned(),
        }
    }

    fn with_abstract_address(bundle: &Bundle) -> Self {
        let name = format!("rt-suite/{}", bundle.id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self {
            socket: UnixDatagram::bind_addr(&address).unwrap(),
            address: format!("@{name}"),
        }
    }

    fn set_notify_socket(&self, call: Call) -> Call {
        call.with(|command| command.env("NOTIFY_SOCKET", &self.address))
    }

    fn has_message(&self, timeout: u16) -> bool {
        use std::os::fd::AsFd;
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(timeout)).unwrap() == 1
    }

    #[track_caller]
    #[allow(unsafe_code, reason = "received descriptors are numbers")]
    fn receive(&self) -> Message {
        assert!(self.has_message(30_000), "nothing came from the runtime");
        let mut bytes = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; 8]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let number = self.socket.as_raw_fd();
        let got = recvmsg::<()>(number, &mut parts, Some(&mut space), flags).unwrap();
        let rights = got.cmsgs().unwrap().flat_map(|message| match message {
            ControlMessageOwned::ScmRights(numbers) => numbers,
            _ => Vec::new(),
        });
        // SAFETY: the kernel has just created these descriptors, and nothing else owns them.
        let descriptors = rights
            .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
            .collect();
        let length = got.bytes;
        Message {
            text: String::from_utf8_lossy(&bytes[..length]).into_owned(),
            descriptors,
        }
    }

    /// Receives the three messages that rt and newer runc send. Returns the barrier, which is still
    /// open; runc 1.1 sends none.
    #[track_caller]
    fn receive_ready(&self, main: i32) -> Option<OwnedFd> {
        assert_eq!(self.receive().text, "READY=1\n");
        assert_eq!(self.receive().text, format!("MAINPID={main}\n"));
        if Kind::under_test() == Kind::Runc {
            return None;
        }
        let mut barrier = self.receive();
        assert_eq!(barrier.text, "BARRIER=1");
        assert_eq!(barrier.descriptors.len(), 1);
        barrier.descriptors.pop()
    }

    #[track_caller]
    fn assert_silent(&self) {
        assert!(!self.has_message(0), "{:?}", self.receive().text);
    }
}

/// A bundle with a mount point for the socket, which would otherwise be created in the root file
/// system.
fn bundle() -> Bundle {
    Bundle::new().folder("run/notify")
}

const ZOMBIES: &str = "it waits for a process that has exited until it is reaped";

fn sending(messages: &[&str]) -> Bundle {
    bundle().args(&[&["/probe", "notify"], messages].concat())
}

/// Waits until the runtime itself waits for something, and asserts that it has not exited.
#[track_caller]
fn assert_blocks(running: &Running) {
    let pid = running.pid();
    let sleeps = || stat(pid, 3) == Some('S');
    wait_until("the runtime to wait", || match Kind::under_test() {
        Kind::Rt => blocks_in_poll(pid),
        Kind::Runc | Kind::Crun => sleeps(),
    });
    assert!(is_running(pid), "it has exited");
}

fn is_running(pid: i32) -> bool {
    crate::harness::alive(pid)
}

impl Bundle {
    /// The pid of the container's process, as soon as `state` shows it.
    fn container_pid_once_it_runs(&self) -> i32 {
        let state: PathBuf = self.runtime().root().join(self.id()).join("state.json");
        wait_until("the container to run", || {
            state.exists() && self.container().status() == "running"
        });
        self.container().pid()
    }
}
