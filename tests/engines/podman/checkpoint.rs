//! `podman container checkpoint` and `podman container restore`, which only root may call.

use std::fs;
use std::path::Path;

use super::RunAs::Root;
use super::{Container, Podman, Test};
use crate::checkpoint::{
    COUNT, COUNT_IN_A_FILE, count, restores_no_new_privs, second_start, wait_for_more,
};
use crate::command::wait_until;
use crate::environment::Runtime;

pub(super) const TESTS: &[Test] = &[
    ("checkpoint", Root, checkpoint),
    ("checkpoint_again", Root, again),
    ("checkpoint_leave_running", Root, leave_running),
    ("checkpoint_keep", Root, keep),
    ("checkpoint_export", Root, export),
    ("checkpoint_import_name", Root, import_name),
    ("checkpoint_pre_checkpoint", Root, pre_checkpoint),
    ("checkpoint_image", Root, image),
    ("checkpoint_tcp_established", Root, tcp_established),
    ("checkpoint_tty", Root, tty),
    ("checkpoint_limits", Root, limits),
    ("checkpoint_volume", Root, volume),
    ("checkpoint_network", Root, network),
    ("checkpoint_pod", Root, pod),
    ("checkpoint_processes", Root, processes),
    ("checkpoint_init", Root, init),
    (
        "checkpoint_namespaces_of_the_host",
        Root,
        namespaces_of_the_host,
    ),
    ("checkpoint_privileged", Root, privileged),
    ("checkpoint_no_new_privileges", Root, no_new_privileges),
];

/// A container that counts on standard output.
#[track_caller]
fn counter<'a>(p: &'a Podman, name: &str, options: &[&str]) -> Container<'a> {
    let c = p.start(name, options, COUNT);
    wait_for_more(|| c.logs());
    c
}

/// Checkpoints the container, which ends with it.
#[track_caller]
fn stop(p: &Podman, c: &Container, options: &[&str]) {
    p.ok(&[&["container", "checkpoint"], options, &[&c.name]].concat());
    let state = c.inspect("{{.State.Status}} {{.State.Checkpointed}}");
    assert_eq!(state, "exited true");
}

/// Restores the container, which counts on.
#[track_caller]
fn go_on(p: &Podman, c: &Container, options: &[&str]) {
    p.ok(&[&["container", "restore"], options, &[&c.name]].concat());
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
    wait_for_more(|| c.logs());
}

fn checkpoint(p: &Podman) {
    let c = counter(p, "checkpoint", &[]);
    let pid = c.pid();
    stop(p, &c, &[]);
    assert!(!Path::new(&format!("/proc/{pid}/exe")).exists());
    go_on(p, &c, &[]);
    assert_eq!(c.sh(&[], "echo in"), "in");
    p.ok(&["pause", &c.name]);
    p.ok(&["unpause", &c.name]);
    wait_for_more(|| c.logs());
    p.ok(&["stop", "-t", "0", &c.name]);
    assert_eq!(c.inspect("{{.State.ExitCode}}"), "137");
}

/// A file that is open in the container's own layer, over several rounds.
fn again(p: &Podman) {
    let c = p.start("checkpoint_again", &[], COUNT_IN_A_FILE);
    let log = || c.exec(&[], "cat /tmp/log").stdout;
    wait_for_more(log);
    for _ in 0..3 {
        stop(p, &c, &[]);
        p.ok(&["container", "restore", &c.name]);
        wait_for_more(log);
    }
}

fn leave_running(p: &Podman) {
    let c = counter(p, "checkpoint_leave_running", &[]);
    let pid = c.pid();
    p.ok(&["container", "checkpoint", "--leave-running", &c.name]);
    wait_for_more(|| c.logs());
    assert_eq!(c.pid(), pid);
    p.ok(&["kill", &c.name]);
    p.ok(&["wait", &c.name]);
    let counted = count(&c.logs());
    p.ok(&["container", "restore", &c.name]);
    wait_until("the container goes back", 30, || {
        second_start(&c.logs()).is_some_and(|number| number > 1 && number <= counted)
    });
}

/// `--keep` leaves the images and CRIU's logs in the container's directory.
fn keep(p: &Podman) {
    let c = counter(p, "checkpoint_keep", &[]);
    let directory = c.inspect("{{.ConmonPidFile}}").replace("/conmon.pid", "");
    stop(p, &c, &["--keep"]);
    let images = c.inspect("{{.State.CheckpointPath}}");
    assert!(
        Path::new(&images).join("inventory.img").exists(),
        "{images}"
    );
    let log = c.inspect("{{.State.CheckpointLog}}");
    assert!(Path::new(&log).exists(), "{log} {directory}");
    go_on(p, &c, &["--keep"]);
    assert!(Path::new(&images).join("inventory.img").exists());
    let log = c.inspect("{{.State.RestoreLog}}");
    assert!(Path::new(&log).exists(), "{log}");
}

