//! Pods: containers around an infra container, whose namespaces they share.

use std::fs;

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("pod_shares", Both, shares),
    ("pod_shares_pid", Both, shares_pid),
    ("pod_lifecycle", Both, lifecycle),
    ("pod_pause", Root, pause),
    ("pod_kill", Both, kill),
    ("pod_remove", Both, remove),
    ("pod_without_infra", Both, without_infra),
    ("pod_init_containers", Both, init_containers),
    ("pod_limits", Root, limits),
    ("pod_user_namespace", Both, user_namespace),
    ("pod_publish", Both, publish),
    ("pod_volumes", Both, volumes),
    ("pod_top_and_stats", Both, top),
];

/// A pod. Dropping it removes it.
struct Pod<'a> {
    podman: &'a Podman,
    name: &'a str,
}

impl<'a> Pod<'a> {
    fn new(podman: &'a Podman, name: &'a str, options: &[&str]) -> Pod<'a> {
        let network: &[&str] =
            if options.contains(&"--network") || options.contains(&"--infra=false") {
                &[]
            } else {
                &["--network", "none"]
            };
        podman.ok(&[&["pod", "create", "--name", name], network, options].concat());
        Pod { podman, name }
    }

    /// `podman run` in the pod. The container is removed with the pod.
    fn start(&self, name: &str, options: &[&str], script: &str) -> super::Container<'a> {
        self.podman
            .start(name, &[&["--pod", self.name], options].concat(), script)
    }

    fn inspect(&self, format: &str) -> String {
        self.podman
            .ok(&["pod", "inspect", "--format", format, self.name])
    }

    /// The pid of the infra container.
    fn infra(&self) -> u32 {
        let id = self.inspect("{{.InfraContainerID}}");
        let pid = self
            .podman
            .ok(&["inspect", "--format", "{{.State.Pid}}", &id]);
        pid.parse().unwrap()
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        self.podman.call(&["pod", "rm", "-f", "-t0", self.name]);
    }
}

fn namespace_of(pid: u32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

fn shares(p: &Podman) {
    let pod = Pod::new(p, "shares", &["--hostname", "common"]);
    let (a, b) = (
        pod.start("shares_a", &[], "sleep 1000"),
        pod.start("shares_b", &[], "sleep 1000"),
    );
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(
            namespace_of(a.pid(), kind),
            namespace_of(b.pid(), kind),
            "{kind}"
        );
    }
    for kind in ["mnt", "pid"] {
        assert_ne!(
            namespace_of(a.pid(), kind),
            namespace_of(b.pid(), kind),
            "{kind}"
        );
    }
    assert_eq!(b.sh(&[], "hostname"), "common");
    assert_eq!(
        namespace_of(a.pid(), "net"),
        namespace_of(pod.infra(), "net")
    );
}

fn shares_pid(p: &Podman) {
    let pod = Pod::new(p, "shares_pid", &["--share", "pid,net,ipc,uts"]);
    let a = pod.start("shares_pid_a", &[], "exec sleep 1111");
    let b = pod.start("shares_pid_b", &[], "exec sleep 2222");
    let output = b.sh(&[], "ps");
    assert!(
        output.contains("sleep 1111") && output.contains("sleep 2222"),
        "{output}"
    );
    drop(a);
    wait_until("the process of the removed container has ended", 10, || {
        !b.sh(&[], "ps").contains("sleep 1111")
    });
}

fn lifecycle(p: &Podman) {
    let pod = Pod::new(p, "life", &[]);
    let c = pod.start("life_c", &[], "echo again; sleep 1000");
    assert_eq!(pod.inspect("{{.State}}"), "Running");
    p.ok(&["pod", "stop", "-t", "0", pod.name]);
    assert_eq!(c.inspect("{{.State.Status}}"), "exited");
    p.ok(&["pod", "start", pod.name]);
    assert_eq!(c.sh(&[], "echo in"), "in");
    p.ok(&["pod", "restart", pod.name]);
    wait_until("the container has run three times", 20, || {
        c.logs() == "again\nagain\nagain\n"
    });
}

fn pause(p: &Podman) {
    let pod = Pod::new(p, "pod_pause", &[]);
    let c = pod.start("pod_pause_c", &[], "sleep 1000");
    p.ok(&["pod", "pause", pod.name]);
    assert_eq!(c.inspect("{{.State.Status}}"), "paused");
    p.ok(&["pod", "unpause", pod.name]);
    assert_eq!(c.sh(&[], "echo in"), "in");
}

fn kill(p: &Podman) {
    let pod = Pod::new(p, "pod_kill", &[]);
    let c = pod.start("pod_kill_c", &[], "sleep 1000");
    p.ok(&["pod", "kill", pod.name]);
    assert_eq!(p.ok(&["wait", &c.name]), "137");
}

