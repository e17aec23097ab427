//! `NOTIFY_SOCKET`: how "I am ready" gets from a container to the service manager (sd_notify(3)).

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;

use libtest_mimic::Trial;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::json;

use crate::harness::{Bundle, Call, Kind, Traces, differs, only_rt, signal, trials, wait_until};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        run_detached_waits_until_the_container_is_ready,
        start_waits_until_the_container_is_ready,
        run_in_the_foreground_stays_the_service,
        signals_are_forwarded_before_the_container_is_ready,
        an_abstract_socket_is_a_service_manager_too,
        what_the_container_sees_is_a_socket_of_its_own,
        the_caller_s_umask_has_no_part_in_it,
        a_user_namespace_can_say_that_it_is_ready,
        only_ready_goes_further,
        messages_after_ready_do_not_block_in_the_foreground,
        a_container_that_ends_first_is_not_waited_for,
        ready_is_told_of_a_container_that_ends_right_after,
        the_container_can_be_used_while_start_waits,
        start_without_a_manager_waits_for_nobody,
        start_with_a_manager_of_a_container_made_without,
        a_manager_that_is_not_there_is_refused_before_anything_is_made,
        a_manager_that_goes_away_is_a_warning,
        without_a_mount_namespace_it_is_refused,
        a_failing_create_leaves_nothing_behind,
    ]
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
        assert!(self.has_message(10_000), "nothing came from the runtime");
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

/// sd_notify_barrier(3): `run` is there until the manager has read all, who may look at who wrote it.
fn run_detached_waits_until_the_container_is_ready() {
    let bundle = speaking(&["enter", "STATUS=starting", "READY=1", "sleep"]);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.tell(bundle.call("run", &["--detach"]));
    let running = call.with(|command| command.stdin(reader)).start();
    wait_until("the container to run", || {
        bundle
            .runtime()
            .root()
            .join(bundle.id())
            .join("state.json")
            .exists()
            && bundle.container().status() == "running"
    });
    pause();
    assert!(is_running(running.pid()), "it has not waited");
    manager.assert_silent();
    std::io::Write::write_all(&mut &writer, b"\n").unwrap();
    let barrier = manager.receive_ready(bundle.container().pid());
    if barrier.is_some() {
        pause();
        assert!(
            is_running(running.pid()),
            "it has not waited for the barrier"
        );
    }
    drop(barrier);
    running.wait().assert_ok();
    manager.assert_silent();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn start_waits_until_the_container_is_ready() {
    let bundle = speaking(&["READY=1", "barrier", "sleep"]);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    let output = manager.tell(bundle.call("create", &[]));
    let said = output.output().with_extension("out");
    output.run().assert_ok();
    let container = bundle.container();
    assert_eq!(container.status(), "created");
    manager.assert_silent();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.tell(start).start();
    let barrier = manager.receive_ready(container.pid());
    if barrier.is_some() {
        pause();
        assert!(
            is_running(running.pid()),
            "it has not waited for the barrier"
        );
    }
    drop(barrier);
    running.wait().assert_ok();
    // The service's own barrier is closed by whoever got it, at the latest with the socket.
    let said = || std::fs::read_to_string(&said).unwrap();
    wait_until("the barrier", || said().contains("barrier: ok"));
    container.end();
    before.assert_unchanged(&bundle);
}

/// The container's process is a child of `run`, which the manager has started: that is the service.
fn run_in_the_foreground_stays_the_service() {
    let bundle = speaking(&["READY=1", "enter"]);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.tell(bundle.call("run", &[]));
    let running = call.with(|command| command.stdin(reader)).start();
    drop(manager.receive_ready(running.pid()));
    drop(writer);
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout, "READY=1: ok\nenter: ok\n");
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn signals_are_forwarded_before_the_container_is_ready() {
    only_rt("runc's foreground waits for READY before it looks at signals");
    let bundle = Bundle::new().args(&["/probe", "wait-signal"]);
    let manager = Manager::new(&bundle);
    let running = manager.tell(bundle.call("run", &[])).start();
    running.wait_for("ready");
    signal(running.pid(), Signal::SIGTERM);
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout, "ready\n15\n");
    manager.assert_silent();
}

fn an_abstract_socket_is_a_service_manager_too() {
    let bundle = speaking(&["READY=1", "sleep"]);
    let manager = Manager::abstract_one(&bundle);
    let running = manager.tell(bundle.call("run", &["--detach"])).start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    bundle.container().end();
}

