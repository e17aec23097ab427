//! Concurrent containers, sd_notify, runtime flags and `podman system reset`.

use std::fs;
use std::os::unix::net::UnixDatagram;

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test};
use crate::command::{self, wait_until};

pub(super) const TESTS: &[Test] = &[
    ("twenty_concurrently", Both, twenty_concurrently),
    ("notify_by_conmon", Both, notify_by_conmon),
    ("notify_by_container", Both, notify_by_container),
    ("runtime_flag", Both, runtime_flag),
    ("system_reset_leaves_nothing", Root, system_reset),
];

fn twenty_concurrently(p: &Podman) {
    std::thread::scope(|scope| {
        let each = |number: usize| p.sh(&[], &format!("sleep 0.2; echo {number}"));
        let calls: Vec<_> = (0..20)
            .map(|number| scope.spawn(move || each(number)))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.join().unwrap(), number.to_string());
        }
    });
}

/// A notification socket, in the role of the service manager.
fn service_manager(p: &Podman, feature: &str) -> (UnixDatagram, String) {
    let path = p.files(feature).join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    p.chown(&path);
    socket.set_nonblocking(true).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

fn received(socket: &UnixDatagram, all: &mut String) {
    let mut message = [0; 4096];
    while let Ok(length) = socket.recv(&mut message) {
        all.push_str(&String::from_utf8_lossy(&message[..length]));
        all.push('\n');
    }
}

fn notify_by_conmon(p: &Podman) {
    let (socket, path) = service_manager(p, "notify_conmon");
    let args = [
        "run",
        "-d",
        "--name",
        "notify_conmon",
        "--sdnotify",
        "conmon",
        IMAGE,
    ];
    let script = ["sh", "-c", "echo \"<$NOTIFY_SOCKET>\"; sleep 1000"];
    let mut command = p.command(&[&args[..], &script].concat());
    command::run(command.env("NOTIFY_SOCKET", path)).ok();
    let c = p.container("notify_conmon");
    let mut seen = String::new();
    wait_until("READY=1 arrives", 10, || {
        received(&socket, &mut seen);
        seen.contains("READY=1")
    });
    let conmon = c.inspect("{{.State.ConmonPid}}");
    assert!(seen.contains(&format!("MAINPID={conmon}")), "{seen}");
    c.wait_for("<>");
}

/// With `--sdnotify=container` the container gets NOTIFY_SOCKET, and only the container sends READY=1.
fn notify_by_container(p: &Podman) {
    let (socket, path) = service_manager(p, "notify_container");
    let args = [
        "run",
        "-d",
        "--name",
        "notify_container",
        "--sdnotify",
        "container",
        IMAGE,
    ];
    let script = [
        "sh",
        "-c",
        "ls -l $NOTIFY_SOCKET && echo \"<$NOTIFY_SOCKET>\"; sleep 1000",
    ];
    let mut command = p.command(&[&args[..], &script].concat());
    let output = command::run(command.env("NOTIFY_SOCKET", path));
    output.ok();
    let c = p.container("notify_container");
    c.wait_for("<");
    assert!(c.logs().starts_with('s'), "{}", c.logs());
    let mut seen = String::new();
    received(&socket, &mut seen);
    assert!(!seen.contains("READY=1"), "{seen}");
}

/// `--runtime-flag` passes global options to the runtime.
fn runtime_flag(p: &Podman) {
    let log = p.files("runtime_flag").join("log");
    let flag = format!("log={}", log.display());
    let args = [
        "--runtime-flag",
        &flag,
        "--runtime-flag",
        "debug",
        "run",
        "--rm",
        IMAGE,
        "echo",
        "ran",
    ];
    assert_eq!(p.ok(&args), "ran");
}

fn system_reset(p: &Podman) {
    let cgroups = || {
        let mut all = Vec::new();
        for controller in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let below = fs::read_dir(controller.path().join("libpod_parent"));
            all.extend(
                below
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
        all
    };
    let reset = Podman::new(p.mode, p.runtime, "reset");
    let names: Vec<String> = (0..3).map(|number| format!("reset{number}")).collect();
    for name in &names {
        std::mem::forget(reset.start(name, &[], "sleep 1000 & exec sleep 1000"));
    }
    let ids = reset.ok(&["ps", "-aq", "--no-trunc"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 3);
    reset.ok(&["rm", "-af", "-t0"]);
    assert_eq!(reset.ok(&["ps", "-aq"]), "");
    let named =
        |path: &std::path::PathBuf| ids.iter().any(|id| path.to_string_lossy().contains(id));
    assert_eq!(cgroups().into_iter().filter(named).count(), 0);
    reset.ok(&["system", "reset", "-f"]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = reset.path().to_str().unwrap();
    assert!(!mounts.contains(below), "{mounts}");
}