fn remove(p: &Podman) {
    let pod = Pod::new(p, "pod_remove", &[]);
    let c = pod.start("pod_remove_c", &[], "sleep 1000");
    let pid = c.pid();
    let id = p.ok(&["pod", "inspect", "--format", "{{.ID}}", pod.name]);
    p.ok(&["pod", "rm", "-f", "-t0", pod.name]);
    p.call(&["container", "exists", &c.name]).fails(1);
    wait_until("the process has ended", 10, || {
        !fs::exists(format!("/proc/{pid}")).unwrap()
    });
    for controller in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = controller.path().join("libpod_parent").join(&id);
        assert!(!left.exists(), "{}", left.display());
    }
}

fn without_infra(p: &Podman) {
    let pod = Pod::new(p, "without_infra", &["--infra=false"]);
    let (a, b) = (
        pod.start("without_a", &[], "sleep 1000"),
        pod.start("without_b", &[], "sleep 1000"),
    );
    assert_ne!(namespace_of(a.pid(), "net"), namespace_of(b.pid(), "net"));
}

fn init_containers(p: &Podman) {
    let pod = Pod::new(p, "inits", &[]);
    p.ok(&["volume", "create", "inits"]);
    let write = |name: &str, kind: &str| {
        let script = format!("echo {name} >>/shared/order");
        let args = [
            "create",
            "--name",
            name,
            "--pod",
            pod.name,
            "--init-ctr",
            kind,
            "-v",
            "inits:/shared",
        ];
        p.ok(&[&args[..], &[IMAGE, "sh", "-c", &script]].concat());
    };
    // Not `once`: Podman 4.3 may still consider such an init container running when it removes it.
    write("init_first", "always");
    write("init_second", "always");
    let script = "cat /shared/order; sleep 1000";
    let args = [
        "create",
        "--name",
        "inits_main",
        "--pod",
        pod.name,
        "-v",
        "inits:/shared",
    ];
    p.ok(&[&args[..], &[IMAGE, "sh", "-c", script]].concat());
    p.ok(&["pod", "start", pod.name]);
    let main = p.container("inits_main");
    main.wait_for("init_second");
    assert!(main.logs().contains("init_first"));
    p.ok(&["pod", "stop", "-t", "0", pod.name]);
    p.ok(&["pod", "start", pod.name]);
    wait_until("the second start", 10, || {
        main.logs().matches("init_second").count() == 3
    });
    drop((main, pod));
    p.ok(&["volume", "rm", "inits"]);
}

fn limits(p: &Podman) {
    let pod = Pod::new(p, "pod_limits", &["--cpus", "0.5", "--memory", "100m"]);
    let c = pod.start("pod_limits_c", &[], "sleep 1000");
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    let id = p.ok(&["pod", "inspect", "--format", "{{.ID}}", pod.name]);
    assert!(
        cgroups.contains(&format!("/libpod_parent/{id}/")),
        "{cgroups}"
    );
}

fn user_namespace(p: &Podman) {
    let pod = Pod::new(
        p,
        "pod_user",
        &["--uidmap", "0:4000:5000", "--gidmap", "0:4000:5000"],
    );
    let c = pod.start("pod_user_c", &[], "sleep 1000");
    assert_eq!(c.sh(&[], "id -u; touch /x; stat -c %u /x"), "0\n0");
    assert_ne!(
        namespace_of(c.pid(), "user"),
        namespace_of(std::process::id(), "user")
    );
    assert_eq!(
        namespace_of(c.pid(), "user"),
        namespace_of(pod.infra(), "user")
    );
}

fn publish(p: &Podman) {
    let port = p.port(3);
    let option = format!("127.0.0.1:{port}:80");
    let network = if p.user().is_some() {
        "slirp4netns"
    } else {
        "bridge"
    };
    let pod = Pod::new(p, "pod_publish", &["--network", network, "-p", &option]);
    let script = "echo from a pod >/var/www/index.html; exec httpd -f -p 80 -h /var/www";
    pod.start("pod_publish_c", &[], "sleep 0")
        .inspect("{{.Pod}}");
    let c = pod.start("pod_publish_d", &[], script);
    assert!(super::network::page(port).contains("from a pod"));
    drop(c);
}

fn volumes(p: &Podman) {
    let files = p.files("pod_volumes");
    let option = format!("{}:/common", files.display());
    let pod = Pod::new(p, "pod_volumes", &["-v", &option]);
    let a = pod.start(
        "pod_volumes_a",
        &[],
        "echo from a >/common/file; sleep 1000",
    );
    let b = pod.start("pod_volumes_b", &[], "sleep 1000");
    wait_until("the file is written", 10, || {
        b.exec(&[], "cat /common/file").stdout == "from a\n"
    });
    drop(a);
}

fn top(p: &Podman) {
    let pod = Pod::new(p, "pod_top", &[]);
    let _c = pod.start("pod_top_c", &[], "exec sleep 3333");
    assert!(p.ok(&["pod", "top", pod.name]).contains("sleep 3333"));
    assert!(p.ok(&["pod", "ps"]).contains("pod_top"));
    if p.user().is_none() {
        let output = p.ok(&["pod", "stats", "--no-stream", pod.name]);
        assert!(output.contains("pod_top_c"), "{output}");
    }
}