/// The archive of a checkpoint.
fn archive(p: &Podman, name: &str) -> String {
    let path = p.files(name).join("checkpoint.tar.gz");
    path.to_str().unwrap().to_owned()
}

/// An archive also has the files that the container has written.
fn export(p: &Podman) {
    let file = archive(p, "checkpoint_export");
    let c = p.start("checkpoint_export", &[], COUNT_IN_A_FILE);
    let log = || c.exec(&[], "cat /tmp/log").stdout;
    wait_for_more(log);
    let id = c.inspect("{{.Id}}");
    stop(p, &c, &["--export", &file]);
    p.ok(&["rm", &c.name]);
    p.ok(&["container", "restore", "--import", &file]);
    assert_eq!(c.inspect("{{.Id}}"), id);
    wait_for_more(log);
}

/// Counts, but only when it is started for the first time.
fn counts_once() -> String {
    format!("mkdir /tmp/began || exit 9; {COUNT}")
}

/// Waits until a restored container prints another number. Its log may begin with the restore.
#[track_caller]
fn wait_for_next(c: &Container) {
    let printed = c.logs().len();
    wait_until("the container counts on", 30, || c.logs().len() > printed);
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
}

/// Two containers from one archive, beside the container that runs on.
fn import_name(p: &Podman) {
    let file = archive(p, "checkpoint_import_name");
    let c = p.start("checkpoint_import_name", &[], &counts_once());
    wait_for_more(|| c.logs());
    c.sh(&[], "echo kept >/root/file");
    p.ok(&["container", "checkpoint", "-R", "-e", &file, &c.name]);
    wait_for_more(|| c.logs());
    for name in ["checkpoint_imported_1", "checkpoint_imported_2"] {
        let other = p.container(name);
        p.ok(&["container", "restore", "-i", &file, "-n", name]);
        assert_ne!(other.inspect("{{.Id}}"), c.inspect("{{.Id}}"));
        assert_eq!(other.sh(&[], "cat /root/file"), "kept");
        wait_for_next(&other);
    }
    wait_for_more(|| c.logs());
}

/// The memory is written before, while the container runs.
fn pre_checkpoint(p: &Podman) {
    let c = counter(p, "checkpoint_pre_checkpoint", &[]);
    p.ok(&["container", "checkpoint", "--pre-checkpoint", &c.name]);
    wait_for_more(|| c.logs());
    stop(p, &c, &["--with-previous"]);
    go_on(p, &c, &[]);
}

/// The checkpoint is an image.
fn image(p: &Podman) {
    let c = p.start("checkpoint_image", &[], &counts_once());
    wait_for_more(|| c.logs());
    let image = "localhost/checkpoint_image";
    stop(p, &c, &["--create-image", image]);
    p.ok(&["rm", &c.name]);
    p.ok(&["container", "restore", "--name", &c.name, image]);
    wait_for_next(&c);
    p.ok(&["rm", "-f", "-t0", &c.name]);
    p.ok(&["rmi", image]);
}

/// A server and a client in the container.
fn tcp_established(p: &Podman) {
    // The FIFO never ends, and nc(1) would end with its input. 7000 is 1B58.
    let script = format!(
        "busybox mkfifo /tmp/fifo; exec 4<>/tmp/fifo; busybox nc -l -p 7000 <&4 & \
         until grep -q :1B58 /proc/net/tcp /proc/net/tcp6; do :; done; \
         ({COUNT}) | busybox nc 127.0.0.1 7000"
    );
    let c = p.start("checkpoint_tcp", &[], &script);
    wait_for_more(|| c.logs());
    let refused = p.call(&["container", "checkpoint", &c.name]).fails(125);
    assert!(refused.contains("checkpoint"), "{refused}");
    wait_for_more(|| c.logs());
    stop(p, &c, &["--tcp-established"]);
    go_on(p, &c, &["--tcp-established"]);
}

fn tty(p: &Podman) {
    let c = counter(p, "checkpoint_tty", &["-t"]);
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    assert!(c.sh(&[], "readlink /proc/1/fd/1").starts_with("/dev/pts/"));
}

fn limits(p: &Podman) {
    let options = ["--memory", "64m", "--pids-limit", "50", "--cap-drop", "all"];
    let c = counter(p, "checkpoint_limits", &options);
    let seen = || {
        let cgroup = |controller: &str, files: [&str; 2]| {
            crate::cgroups::limit(c.pid(), controller, files[0], files[1])
        };
        let memory = cgroup("memory", ["memory.limit_in_bytes", "memory.max"]);
        let pids = cgroup("pids", ["pids.max", "pids.max"]);
        let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
        let held = |line: &&str| line.starts_with("Cap") || line.starts_with("Seccomp:");
        let status: Vec<String> = status.lines().filter(held).map(str::to_owned).collect();
        (memory, pids, status)
    };
    let before = seen();
    assert_eq!((before.0.as_str(), before.1.as_str()), ("67108864", "50"));
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    assert_eq!(seen(), before);
}

