//! `--console-socket`: the runtime sends the master of the container's terminal to a socket.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::runner::Test;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;

use super::pty::Master;
use super::with_terminal;
use crate::harness::{Bundle, HostState, Kind, differs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        create_sends_the_master_of_the_terminal,
        run_detached_sends_the_master_of_the_terminal,
        the_process_has_no_descriptors_except_the_terminal,
        a_relative_path_is_relative_to_the_working_directory,
        the_terminal_has_the_default_settings_for_line_feeds,
        console_size_sets_the_size_of_the_terminal,
        a_size_set_by_the_receiver_reaches_the_process,
        control_c_interrupts,
        closing_the_master_hangs_up,
    ]
}

/// A listening console socket, as of a container manager.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    pub(crate) fn new(bundle: &Bundle) -> Self {
        let path = bundle.runtime().home().join("console.sock");
        let socket = UnixListener::bind(&path).expect("listen");
        Self { socket, path }
    }

    /// The flag with its value.
    pub(crate) fn flags(&self) -> [&str; 2] {
        ["--console-socket", self.path.to_str().unwrap_or_default()]
    }

    /// Receives exactly one message with exactly one descriptor. Returns the descriptor and the text.
    #[track_caller]
    pub(crate) fn receive(&self) -> (Master, String) {
        wait_readable(&self.socket);
        let (stream, _) = self.socket.accept().expect("accept");
        let (text, mut descriptors) = message(&stream);
        assert_eq!(descriptors.len(), 1, "one descriptor with {text:?}");
        let (rest, others) = message(&stream);
        assert_eq!((rest.as_str(), others.len()), ("", 0), "a second message");
        let master = Master::new(File::from(descriptors.remove(0)));
        (master, text)
    }
}

#[track_caller]
pub(crate) fn wait_readable(socket: &impl AsFd) {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let count = poll(&mut ready, PollTimeout::from(30_000u16)).expect("poll");
    assert_eq!(count, 1, "nothing came on the console socket");
}

/// The next message and its descriptors; both are empty at the end of the stream.
#[track_caller]
#[allow(unsafe_code, reason = "received descriptors are numbers")]
pub(crate) fn message(stream: &UnixStream) -> (String, Vec<OwnedFd>) {
    wait_readable(stream);
    let mut bytes = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 8]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let got = got.expect("receive");
    let rights = got.cmsgs().expect("whole control messages");
    let rights = rights.flat_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => numbers,
        _ => Vec::new(),
    });
    // SAFETY: the kernel has just created these descriptors, and nothing else owns them.
    let open = |number| unsafe { OwnedFd::from_raw_fd(number) };
    let descriptors = rights.map(open).collect();
    let length = got.bytes;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    (text, descriptors)
}

/// A detached container and the master of its terminal.
#[track_caller]
fn run_detached(bundle: &Bundle) -> Master {
    let listener = Listener::new(bundle);
    let mut flags = vec!["--detach"];
    flags.extend(listener.flags());
    bundle.call("run", &flags).run().assert_ok();
    listener.receive().0
}

/// Asserts that the descriptor is the master of a pty, and that `name` is its name. runc sends the name
/// of the multiplexer instead.
#[track_caller]
fn assert_pty(master: &Master, name: &str) {
    assert_eq!(master.number().expect("the master of a pty"), 0);
    assert!(["/dev/ptmx", "/dev/pts/0"].contains(&name), "{name:?}");
}

