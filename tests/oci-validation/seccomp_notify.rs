//! config-linux.md, "Seccomp" and "The Container Process State": `SCMP_ACT_NOTIFY` and its listener.

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, Running, alive, trials, violates, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_state_is_sent_over_a_stream_socket,
        the_required_properties_are_there,
        the_descriptor_is_that_of_the_filter,
        the_descriptors_come_with_the_first_message,
        each_connection_carries_one_state_and_is_closed,
        the_metadata_is_passed,
        a_listener_that_is_absent_is_an_error,
        metadata_without_a_path_is_an_error,
        a_path_without_the_action_is_ignored,
    ]
}

/// Longer than any runtime takes.
const LIMIT: Duration = Duration::from_secs(10);

/// What has arrived on a connection.
struct Received {
    state: Value,
    descriptors: Vec<OwnedFd>,
    /// In which read of the socket they have come, from 1 on.
    with: usize,
}

/// A container that makes getpgrp(2), of which the listener at `socket` is notified.
fn notifying(bundle: Bundle, action: &str) -> (Bundle, UnixListener) {
    let socket = bundle.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": socket,
        "listenerMetadata": "opaque=data",
        "syscalls": [{"names": ["getpgrp"], "action": action}],
    });
    let bundle = bundle
        .args(&["/probe", "syscalls", "111"])
        .set("/linux/seccomp", filter);
    (bundle, listener)
}

#[track_caller]
fn accept(listener: &UnixListener, run: &Running) -> UnixStream {
    let mut stream = None;
    wait_until("the runtime to connect", || {
        stream = listener.accept().ok().map(|(stream, _)| stream);
        stream.is_some() || !alive(run.pid())
    });
    let stream = stream.unwrap_or_else(|| panic!("no connection: {}", run.stderr()));
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Reads a connection until there is a whole JSON value.
#[allow(unsafe_code, reason = "descriptors in a message are plain numbers")]
#[track_caller]
fn receive(stream: &UnixStream) -> Received {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut text, mut descriptors, mut with) = (Vec::new(), Vec::new(), 0);
    for number in 1.. {
        let mut bytes = [0; 8192];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; 8]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags);
        let message =
            message.unwrap_or_else(|e| panic!("{e} behind {}", String::from_utf8_lossy(&text)));
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                with = number;
                // SAFETY: the kernel has just opened them for this process, and nothing else knows their numbers.
                let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
                descriptors.extend(numbers.into_iter().map(own));
            }
        }
        let length = message.bytes;
        assert_ne!(length, 0, "it ends: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&bytes[..length]);
        if let Ok(state) = serde_json::from_slice(&text) {
            return Received {
                state,
                descriptors,
                with,
            };
        }
    }
    unreachable!("the loop has no other end")
}

/// Runs the container, and gives what the listener has got. Its end makes the call fail (seccomp_unotify(2)).
#[track_caller]
fn received() -> (Bundle, Received) {
    let (bundle, listener) = notifying(Bundle::new(), "SCMP_ACT_NOTIFY");
    let run = bundle.call("run", &[]).start();
    let mut received = receive(&accept(&listener, &run));
    received.descriptors.clear();
    assert_eq!(run.wait().assert_ok().stdout, "ENOSYS\n");
    (bundle, received)
}

/// "This socket MUST use AF_UNIX domain and SOCK_STREAM type.", "The container runtime MUST send the container process
/// state over the UNIX socket as regular payload serialized in JSON".
fn the_state_is_sent_over_a_stream_socket() {
    let (_, received) = received();
    assert!(received.state.is_object(), "{}", received.state);
}

/// "ociVersion (string, REQUIRED)", "pid (int, REQUIRED)", "state (state, REQUIRED) is the state of the container".
fn the_required_properties_are_there() {
    let (bundle, received) = received();
    let state = &received.state;
    assert!(
        state["ociVersion"].is_string() && state["pid"].as_i64() > Some(1),
        "{state}"
    );
    assert_eq!(state["state"]["id"], bundle.id());
    assert_eq!(state["state"]["bundle"], bundle.path().to_str().unwrap());
    assert!(
        state["state"]["ociVersion"].is_string() && state["state"]["status"].is_string(),
        "{state}"
    );
}