/// Who cannot reach the manager's socket can claim nothing there.
fn what_the_container_sees_is_a_socket_of_its_own() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = Bundle::new()
        .user(1000, 1000)
        .set("/process/env", json!(["NOTIFY_SOCKET=/config"]));
    let manager = Manager::new(&bundle);
    let seen = manager.tell(bundle.probe_call(&[], &["--detach"])).start();
    let place = bundle.runtime().root().join(bundle.id()).join("notify");
    seen.wait().assert_ok();
    assert!(place.join("notify.sock").exists());
    let said = bundle.container();
    said.wait_stopped();
    said.end();
    assert!(!place.exists());

    let bundle = Bundle::new().args(&[
        "/bin/sh",
        "-c",
        "echo $NOTIFY_SOCKET; stat -c '%A %u' /run/notify \
        /run/notify/notify.sock; touch /run/notify/x || echo read-only; cat /proc/self/mountinfo",
    ]);
    let bundle = bundle.set(
        "/process/env",
        json!(["NOTIFY_SOCKET=/config", "PATH=/bin"]),
    );
    let outcome = manager.tell(bundle.call("run", &[])).run().assert_ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let expected = [
        "/run/notify/notify.sock",
        "drwxr-xr-x 0",
        "srwxrwxrwx 0",
        "read-only",
    ];
    assert_eq!(lines[..4], expected, "{outcome}");
    let mount = lines
        .iter()
        .find(|line| line.contains(" /run/notify "))
        .unwrap();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        let options = mount.split(' ').nth(5).unwrap();
        assert!(
            options.split(',').any(|one| one == option),
            "{option}: {mount}"
        );
    }
    assert!(!outcome.stdout.contains("manager.sock"), "{outcome}");
}

fn the_caller_s_umask_has_no_part_in_it() {
    let bundle = speaking(&["READY=1", "sleep"]).user(1000, 1000);
    let manager = Manager::new(&bundle);
    let masked = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"];
    differs(
        Kind::Runc,
        "its directory has the mode that the umask leaves",
    );
    let call = bundle.call_through(&masked, "run", &["--detach"]);
    let running = manager.tell(call).start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    bundle.container().end();
}

fn a_user_namespace_can_say_that_it_is_ready() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = speaking(&["READY=1", "sleep"])
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    manager.tell(bundle.call("create", &[])).run().assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.tell(start).start();
    drop(manager.receive_ready(bundle.container().pid()));
    running.wait().assert_ok();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn only_ready_goes_further() {
    differs(
        Kind::Runc,
        "it hands on the first line of a message that begins with READY",
    );
    let messages = [
        "STATUS=READY=1",
        "MAINPID=1~WATCHDOG=1",
        "STATUS=up~READY=1~MAINPID=77",
        "sleep",
    ];
    let bundle = speaking(&messages);
    let manager = Manager::new(&bundle);
    let running = manager.tell(bundle.call("run", &["--detach"])).start();
    drop(manager.receive_ready(bundle.container_pid_once_it_runs()));
    running.wait().assert_ok();
    manager.assert_silent();
    bundle.container().end();
}

/// The queue of a socket holds about ten (net.unix.max_dgram_qlen).
fn messages_after_ready_do_not_block_in_the_foreground() {
    let mut messages = vec!["READY=1"];
    messages.extend(["WATCHDOG=1"; 100]);
    messages.extend(["READY=1", "barrier"]);
    only_rt("runc stops reading when it has heard READY twice");
    let bundle = speaking(&messages);
    let manager = Manager::new(&bundle);
    let running = manager.tell(bundle.call("run", &[])).start();
    drop(manager.receive_ready(running.pid()));
    let outcome = running.wait().assert_ok();
    assert_eq!(outcome.stdout.lines().count(), 103);
    assert!(outcome.stdout.ends_with("barrier: ok\n"), "{outcome}");
    manager.assert_silent();
}

fn a_container_that_ends_first_is_not_waited_for() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = bundle().args(&["/bin/true"]);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    let run = bundle.call("run", &["--detach"]);
    manager.tell(run).run().assert_ok();
    bundle.container().delete().assert_ok();
    manager.tell(bundle.call("create", &[])).run().assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    manager.tell(start).run().assert_ok();
    bundle.container().delete().assert_ok();
    manager.tell(bundle.call("run", &[])).run().assert_ok();
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn ready_is_told_of_a_container_that_ends_right_after() {
    only_rt("runc looks first at whether the process is there");
    for flags in [&["--detach"] as &[&str], &[]] {
        let bundle = speaking(&["READY=1"]);
        let manager = Manager::new(&bundle);
        let running = manager.tell(bundle.call("run", flags)).start();
        assert_eq!(manager.receive().text, "READY=1\n");
        assert!(manager.receive().text.starts_with("MAINPID="));
        drop(manager.receive());
        running.wait().assert_ok();
    }
}

