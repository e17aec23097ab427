//! The flags of `ctr run`, checked from inside the container.

use std::fs;
use std::process::Command;

use super::{Containerd, Task, Test};
use crate::terminal::Terminal;
use crate::{command, image};

pub(super) const TESTS: &[Test] = &[
    ("run", run),
    ("run_exit_status", exit_status),
    ("run_signal", signal),
    ("run_stdin", stdin),
    ("run_detach", detach),
    ("run_tty", tty),
    ("run_tty_resize", tty_resize),
    ("run_env", env),
    ("run_env_file", env_file),
    ("run_cwd", cwd),
    ("run_read_only", read_only),
    ("run_mount_bind", mount_bind),
    ("run_mount_read_only", mount_read_only),
    ("run_mount_tmpfs", mount_tmpfs),
    ("run_net_host", net_host),
    ("run_namespaces", namespaces),
    ("run_with_ns", with_ns),
    ("run_pid_file", pid_file),
    ("run_label", label),
    ("run_annotation", annotation),
    ("run_rootfs", rootfs),
    ("run_rootfs_propagation", rootfs_propagation),
    ("run_config", config),
    ("run_user_namespace", user_namespace),
    ("run_no_pivot", no_pivot),
    ("run_null_io", null_io),
    ("run_log_uri", log_uri),
    ("run_runc_root", runc_root),
    ("run_no_program", no_program),
    ("run_no_directory", no_directory),
    ("run_bad_mount", bad_mount),
    ("run_same_name", same_name),
];

fn run(daemon: &Containerd) {
    let output = daemon.run("run", &[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(output.status, 0);
    let gone = daemon.ctr(&["container", "ls", "-q"]).ok();
    assert!(!gone.lines().any(|id| id == "run"), "{gone}");
}

fn exit_status(daemon: &Containerd) {
    daemon
        .run("exit_status", &[], &["sh", "-c", "exit 37"])
        .fails(37);
}

fn signal(daemon: &Containerd) {
    let script = "sh -c 'kill -SEGV $$'; exit $?";
    daemon.run("signal", &[], &["sh", "-c", script]).fails(139);
}

fn stdin(daemon: &Containerd) {
    let mut run = daemon.run_command("stdin", &["--rm"], &["head", "-n", "1"]);
    assert_eq!(command::run_with(&mut run, b"given\n").ok(), "given");
}

fn detach(daemon: &Containerd) {
    let task = daemon.task("detach", &[], &["sleep", "1000"]);
    let (pid, status) = task.listed().unwrap();
    assert_eq!(status, "RUNNING");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(line, "sleep\x001000\0");
}

fn tty(daemon: &Containerd) {
    let script = "test -t 0 && test -t 1 && tty; stty size; read line; echo got $line; exit 3";
    let run = daemon.run_command("tty", &["--rm", "--tty"], &["sh", "-c", script]);
    let mut terminal = Terminal::start(&run);
    terminal.expect("/dev/pts/0");
    terminal.type_text("word\n");
    terminal.expect("got word");
    let (status, screen) = terminal.wait();
    assert_eq!(status, Some(3), "{screen}");
}

fn tty_resize(daemon: &Containerd) {
    let script = "echo ready; until stty size | grep '33 77'; do sleep 0.1; done";
    let flags = ["--rm", "--tty"];
    let run = daemon.run_command("tty_resize", &flags, &["sh", "-c", script]);
    let mut terminal = Terminal::start(&run);
    terminal.expect("ready");
    terminal.resize_until(77, 33, "33 77");
    assert_eq!(terminal.wait().0, Some(0));
}

fn env(daemon: &Containerd) {
    let script = "echo $FIRST.$SECOND.$IMAGE";
    let flags = ["--env", "FIRST=one two", "--env", "SECOND=2"];
    assert_eq!(daemon.sh("env", &flags, script), "one two.2.yes");
}

fn env_file(daemon: &Containerd) {
    let file = daemon.scratch("env_file").join("list");
    fs::write(&file, "LISTED=yes\n").unwrap();
    let flags = ["--env-file", &file.display().to_string()];
    assert_eq!(daemon.sh("env_file", &flags, "echo $LISTED"), "yes");
}

fn cwd(daemon: &Containerd) {
    assert_eq!(
        daemon.sh("cwd", &["--cwd", "/home/user"], "pwd"),
        "/home/user"
    );
}

fn read_only(daemon: &Containerd) {
    let output = daemon.run("read_only", &["--read-only"], &["touch", "/file"]);
    assert!(output.fails(1).contains("Read-only file system"));
    daemon.sh("writable", &[], "touch /file && test -f /file");
}

fn mount_bind(daemon: &Containerd) {
    let source = daemon.scratch("mount_bind");
    fs::write(source.join("given"), "content").unwrap();
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        source.display()
    );
    let script = "cat /data/given; echo -n back > /data/returned";
    assert_eq!(
        daemon.sh("mount_bind", &["--mount", &mount], script),
        "content"
    );
    assert_eq!(fs::read_to_string(source.join("returned")).unwrap(), "back");
}

fn mount_read_only(daemon: &Containerd) {
    let source = daemon.scratch("mount_read_only");
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:ro",
        source.display()
    );
    let output = daemon.run(
        "mount_read_only",
        &["--mount", &mount],
        &["touch", "/data/file"],
    );
    assert!(output.fails(1).contains("Read-only file system"));
}

