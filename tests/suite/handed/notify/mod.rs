//! `NOTIFY_SOCKET`: how "I am ready" gets from a container to the service manager (sd_notify(3)).

mod absent;
mod ready;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use libtest_mimic::Trial;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::harness::{Bundle, Call, Kind, wait_until};

pub(super) fn tests() -> Vec<Trial> {
    ready::tests().into_iter().chain(absent::tests()).collect()
}

/// The service manager: what a unit of `Type=notify` is started by.
struct Manager {
    socket: UnixDatagram,
    /// As `NOTIFY_SOCKET` has it.
    address: String,
}

/// One message, with the descriptors that came along.
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

    fn abstract_one(bundle: &Bundle) -> Self {
        let name = format!("rt-suite/{}", bundle.id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self {
            socket: UnixDatagram::bind_addr(&address).unwrap(),
            address: format!("@{name}"),
        }
    }

    fn tell(&self, call: Call) -> Call {
        call.with(|command| command.env("NOTIFY_SOCKET", &self.address))
    }

    fn has_message(&self, patience: u16) -> bool {
        use std::os::fd::AsFd;
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(patience)).unwrap() == 1
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
        // SAFETY: the kernel has just opened these for this process, and nobody else knows them.
        let descriptors = rights
            .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
            .collect();
        let length = got.bytes;
        Message {
            text: String::from_utf8_lossy(&bytes[..length]).into_owned(),
            descriptors,
        }
    }

    /// The three messages that newer runc sends, the barrier still open; 1.1 sends none.
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

/// With a mount point, which would else be made in the root file system, as every other is.
fn bundle() -> Bundle {
    Bundle::new().folder("run/notify")
}

const ZOMBIES: &str = "it waits for a process that has ended, as long as nobody has reaped it";

fn speaking(messages: &[&str]) -> Bundle {
    bundle().args(&[&["/probe", "notify"], messages].concat())
}

/// A moment in which what must not happen could happen.
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(150));
}

fn is_running(pid: i32) -> bool {
    crate::harness::alive(pid)
}

impl Bundle {
    /// Once the runtime knows it.
    fn container_pid_once_it_runs(&self) -> i32 {
        let state: PathBuf = self.runtime().root().join(self.id()).join("state.json");
        wait_until("the container to run", || {
            state.exists() && self.container().status() == "running"
        });
        self.container().pid()
    }
}