fn create_sends_the_master_of_the_terminal() {
    let bundle = with_terminal().sh("echo done; read -r end");
    let before = HostState::of(&bundle);
    let listener = Listener::new(&bundle);
    let container = bundle.create_with(&listener.flags());
    let (mut master, name) = listener.receive();
    assert_pty(&master, &name);
    assert_eq!(master.seen(), "");
    container.start().assert_ok();
    master.expect("done");
    assert_eq!(container.stdout(), "", "nothing goes to the caller");
    master.type_keys("\r");
    master.expect_hangup();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn run_detached_sends_the_master_of_the_terminal() {
    let bundle = with_terminal().sh("echo done; sleep 1000");
    let before = HostState::of(&bundle);
    let listener = Listener::new(&bundle);
    let mut flags = vec!["--detach"];
    flags.extend(listener.flags());
    let outcome = bundle.call("run", &flags).run().assert_ok();
    assert_eq!(outcome.stdout, "");
    let (mut master, name) = listener.receive();
    assert_pty(&master, &name);
    master.expect("done");
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

/// Neither the socket nor the master is open in the container.
fn the_process_has_no_descriptors_except_the_terminal() {
    let script = "busybox tty; stat -c '%F %t:%T' /dev/console; echo to tty >/dev/tty; \
                  stat -L -c 'owner %u' /proc/self/fd/0; ls /proc/$$/fd; echo done; read -r end";
    let bundle = with_terminal().sh(script).user(1000, 1000);
    let mut master = run_detached(&bundle);
    let output = master.expect("done");
    let head = "/dev/pts/0\ncharacter special file 88:0\nto tty\nowner 1000\n";
    let rest = output
        .strip_prefix(head)
        .unwrap_or_else(|| panic!("{output:?}"));
    let descriptors: Vec<&str> = rest.split_whitespace().collect();
    // A shell with a terminal has it open as descriptor 10.
    let own: Vec<&str> = descriptors.into_iter().filter(|d| *d != "10").collect();
    assert_eq!(own, ["0", "1", "2", "done"]);
}

/// The path is relative to the caller's working directory, as for the pid file.
fn a_relative_path_is_relative_to_the_working_directory() {
    differs(Kind::Runc, "its path is relative to the bundle");
    let bundle = with_terminal().sh("echo done; sleep 1000");
    let listener = Listener::new(&bundle);
    let home = bundle.runtime().home().to_owned();
    let call = bundle.call("run", &["-d", "--console-socket", "console.sock"]);
    let call = call.with(|command| command.current_dir(&home));
    call.run().assert_ok();
    listener.receive().0.expect("done");
}

/// The terminal has the kernel's default settings. A manager that needs bare line feeds clears ONLCR
/// itself.
fn the_terminal_has_the_default_settings_for_line_feeds() {
    let bundle = with_terminal().sh("echo a; echo done; read -r end");
    let mut master = run_detached(&bundle);
    master.expect("done\n");
    let settings = master.settings();
    assert!(
        settings.echoes() && settings.makes_signals(),
        "{settings:?}"
    );
    assert!(settings.returns_the_carriage(), "{settings:?}");
    assert_eq!(master.seen(), "a\r\ndone\r\n");
}

fn console_size_sets_the_size_of_the_terminal() {
    let bundle = with_terminal().sh("busybox stty size; echo done; read -r end");
    let size = json!({ "height": 33, "width": 101 });
    let output = run_detached(&bundle.set("/process/consoleSize", size)).expect("done");
    assert!(output.starts_with("33 101\n"), "{output:?}");
}

fn a_size_set_by_the_receiver_reaches_the_process() {
    let wait = "while :; do busybox sleep 0.05; done";
    let bundle = with_terminal().sh(&format!(
        "trap 'busybox stty size; echo done' WINCH; echo ready; {wait}"
    ));
    let mut master = run_detached(&bundle);
    master.expect("ready");
    master.set_size(44, 120);
    let output = master.expect("done");
    assert!(output.contains("44 120\n"), "{output:?}");
}

fn control_c_interrupts() {
    let wait = "while :; do sleep 1; done";
    let bundle = with_terminal().sh(&format!(
        "trap 'echo interrupted; read -r end; exit' INT; echo ready; {wait}"
    ));
    let mut master = run_detached(&bundle);
    master.expect("ready");
    master.type_keys("\x03");
    master.expect("interrupted");
    master.type_keys("\r");
    master.expect_hangup();
    bundle.container().wait_stopped();
}

/// The process gets SIGHUP when the master is closed, since the runtime has no copy of it.
fn closing_the_master_hangs_up() {
    let wait = "while :; do busybox sleep 0.05; done";
    let bundle = with_terminal().sh(&format!("trap 'exit' HUP; echo ready; {wait}"));
    let mut master = run_detached(&bundle);
    master.expect("ready");
    drop(master);
    bundle.container().wait_stopped();
}