fn mount_tmpfs(daemon: &Containerd) {
    let mount = "type=tmpfs,src=tmpfs,dst=/fresh,options=noexec:nosuid:size=64k:mode=750";
    let script = "grep ' /fresh ' /proc/mounts; stat -c %a /fresh";
    let seen = daemon.sh("mount_tmpfs", &["--mount", mount], script);
    assert!(
        seen.contains("noexec") && seen.contains("size=64k"),
        "{seen}"
    );
    assert!(seen.ends_with("750"), "{seen}");
}

fn net_host(daemon: &Containerd) {
    let inside = daemon.sh("net_host", &["--net-host"], "readlink /proc/self/ns/net");
    let ours = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(inside, ours.to_string_lossy());
}

/// The container has its own namespaces, and its network has only the loopback device.
fn namespaces(daemon: &Containerd) {
    let script =
        "for i in mnt uts ipc net pid; do readlink /proc/self/ns/$i; done; ls /sys/class/net";
    let inside = daemon.sh("namespaces", &[], script);
    for (kind, theirs) in ["mnt", "uts", "ipc", "net", "pid"]
        .iter()
        .zip(inside.lines())
    {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(theirs, ours.to_string_lossy(), "{kind}");
    }
    let devices: Vec<&str> = inside.lines().skip(5).collect();
    assert!(
        devices.contains(&"lo") && !devices.contains(&"eth0"),
        "{devices:?}"
    );
}

fn with_ns(daemon: &Containerd) {
    let first = daemon.task("with_ns_first", &[], &["sleep", "1000"]);
    let pid = first.pid();
    let join = |kind: &str, file: &str| format!("{kind}:/proc/{pid}/ns/{file}");
    let (network, ipc, uts) = (
        join("network", "net"),
        join("ipc", "ipc"),
        join("uts", "uts"),
    );
    let flags = ["--with-ns", &network, "--with-ns", &ipc, "--with-ns", &uts];
    let script = "for i in net ipc uts; do readlink /proc/self/ns/$i; done";
    let inside = daemon.sh("with_ns", &flags, script);
    for (kind, theirs) in ["net", "ipc", "uts"].iter().zip(inside.lines()) {
        let first = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(theirs, first.to_string_lossy());
    }
    assert_eq!(inside.lines().count(), 3);
}

fn pid_file(daemon: &Containerd) {
    let file = daemon.scratch("pid_file").join("pid");
    let flags = ["--pid-file", &file.display().to_string()];
    let task = daemon.task("pid_file", &flags, &["sleep", "1000"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), task.pid().to_string());
}

