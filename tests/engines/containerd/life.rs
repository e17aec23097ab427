//! Crashes of the daemon, the shim or the container's process.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Containerd, Test};
use crate::command;

pub(super) const TESTS: &[Test] = &[
    ("daemon_restarted", daemon_restarted),
    ("daemon_killed", daemon_killed),
    ("shim_killed", shim_killed),
    ("first_process_killed", first_process_killed),
    ("out_of_memory", out_of_memory),
];

/// Whether a process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// A container keeps running while the daemon restarts, and the new daemon manages it.
fn daemon_restarted(shared: &Containerd) {
    let mut daemon = Containerd::start(shared.runtime, &format!("{}-again", shared.runtime.name()));
    let pid = {
        let task = daemon.task(
            "survivor",
            &[],
            &[
                "sh",
                "-c",
                "trap 'exit 8' TERM; touch /tmp/ready; while :; do sleep 0.1; done",
            ],
        );
        command::wait_until("the trap is set", 10, || {
            task.exec("a", &[], &["test", "-f", "/tmp/ready"]).status == 0
        });
        let pid = task.pid();
        std::mem::forget(task);
        pid
    };
    daemon.stop(false);
    assert!(is_alive(pid));
    daemon.restart();
    let task = super::Task::of(&daemon, "survivor");
    assert_eq!(task.listed(), Some((pid, "RUNNING".to_owned())));
    assert_eq!(task.sh("b", &[], "cat /proc/1/comm"), "sh");
    daemon.ctr(&["task", "pause", "survivor"]).ok();
    daemon.ctr(&["task", "resume", "survivor"]).ok();
    daemon.ctr(&["task", "kill", "-s", "TERM", "survivor"]).ok();
    task.wait_for_status("STOPPED");
    task.delete(8);
    assert!(!is_alive(pid));
}

/// After the daemon is killed, one container keeps running, and another ends before the daemon is back.
fn daemon_killed(shared: &Containerd) {
    let mut daemon =
        Containerd::start(shared.runtime, &format!("{}-killed", shared.runtime.name()));
    let pids = ["stays", "ends"].map(|id| {
        let task = daemon.task(id, &[], &["sleep", "1000"]);
        let pid = task.pid();
        std::mem::forget(task);
        pid
    });
    daemon.stop(true);
    kill(Pid::from_raw(pids[1].cast_signed()), Signal::SIGKILL).unwrap();
    command::wait_until("the killed process has ended", 10, || !is_alive(pids[1]));
    assert!(is_alive(pids[0]));
    daemon.restart();
    let [stays, ends] = ["stays", "ends"].map(|id| super::Task::of(&daemon, id));
    assert_eq!(stays.status(), "RUNNING");
    ends.wait_for_status("STOPPED");
    ends.delete(137);
    assert_eq!(stays.sh("a", &[], "echo here"), "here");
}

/// When a shim is killed, containerd removes its container with the cgroups and the state.
fn shim_killed(daemon: &Containerd) {
    let task = daemon.task("shim_killed", &[], &["sh", "-c", "sleep 1000 & wait"]);
    let pid = task.pid();
    let socket = daemon.shim_socket("shim_killed");
    let shims = daemon.shims("shim_killed");
    assert_eq!(shims.len(), 1);
    kill(shims[0], Signal::SIGKILL).unwrap();
    let _ = fs::remove_file(socket);
    command::wait_until("the container has gone", 20, || !is_alive(pid));
    command::wait_until("the task has gone", 20, || {
        daemon.ctr(&["task", "delete", "--force", "shim_killed"]);
        task.listed().is_none()
    });
    // The daemon calls the runtime once it notices that the shim is gone, which may take a while.
    let mut left = vec![daemon.runtime_root().join("shim_killed")];
    for hierarchy in ["memory", "pids", "."] {
        let top = Path::new("/sys/fs/cgroup").join(hierarchy);
        left.push(top.join(daemon.namespace()).join("shim_killed"));
    }
    command::wait_until("the cgroups and the state are removed", 20, || {
        left.retain(|path| path.exists());
        left.is_empty()
    });
    assert!(!daemon.runtime_list().contains(&task.id));
    daemon.ctr(&["container", "delete", "shim_killed"]).ok();
    let again = daemon.task("shim_killed", &[], &["sleep", "1000"]);
    assert_eq!(again.status(), "RUNNING");
}

fn first_process_killed(daemon: &Containerd) {
    let task = daemon.task(
        "first_process_killed",
        &[],
        &["sh", "-c", "sleep 1000 & wait"],
    );
    kill(Pid::from_raw(task.pid().cast_signed()), Signal::SIGKILL).unwrap();
    task.wait_for_status("STOPPED");
    task.delete(137);
}

fn out_of_memory(daemon: &Containerd) {
    let script = "head -c 100000000 /dev/zero | tail -c 99999999 | wc -c";
    let flags = ["--memory-limit", "16777216"];
    let output = daemon.run("out_of_memory", &flags, &["sh", "-c", script]);
    assert!(!output.stdout.contains("99999999"), "{output:?}");
    let output = daemon.run(
        "out_of_memory",
        &flags,
        &["tail", "-c", "99999999", "/dev/zero"],
    );
    output.fails(137);
}
