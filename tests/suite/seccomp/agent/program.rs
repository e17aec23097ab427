//! A seccomp agent: a thread that decides about the system calls of containers (seccomp_unotify(2)).

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use serde_json::Value;

/// What the agent does with a system call.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Continue,
    /// It returns this value.
    Return(i64),
    /// It fails with this errno.
    Fail(i32),
}

/// A container process state, and what came after it on its connection.
pub(super) struct Message {
    pub(super) state: Value,
    /// The bytes after the first message.
    pub(super) rest: usize,
}

/// A running agent.
pub(super) struct Agent {
    pub(super) path: PathBuf,
    messages: Receiver<Message>,
    calls: Receiver<i32>,
}

/// `struct seccomp_notif` of linux/seccomp.h.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`, `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const CONTINUE: u32 = 1;

impl Agent {
    /// Listens in `directory`, and decides about every call with `verdict`, which gets its number.
    pub(super) fn start(
        directory: &Path,
        verdict: impl Fn(i32) -> Verdict + Copy + Send + 'static,
    ) -> Agent {
        Agent::serving(directory, move |notifications, calls| {
            thread::spawn(move || decide(&notifications, verdict, &calls));
        })
    }

    fn serving(directory: &Path, serve: impl Fn(OwnedFd, Sender<i32>) + Send + 'static) -> Agent {
        let path = directory.join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (messages, received) = channel();
        let (calls, seen) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (Ok(connection), calls) = (connection, calls.clone()) else {
                    return;
                };
                let (message, notifications) = receive(connection);
                serve(notifications, calls);
                if messages.send(message).is_err() {
                    return;
                }
            }
        });
        Agent {
            path,
            messages: received,
            calls: seen,
        }
    }

    /// Listens in `directory`, and closes each listener as soon as it has it.
    pub(super) fn that_leaves(directory: &Path) -> Agent {
        Agent::serving(directory, |notifications, _| drop(notifications))
    }

    /// The next container process state.
    pub(super) fn message(&self) -> Message {
        self.messages.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// Whether no other message has arrived.
    pub(super) fn is_idle(&self) -> bool {
        self.messages.try_recv().is_err()
    }

    /// The numbers of the calls so far.
    pub(super) fn calls(&self) -> Vec<i32> {
        self.calls.try_iter().collect()
    }
}

/// Reads a message to its end, and the descriptor that came with its first bytes.
#[allow(unsafe_code, reason = "a received descriptor is a number")]
fn receive(mut connection: UnixStream) -> (Message, OwnedFd) {
    let mut text = vec![0; 65536];
    let mut space = cmsg_space!([RawFd; 4]);
    let (length, descriptors) = {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received =
            recvmsg::<UnixAddr>(connection.as_raw_fd(), &mut parts, Some(&mut space), flags)
                .unwrap();
        let mut descriptors = Vec::new();
        for control in received.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                descriptors.extend(numbers);
            }
        }
        (received.bytes, descriptors)
    };
    assert_eq!(descriptors.len(), 1);
    // SAFETY: the kernel installed a new descriptor, and no other value owns it.
    let notifications = unsafe { OwnedFd::from_raw_fd(descriptors[0]) };
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    let state = serde_json::from_slice(&text[..length]).unwrap();
    let message = Message {
        state,
        rest: rest.len(),
    };
    (message, notifications)
}

/// Decides about all calls until the process has ended.
#[allow(unsafe_code, reason = "no safe function knows these requests")]
fn decide(notifications: &OwnedFd, verdict: impl Fn(i32) -> Verdict, calls: &Sender<i32>) {
    loop {
        let mut call = Notification::default();
        // SAFETY: the request writes one notification.
        let received = unsafe { libc::ioctl(notifications.as_raw_fd(), RECEIVE, &raw mut call) };
        if received != 0 {
            return;
        }
        let _ = calls.send(call.number);
        let (value, error, flags) = match verdict(call.number) {
            Verdict::Continue => (0, 0, CONTINUE),
            Verdict::Return(value) => (value, 0, 0),
            Verdict::Fail(errno) => (0, -errno, 0),
        };
        let response = Response {
            id: call.id,
            value,
            error,
            flags,
        };
        // SAFETY: the request reads one response.
        unsafe { libc::ioctl(notifications.as_raw_fd(), SEND, &raw const response) };
    }
}
