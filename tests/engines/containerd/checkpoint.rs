//! Checkpoints of `ctr`: of a task, in a directory, and of a whole container, as an image.

use std::fs;
use std::path::Path;

use super::{Containerd, Task, Test};
use crate::checkpoint::{COUNT_IN_A_FILE, count, wait_for_more};

pub(super) const TESTS: &[Test] = &[
    ("checkpoint_task", task),
    ("checkpoint_task_exit", task_exit),
    ("checkpoint", checkpoint),
    ("checkpoint_again", again),
    ("checkpoint_limits", limits),
    ("checkpoint_mount", mount),
    ("checkpoint_no_new_privileges", no_new_privileges),
];

/// A container that counts in a file. Without the flag it would have no_new_privs.
#[track_caller]
fn counter<'a>(daemon: &'a Containerd, id: &str, flags: &[&str]) -> Task<'a> {
    let flags = [&["--allow-new-privs"], flags].concat();
    let task = daemon.task(id, &flags, &["sh", "-c", COUNT_IN_A_FILE]);
    wait_for_more(|| log(&task));
    task
}

/// What the container has written. Nothing before it has made the file.
fn log(task: &Task) -> String {
    let file = format!("/proc/{}/root/tmp/log", task.pid());
    fs::read_to_string(file).unwrap_or_default()
}

/// Checkpoints the container as an image, and removes it.
#[track_caller]
fn stop(task: Task, image: &str) {
    task.daemon.ctr(&["image", "rm", image]); // From a first attempt.
    let args = ["container", "checkpoint", "--rw", "--image", "--task"];
    task.daemon
        .ctr(&[&args[..], &[&task.id, image]].concat())
        .ok();
    assert_eq!(task.status(), "RUNNING");
}

/// A container from the image, which counts on.
#[track_caller]
fn start<'a>(daemon: &'a Containerd, id: &str, image: &str) -> Task<'a> {
    let restored = Task::of(daemon, id);
    daemon
        .ctr(&["container", "restore", "--rw", "--live", id, image])
        .ok();
    assert_eq!(restored.status(), "RUNNING");
    assert!(daemon.runtime_list().contains(&restored.id));
    wait_for_more(|| log(&restored));
    restored
}

/// The task runs on.
fn task(daemon: &Containerd) {
    let task = counter(daemon, "checkpoint_task", &[]);
    let pid = task.pid();
    let images = daemon.scratch("checkpoint_task").join("images");
    let images = images.to_str().unwrap();
    daemon
        .ctr(&["task", "checkpoint", "--image-path", images, &task.id])
        .ok();
    assert!(Path::new(images).join("inventory.img").exists());
    wait_for_more(|| log(&task));
    assert_eq!(task.listed(), Some((pid, "RUNNING".to_owned())));
}

/// The task ends.
fn task_exit(daemon: &Containerd) {
    let task = counter(daemon, "checkpoint_task_exit", &[]);
    let scratch = daemon.scratch("checkpoint_task_exit");
    let [images, work] = ["images", "work"].map(|name| scratch.join(name));
    for directory in [&images, &work] {
        fs::create_dir(directory).unwrap();
    }
    let (images, work) = (images.to_str().unwrap(), work.to_str().unwrap());
    let args = ["task", "checkpoint", "--exit", "--image-path", images];
    daemon
        .ctr(&[&args[..], &["--work-path", work, &task.id]].concat())
        .ok();
    assert!(Path::new(images).join("inventory.img").exists());
    assert!(Path::new(work).join("dump.log").exists());
    task.wait_for_status("STOPPED");
}

fn checkpoint(daemon: &Containerd) {
    let task = counter(daemon, "checkpoint", &[]);
    let image = "localhost/rt/checkpoint:1";
    stop(task, image);
    let restored = start(daemon, "checkpoint_restored", image);
    assert_eq!(restored.sh("a", &[], "echo in"), "in");
    daemon.ctr(&["task", "pause", &restored.id]).ok();
    daemon.ctr(&["task", "resume", &restored.id]).ok();
    wait_for_more(|| log(&restored));
    daemon
        .ctr(&["task", "kill", "-s", "KILL", &restored.id])
        .ok();
    restored.wait_for_status("STOPPED");
    restored.delete(137);
}

/// Under the same name, several times.
fn again(daemon: &Containerd) {
    let mut task = counter(daemon, "checkpoint_again", &[]);
    for number in 1..=3 {
        let image = format!("localhost/rt/checkpoint_again:{number}");
        let before = count(&log(&task));
        stop(task, &image);
        task = start(daemon, "checkpoint_again", &image);
        assert!(count(&log(&task)) > before);
    }
}

fn limits(daemon: &Containerd) {
    let flags = ["--memory-limit", "67108864", "--seccomp"];
    let task = counter(daemon, "checkpoint_limits", &flags);
    let seen = |task: &Task| {
        let (v1, v2) = ("memory.limit_in_bytes", "memory.max");
        let memory = crate::cgroups::limit(task.pid(), "memory", v1, v2);
        let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
        let held = |line: &&str| line.starts_with("Cap") || line.starts_with("Seccomp:");
        let status: Vec<String> = status.lines().filter(held).map(str::to_owned).collect();
        (memory, status)
    };
    let before = seen(&task);
    assert_eq!(before.0, "67108864");
    let image = "localhost/rt/checkpoint_limits:1";
    stop(task, image);
    let restored = start(daemon, "checkpoint_limits", image);
    assert_eq!(seen(&restored), before);
}

fn mount(daemon: &Containerd) {
    let files = daemon.scratch("checkpoint_mount");
    let option = format!(
        "type=bind,src={},dst=/bound,options=rbind:ro",
        files.display()
    );
    let task = counter(daemon, "checkpoint_mount", &["--mount", &option]);
    let image = "localhost/rt/checkpoint_mount:1";
    stop(task, image);
    fs::write(files.join("file"), "bound\n").unwrap();
    let restored = start(daemon, "checkpoint_mount", image);
    assert_eq!(restored.sh("a", &[], "cat /bound/file"), "bound");
    let script = ["sh", "-c", "touch /bound/x"];
    let refused = restored.exec("b", &[], &script).fails(1);
    assert!(refused.contains("Read-only"), "{refused}");
}

/// `ctr run` sets no_new_privs by itself. CRIU restores it since version 3.19.
fn no_new_privileges(daemon: &Containerd) {
    let name = "checkpoint_no_new_privileges";
    let task = daemon.task(name, &[], &["sh", "-c", COUNT_IN_A_FILE]);
    wait_for_more(|| log(&task));
    let image = "localhost/rt/checkpoint_no_new_privileges:1";
    stop(task, image);
    let restored = start(daemon, name, image);
    let status = fs::read_to_string(format!("/proc/{}/status", restored.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
}