/// "seccompFd (string, REQUIRED) is the seccomp file descriptor returned by the seccomp syscall."
fn the_descriptor_is_that_of_the_filter() {
    let (bundle, listener) = notifying(Bundle::new(), "SCMP_ACT_NOTIFY");
    let run = bundle.call("run", &[]).start();
    let received = receive(&accept(&listener, &run));
    assert_eq!(received.state["fds"], json!(["seccompFd"]));
    assert_eq!(received.descriptors.len(), 1);
    let link = format!("/proc/self/fd/{}", received.descriptors[0].as_raw_fd());
    let link = std::fs::read_link(link).unwrap();
    assert!(
        link.to_string_lossy().contains("seccomp"),
        "{}",
        link.display()
    );
    drop(received);
    run.wait().assert_ok();
}

/// "If more than one sendmsg(2) is used, the file descriptors MUST be sent only in the first call."
fn the_descriptors_come_with_the_first_message() {
    assert_eq!(received().1.with, 1);
}

/// "The runtime MUST send exactly one container process state per connection.", "The connection MUST NOT be reused and it
/// MUST be closed after sending a seccomp state."
fn each_connection_carries_one_state_and_is_closed() {
    violates(Kind::Runc, "leaves it open as long as the container runs");
    violates(Kind::Crun, "leaves it open as long as the container runs");
    let (bundle, listener) = notifying(Bundle::new(), "SCMP_ACT_NOTIFY");
    let bundle = bundle.args(&["/probe", "sleep"]);
    let run = bundle.call("run", &[]).start();
    let connection = accept(&listener, &run);
    let first = receive(&connection);
    // While the container runs, nothing more comes.
    let mut rest = Vec::new();
    (&connection)
        .read_to_end(&mut rest)
        .expect("the connection is not closed");
    assert_eq!(rest, b"");
    wait_until("the container to run", || {
        bundle.container().status() == "running"
    });
    let exec = bundle
        .runtime()
        .call(&["exec", bundle.id(), "/probe", "syscalls", "39"])
        .start();
    let second = receive(&accept(&listener, &exec));
    assert_ne!(first.state["pid"], second.state["pid"]);
    drop((first, second));
    exec.wait().assert_ok();
    bundle.container().end();
    drop(run.wait());
}

/// listenerMetadata: "This string will be sent as the metadata field in the container process state."
fn the_metadata_is_passed() {
    assert_eq!(received().1.state["metadata"], "opaque=data");
}

/// "If sending to this socket fails, the runtime MUST generate an error."
fn a_listener_that_is_absent_is_an_error() {
    let (bundle, _listener) = notifying(Bundle::new(), "SCMP_ACT_NOTIFY");
    assert_error(bundle.set(
        "/linux/seccomp/listenerPath",
        json!("/run/conformance-unheard-of"),
    ));
}

/// listenerMetadata: "This field MUST NOT be set if listenerPath is not set."
fn metadata_without_a_path_is_an_error() {
    violates(Kind::Runc, "ignores it");
    violates(Kind::Crun, "ignores it");
    let (bundle, _listener) = notifying(Bundle::new(), "SCMP_ACT_ERRNO");
    assert_error(bundle.remove("/linux/seccomp/listenerPath"));
}

/// "If the SCMP_ACT_NOTIFY action is not used this value is ignored."
fn a_path_without_the_action_is_ignored() {
    violates(Kind::Crun, "connects all the same");
    let (bundle, listener) = notifying(Bundle::new(), "SCMP_ACT_ERRNO");
    let outcome = bundle.run().assert_ok();
    assert_eq!(outcome.stdout, "EPERM\n");
    assert!(listener.accept().is_err(), "it has connected");
}