fn volume(p: &Podman) {
    let files = p.files("checkpoint_volume");
    let bind = format!("{}:/bound:ro", files.display());
    let options = [
        "-v",
        &bind,
        "-v",
        "/volume",
        "--tmpfs",
        "/kept",
        "--read-only",
    ];
    let c = counter(p, "checkpoint_volume", &options);
    c.sh(&[], "echo memory >/kept/file; echo volume >/volume/file");
    stop(p, &c, &[]);
    fs::write(files.join("file"), "bound\n").unwrap();
    go_on(p, &c, &[]);
    let output = c.exec(
        &[],
        "cat /kept/file /volume/file /bound/file; touch /bound/x /x",
    );
    assert_eq!(output.stdout, "memory\nvolume\nbound\n", "{output}");
    assert_eq!(
        output.stderr.matches("Read-only file system").count(),
        2,
        "{output}"
    );
}

/// The restored container has its address again.
fn network(p: &Podman) {
    let options = ["--network", "bridge", "--cap-add", "net_raw"];
    let c = counter(p, "checkpoint_network", &options);
    let address = || {
        c.sh(
            &[],
            "ip -o -4 address show eth0 | sed 's/.*inet //;s/ .*//'",
        )
    };
    let before = address();
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    assert_eq!(address(), before);
    let gateway = c.sh(&[], "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'");
    c.sh(&[], &format!("ping -c 1 -W 5 {gateway}"));
}

/// A container of a pod goes on in another pod. Podman 4.3 finds the other one by its id only.
fn pod(p: &Podman) {
    let file = archive(p, "checkpoint_pod");
    let create = |name: &str| {
        p.call(&["pod", "rm", "-f", "-t0", name]); // From a first attempt.
        let args = ["--network", "none", "--share", "ipc,net,uts"];
        p.ok(&[&["pod", "create", "--name", name], &args[..]].concat())
    };
    let [first, second] = ["checkpoint_pod_1", "checkpoint_pod_2"].map(create);
    let c = counter(p, "checkpoint_in_a_pod", &["--pod", &first]);
    stop(p, &c, &["--export", &file]);
    p.ok(&["pod", "rm", "-f", "-t0", &first]);
    p.ok(&["container", "restore", "--pod", &second, "--import", &file]);
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
    let format = "{{.InfraContainerID}}";
    let infra = p.ok(&["pod", "inspect", "--format", format, &second]);
    let infra = p.container(&infra).pid();
    for kind in ["ipc", "net", "uts"] {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(namespace(c.pid()), namespace(infra));
    }
    p.ok(&["pod", "rm", "-f", "-t0", &second]);
}

/// Several processes, a pipe between them, and a file that has no name any more.
fn processes(p: &Podman) {
    let script = format!("exec 5>/tmp/x; rm /tmp/x; ({COUNT}) | cat");
    let c = p.start("checkpoint_processes", &[], &script);
    wait_for_more(|| c.logs());
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    let removed = c.sh(&[], "readlink /proc/1/fd/5");
    assert!(removed.contains("(deleted)"), "{removed}");
}

/// PID 1 is catatonit(1), from a file of the host.
fn init(p: &Podman) {
    let c = counter(p, "checkpoint_init", &["--init"]);
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    assert!(c.sh(&[], "ps").contains("init"));
}

fn namespaces_of_the_host(p: &Podman) {
    let kinds = ["network", "pid", "ipc", "uts", "cgroupns"];
    let options: Vec<String> = kinds.iter().map(|kind| format!("--{kind}=host")).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let c = counter(p, "checkpoint_of_the_host", &options);
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    for kind in ["net", "pid", "ipc", "uts", "cgroup"] {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(namespace(&c.pid().to_string()), namespace("self"), "{kind}");
    }
}

fn privileged(p: &Podman) {
    let c = counter(p, "checkpoint_privileged", &["--privileged"]);
    let capabilities = || c.sh(&[], "grep Cap /proc/1/status");
    let before = capabilities();
    stop(p, &c, &[]);
    go_on(p, &c, &[]);
    assert_eq!(capabilities(), before);
}

/// An older CRIU restores processes that may gain privileges. `rt` refuses that.
fn no_new_privileges(p: &Podman) {
    let options = ["--security-opt", "no-new-privileges"];
    let c = counter(p, "checkpoint_no_new_privileges", &options);
    stop(p, &c, &[]);
    if p.runtime == Runtime::Rt && !restores_no_new_privs() {
        let refused = p.call(&["container", "restore", &c.name]).fails(125);
        let reason = "CRIU restores no_new_privs since version 3.19";
        assert!(refused.contains(reason), "{refused}");
        return;
    }
    go_on(p, &c, &[]);
    let expected = u8::from(restores_no_new_privs()).to_string();
    let seen = c.sh(&[], "sed -n 's/NoNewPrivs:\t//p' /proc/1/status");
    assert_eq!(seen, expected);
}