fn label(daemon: &Containerd) {
    let task = daemon.task("label", &["--label", "kind=test"], &["sleep", "1000"]);
    let info = daemon.ctr(&["container", "info", "label"]).ok();
    assert!(info.contains(r#""kind": "test""#), "{info}");
    let found = daemon
        .ctr(&["container", "ls", "-q", "labels.kind==test"])
        .ok();
    assert_eq!(found, task.id);
}

fn annotation(daemon: &Containerd) {
    let flags = ["--annotation", "org.example.kind=test"];
    let _task = daemon.task("annotation", &flags, &["sleep", "1000"]);
    let root = daemon.runtime_root().display().to_string();
    let mut state = Command::new(daemon.runtime.path());
    let state = command::run(state.args(["--root", &root, "state", "annotation"])).ok();
    assert!(state.contains(r#""org.example.kind": "test""#), "{state}");
}

fn rootfs(daemon: &Containerd) {
    let tree = daemon.scratch("rootfs");
    image::busybox(&tree);
    fs::write(tree.join("mark"), "this one").unwrap();
    let mut run = daemon.ctr_command(&["run", "--rm", "--rootfs", "--runc-binary"]);
    run.arg(daemon.runtime.path()).arg(&tree);
    let output =
        command::run(run.args(["rootfs", "/bin/sh", "-c", "cat /mark; echo -n new > /made"]));
    assert_eq!(output.ok(), "this one");
    assert_eq!(fs::read_to_string(tree.join("made")).unwrap(), "new");
}

/// Without the flag, mounts of the host propagate into the container.
fn rootfs_propagation(daemon: &Containerd) {
    let first = "head -n 1 /proc/self/mountinfo";
    let flags = ["--rootfs-propagation", "rprivate"];
    let seen = daemon.sh("rootfs_propagation", &flags, first);
    assert!(!seen.contains(" master:"), "{seen}");
    let seen = daemon.sh("rootfs_slave", &[], first);
    assert!(seen.contains(" master:"), "{seen}");
}

fn config(daemon: &Containerd) {
    let directory = daemon.scratch("config");
    let tree = directory.join("rootfs");
    image::busybox(&tree);
    command::run(
        Command::new(daemon.runtime.path())
            .arg("spec")
            .current_dir(&directory),
    )
    .ok();
    let file = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["root"]["path"] = tree.display().to_string().into();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["hostname"]);
    config["hostname"] = "by-config".into();
    fs::write(&file, config.to_string()).unwrap();
    let mut run = daemon.ctr_command(&["run", "--rm", "--runc-binary"]);
    run.arg(daemon.runtime.path())
        .arg("--config")
        .arg(&file)
        .arg("config");
    assert_eq!(command::run(&mut run).ok(), "by-config");
}

fn user_namespace(daemon: &Containerd) {
    let flags = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"];
    let task = daemon.task("user_namespace", &flags, &["sleep", "1000"]);
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
    assert!(status.contains("Uid:\t100000\t"), "{status}");
    assert!(status.contains("Gid:\t200000\t"), "{status}");
    let owner = task.sh("own", &[], "stat -c %u:%g /etc/passwd");
    assert_eq!(owner, "0:0");
}

fn no_pivot(daemon: &Containerd) {
    let seen = daemon.sh("no_pivot", &["--no-pivot"], "ls /; cat /proc/1/comm; true");
    assert!(seen.contains("home") && seen.contains("sh"), "{seen}");
}

fn null_io(daemon: &Containerd) {
    let output = daemon.run("null_io", &["--null-io"], &["sh", "-c", "echo out; exit 4"]);
    assert_eq!((output.status, output.stdout.as_str()), (4, ""));
}

fn log_uri(daemon: &Containerd) {
    let log = daemon.scratch("log_uri").join("log");
    let uri = format!("file://{}", log.display());
    let task = daemon.task(
        "log_uri",
        &["--log-uri", &uri],
        &["sh", "-c", "echo kept; sleep 1000"],
    );
    command::wait_until("the output is logged", 10, || {
        fs::read_to_string(&log).is_ok_and(|log| log == "kept\n")
    });
    drop(task);
}

/// `--runc-root` sets the runtime's `--root`.
fn runc_root(daemon: &Containerd) {
    let root = daemon.scratch("runc_root").join("root");
    let flags = ["--runc-root", &root.display().to_string()];
    let task = daemon.task("runc_root", &flags, &["sleep", "1000"]);
    let kept = root.join(daemon.namespace()).join("runc_root/state.json");
    assert!(kept.exists(), "{}", kept.display());
    drop(task);
    assert!(!kept.exists(), "{}", kept.display());
}

/// The error names the missing program, and no container remains.
fn no_program(daemon: &Containerd) {
    let args = ["/no/such/program"];
    let output = command::run(&mut daemon.run_command("no_program", &["--rm"], &args));
    let output = output.fails(1);
    assert!(output.contains("/no/such/program"), "{output}");
    assert!(output.contains("no such file or directory"), "{output}");
    let left = daemon.ctr(&["task", "ls", "-q"]).ok();
    assert!(!left.lines().any(|id| id == "no_program"), "{left}");
}

fn no_directory(daemon: &Containerd) {
    let flags = ["--cwd", "/etc/passwd"];
    let output = daemon.run("no_directory", &flags, &["true"]).fails(1);
    assert!(output.contains("not a directory"), "{output}");
}

fn bad_mount(daemon: &Containerd) {
    let mount = "type=bind,src=/no/such/source,dst=/data,options=rbind";
    let output = daemon
        .run("bad_mount", &["--mount", mount], &["true"])
        .fails(1);
    assert!(output.contains("/no/such/source"), "{output}");
    let left = daemon.ctr(&["container", "ls", "-q"]).ok();
    assert!(!left.lines().any(|id| id == "bad_mount"), "{left}");
}

fn same_name(daemon: &Containerd) {
    let task = Task::of(daemon, "same_name");
    command::run(&mut daemon.run_command("same_name", &["-d"], &["sleep", "1000"])).ok();
    let again = daemon.run("same_name", &[], &["true"]).fails(1);
    assert!(again.contains("already exists"), "{again}");
    assert_eq!(task.status(), "RUNNING");
}