fn the_container_can_be_used_while_start_waits() {
    differs(Kind::Runc, ZOMBIES);
    let bundle = bundle().args(&["/probe", "sleep"]);
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    manager.tell(bundle.call("create", &[])).run().assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let running = manager.tell(start).start();
    let container = bundle.container();
    wait_until("the container to run", || container.status() == "running");
    container.delete_force().assert_ok();
    running.wait().assert_ok();
    manager.assert_silent();
    before.assert_unchanged(&bundle);
}

fn start_without_a_manager_waits_for_nobody() {
    let bundle = speaking(&["READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let call = manager.tell(bundle.call("create", &[]));
    let said = call.output().with_extension("out");
    call.run().assert_ok();
    let container = bundle.container();
    container.start().assert_ok();
    let said = || std::fs::read_to_string(&said).unwrap();
    wait_until("the service to speak", || {
        said().contains("READY=1: NotFound")
    });
    manager.assert_silent();
    container.end();
}

fn start_with_a_manager_of_a_container_made_without() {
    only_rt("runc fails to make its socket, after the start");
    let bundle = speaking(&["READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let container = bundle.create();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    manager.tell(start).run().assert_ok();
    manager.assert_silent();
    container.end();
}

fn a_manager_that_is_not_there_is_refused_before_anything_is_made() {
    only_rt("runc finds out when the container runs, or not at all");
    let bundle = speaking(&["READY=1", "sleep"]);
    let before = Traces::of(&bundle);
    for (address, why) in [
        ("/no/such", "not found (ENOENT)"),
        ("@rt-suite-nobody", "connection refused (ECONNREFUSED)"),
        (
            "relative",
            "neither an absolute path nor the name of an abstract socket",
        ),
        (
            "vsock:2:1",
            "neither an absolute path nor the name of an abstract socket",
        ),
    ] {
        let call = bundle.call("run", &["--detach"]);
        let call = call.with(|command| command.env("NOTIFY_SOCKET", address));
        let refused = call.run().assert_code(1);
        let line = format!("rt run: {}: NOTIFY_SOCKET {address}: {why}", bundle.id());
        assert_eq!(refused.one_line(), line);
        before.assert_unchanged(&bundle);
    }
    // The container waits for another `start`.
    let manager = Manager::new(&bundle);
    manager.tell(bundle.call("create", &[])).run().assert_ok();
    let start = || bundle.runtime().call(&["start", bundle.id()]);
    let call = start().with(|command| command.env("NOTIFY_SOCKET", "/no/such"));
    call.run().assert_refused("NOTIFY_SOCKET /no/such: ");
    assert_eq!(bundle.container().status(), "created");
    let running = manager.tell(start()).start();
    drop(manager.receive_ready(bundle.container().pid()));
    running.wait().assert_ok();
    bundle.container().end();
    before.assert_unchanged(&bundle);
}

fn a_manager_that_goes_away_is_a_warning() {
    only_rt("runc says nothing");
    let bundle = speaking(&["enter", "READY=1", "sleep"]);
    let manager = Manager::new(&bundle);
    let (reader, writer) = std::io::pipe().unwrap();
    let call = manager.tell(bundle.call("run", &["--detach"]));
    let running = call.with(|command| command.stdin(reader)).start();
    bundle.container_pid_once_it_runs();
    drop(manager);
    drop(writer);
    let outcome = running.wait().assert_ok();
    let line = outcome.one_line();
    assert!(
        line.contains("NOTIFY_SOCKET: READY is not handed on: connection refused"),
        "{line}"
    );
    bundle.container().end();
}

fn without_a_mount_namespace_it_is_refused() {
    only_rt("runc mounts nothing then, and says nothing");
    let bundle = speaking(&["READY=1", "sleep"])
        .without_namespace("mount")
        .remove("/mounts")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .writable();
    let before = Traces::of(&bundle);
    let manager = Manager::new(&bundle);
    let refused = manager.tell(bundle.call("run", &["--detach"])).run();
    refused.assert_refused("NOTIFY_SOCKET: needs a new mount namespace");
    before.assert_unchanged(&bundle);
}

fn a_failing_create_leaves_nothing_behind() {
    let no_program = bundle().args(&["/no/such/program"]);
    let no_mount_point = bundle().symlink("run", "/etc/passwd");
    for bundle in [no_program, no_mount_point] {
        let before = Traces::of(&bundle);
        let manager = Manager::new(&bundle);
        for (verb, flags) in [("create", &[] as &[&str]), ("run", &["--detach"])] {
            manager
                .tell(bundle.call(verb, flags))
                .run()
                .assert_refused("");
            before.assert_unchanged(&bundle);
        }
    }
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
