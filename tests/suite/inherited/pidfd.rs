//! `--pidfd-socket`: the runtime sends a pidfd of the process to a socket. `pidfd-kill` in runc's tests
//! is such a receiver.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Bundle, HostState, only_rt, trials, wait_gone, wait_until};
use crate::terminal::{message, wait_readable};

pub(super) fn tests() -> Vec<Test> {
    trials![
        create_sends_a_pidfd_of_the_first_process,
        run_sends_a_pidfd_of_the_first_process,
        the_pidfd_is_sent_before_the_pid_file_is_written,
        a_pidfd_of_a_process_in_a_user_namespace_is_sent,
        exec_sends_a_pidfd_of_its_process,
        a_socket_without_a_listener_is_refused_before_creation,
        a_receiver_that_closes_the_connection_makes_creation_fail,
    ]
}

const NEWER: &str = "--pidfd-socket came with runc 1.2";

struct Receiver {
    socket: UnixListener,
    path: PathBuf,
}

impl Receiver {
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.runtime().home().join("pidfd.sock");
        let socket = UnixListener::bind(&path).unwrap();
        Self { socket, path }
    }

    fn flag(&self) -> String {
        format!("--pidfd-socket={}", self.path.display())
    }

    /// Receives one connection with one message, which has this text and one descriptor.
    #[track_caller]
    fn receive(&self, expected: &str) -> Pidfd {
        wait_readable(&self.socket);
        let (stream, _) = self.socket.accept().unwrap();
        let (text, mut descriptors) = message(&stream);
        assert_eq!((text.as_str(), descriptors.len()), (expected, 1));
        let (rest, others) = message(&stream);
        assert_eq!((rest.as_str(), others.len()), ("", 0), "a second message");
        Pidfd(descriptors.remove(0))
    }
}

struct Pidfd(OwnedFd);

impl Pidfd {
    /// The pid of the process in the pid namespace of the test.
    fn pid(&self) -> i32 {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.unwrap_or_else(|| panic!("no pidfd: {info}"))
            .trim()
            .parse()
            .unwrap()
    }

    #[allow(unsafe_code, reason = "no crate wraps this call")]
    fn signal(&self, signal: Signal) {
        let (fd, none) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the pointer to a siginfo is null; all other arguments are numbers.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, none, 0) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }
}

fn create_sends_a_pidfd_of_the_first_process() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let receiver = Receiver::new(&bundle);
    let container = bundle.create_with(&[&receiver.flag()]);
    let pidfd = receiver.receive("standard");
    assert_eq!(pidfd.pid(), container.pid());
    container.start().assert_ok();
    let pid = container.pid();
    pidfd.signal(Signal::SIGKILL);
    wait_gone(pid);
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn run_sends_a_pidfd_of_the_first_process() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let receiver = Receiver::new(&bundle);
    bundle
        .call("run", &["--detach", &receiver.flag()])
        .run()
        .assert_ok();
    let container = bundle.container();
    assert_eq!(receiver.receive("standard").pid(), container.pid());
    container.end();

    // In the foreground, with a path relative to the working directory, and with one dash.
    let call = bundle.call("run", &["-pidfd-socket", "pidfd.sock"]);
    let home = bundle.runtime().home().to_owned();
    let running = call.with(|command| command.current_dir(home)).start();
    let pidfd = receiver.receive("standard");
    wait_until_executed(pidfd.pid(), "/probe");
    pidfd.signal(Signal::SIGKILL);
    running.wait().assert_code(137);
}

/// As in runc: a program that sees the pid file can rely on the pidfd having been sent.
fn the_pidfd_is_sent_before_the_pid_file_is_written() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let receiver = Receiver::new(&bundle);
    let file = bundle.runtime().home().join("pid");
    let pid_file = format!("--pid-file={}", file.display());
    let container = bundle.create_with(&[&pid_file, &receiver.flag()]);
    let pid = receiver.receive("standard").pid();
    assert_eq!(fs::read_to_string(&file).unwrap(), pid.to_string());
    container.end();
    // A pid file that cannot be written is an error after the message has been sent.
    let refused = bundle.call("create", &["--pid-file=/no/such/pid", &receiver.flag()]);
    refused.run().assert_refused("/no/such/pid");
    wait_readable(&receiver.socket);
    let (stream, _) = receiver.socket.accept().unwrap();
    assert_eq!(message(&stream).0, "standard");
}

fn a_pidfd_of_a_process_in_a_user_namespace_is_sent() {
    only_rt(NEWER);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .args(&["/probe", "sleep"]);
    let receiver = Receiver::new(&bundle);
    let container = bundle.create_with(&[&receiver.flag()]);
    let pidfd = receiver.receive("standard");
    assert_eq!(pidfd.pid(), container.pid());
    container.start().assert_ok();
    let pid = container.pid();
    pidfd.signal(Signal::SIGKILL);
    wait_gone(pid);
    container.end();
}

/// The pidfd is sent before the program is executed.
fn wait_until_executed(pid: i32, program: &str) {
    wait_until("the program runs", || {
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.starts_with(program.as_bytes()))
    });
}

fn exec_sends_a_pidfd_of_its_process() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let receiver = Receiver::new(&bundle);
    let args = ["exec", &receiver.flag(), bundle.id(), "/bin/sleep", "1000"];
    let running = bundle.runtime().call(&args).start();
    let pidfd = receiver.receive("setns");
    assert_ne!(pidfd.pid(), container.pid());
    wait_until_executed(pidfd.pid(), "/bin/sleep");
    pidfd.signal(Signal::SIGKILL);
    running.wait().assert_code(137);
    container.end();
}

fn a_socket_without_a_listener_is_refused_before_creation() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let receiver = Receiver::new(&bundle);
    let flag = receiver.flag();
    drop(receiver);
    for verb in ["run", "create"] {
        let refused = bundle.call(verb, &[&flag]).run().assert_code(1);
        let line = format!(
            "rt {verb}: {}: {}: connection refused (ECONNREFUSED)",
            bundle.id(),
            flag.replace('=', " ")
        );
        assert_eq!(refused.one_line(), line);
        bundle
            .call(verb, &["--pidfd-socket=/no/such"])
            .run()
            .assert_refused("/no/such");
    }
    before.assert_unchanged(&bundle);
}

fn a_receiver_that_closes_the_connection_makes_creation_fail() {
    only_rt(NEWER);
    let bundle = Bundle::new().args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let Receiver { socket, path } = Receiver::new(&bundle);
    let receiver = std::thread::spawn(move || drop(socket.accept().unwrap()));
    let flag = format!("--pidfd-socket={}", path.display());
    let refused = bundle.call("create", &[&flag]).run().assert_code(1);
    receiver.join().unwrap();
    assert!(refused.one_line().contains("--pidfd-socket"), "{refused}");
    before.assert_unchanged(&bundle);
}
