//! Containers that share namespaces with the host, or with each other as the members of a pod.

use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Bundle, Container, HostState, Kind, alive, differs, namespace_of, signal, trials, wait_gone,
    wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        members_share_the_namespaces_of_the_pod,
        members_can_share_the_pid_namespace_of_the_pod,
        containers_without_a_pid_namespace_see_the_processes_of_the_host,
        members_share_ipc_and_the_host_name,
        a_member_can_join_a_bind_mounted_namespace,
        kill_ends_one_member_only,
        delete_kills_processes_that_outlived_a_members_init,
        delete_force_of_a_member_spares_the_pod,
        the_end_of_the_pods_pid_1_ends_the_members_in_its_pid_namespace,
        the_end_of_the_pods_pid_1_spares_members_in_pid_namespaces_of_their_own,
        a_pod_that_has_ended_cannot_be_joined,
        a_process_that_is_not_pid_1_has_default_signals,
        orphans_of_a_member_become_children_of_the_pods_pid_1,
        signals_are_forwarded_to_a_process_that_is_not_pid_1,
        a_process_that_is_not_pid_1_has_the_usual_exit_statuses,
        a_created_member_waits_and_starts,
        ten_members_start_concurrently,
    ]
}

/// A container that holds the namespaces, like the pause container of a Kubernetes pod.
struct Pod {
    bundle: Bundle,
    container: Container,
    pid: i32,
}

const LINKS: [(&str, &str); 4] = [
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("pid", "pid"),
];

impl Pod {
    fn new() -> Self {
        Self::with(Bundle::new().hostname("pod"))
    }

    fn with(bundle: Bundle) -> Self {
        let bundle = bundle.args(&["/probe", "sleep"]);
        let container = bundle.run_detached();
        let pid = container.pid();
        Self {
            bundle,
            container,
            pid,
        }
    }

    fn path(&self, link: &str) -> String {
        format!("/proc/{}/ns/{link}", self.pid)
    }

    /// A file on which a namespace of the pod is bind-mounted. The caller unmounts it.
    fn bind_mount(&self, link: &str) -> PathBuf {
        use nix::mount::{MsFlags, mount};
        let file = self.bundle.runtime().home().join(format!("{link}-ns"));
        fs::write(&file, "").unwrap();
        let (source, none) = (self.path(link), None::<&str>);
        mount(Some(source.as_str()), &file, none, MsFlags::MS_BIND, none).unwrap();
        file
    }

    /// A container in all four namespaces of the pod.
    fn member(&self) -> Bundle {
        self.join(&["network", "ipc", "uts", "pid"])
    }

    fn join(&self, kinds: &[&str]) -> Bundle {
        let bundle = Bundle::with_runtime(self.bundle.runtime()).remove("/hostname");
        LINKS
            .iter()
            .filter(|(kind, _)| kinds.contains(kind))
            .fold(bundle, |bundle, (kind, link)| {
                bundle.namespace(kind, Some(&self.path(link)))
            })
    }
}

/// The pid of a process's only child.
fn child_of(pid: i32) -> i32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let read = || fs::read_to_string(&path).unwrap_or_default();
    wait_until("the child", || !read().is_empty());
    read().trim().parse().unwrap()
}

fn members_share_the_namespaces_of_the_pod() {
    let pod = Pod::new();
    let member = pod.join(&["network", "ipc", "uts"]);
    let before = HostState::of(&member);
    let seen = member.probe();
    for link in ["net", "ipc", "uts"] {
        let expected = namespace_of(&pod.pid.to_string(), link);
        assert_eq!(seen.namespace(link), expected, "{link}");
    }
    assert_eq!(
        (&seen["hostname"], &seen["pid"]),
        (&json!("pod"), &json!(1))
    );
    assert_ne!(
        seen.namespace("pid"),
        namespace_of(&pod.pid.to_string(), "pid")
    );
    assert_ne!(
        seen.namespace("mnt"),
        namespace_of(&pod.pid.to_string(), "mnt")
    );
    assert_eq!(
        seen["interfaces"]["lo"]["up"], true,
        "brought up by the pod's container"
    );
    before.assert_unchanged(&member);
    assert_eq!(pod.container.status(), "running");
}

/// `shareProcessNamespace: true`
fn members_can_share_the_pid_namespace_of_the_pod() {
    let pod = Pod::new();
    let member = pod.member();
    let before = HostState::of(&member);
    let seen = member.probe();
    assert!(seen["pid"].as_i64().unwrap() > 1, "{}", seen["pid"]);
    assert_eq!(
        seen.namespace("pid"),
        namespace_of(&pod.pid.to_string(), "pid")
    );
    let member = member.sh("cat /proc/1/comm /proc/self/comm");
    let outcome = member.run();
    assert!(outcome.assert_ok().stdout.starts_with("probe\ncat\n"));
    before.assert_unchanged(&member);
}

fn containers_without_a_pid_namespace_see_the_processes_of_the_host() {
    let bundle = Bundle::new().without_namespace("pid");
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(seen.namespace("pid"), namespace_of("self", "pid"));
    let own = std::process::id().to_string();
    let bundle = bundle.args(&["/bin/cat", &format!("/proc/{own}/comm")]);
    let outcome = bundle.run();
    let comm = fs::read_to_string(format!("/proc/{own}/comm")).unwrap();
    assert_eq!(outcome.assert_ok().stdout, comm);
    before.assert_unchanged(&bundle);
}

/// One member sees the POSIX message queue and the host name that another has set.
fn members_share_ipc_and_the_host_name() {
    let pod = Pod::new();
    let member = pod.member().capabilities(&["CAP_SYS_ADMIN"]);
    member
        .sh("touch /dev/mqueue/q && hostname renamed")
        .run()
        .assert_ok();
    let other = pod.member().sh("ls /dev/mqueue; hostname");
    assert_eq!(other.run().assert_ok().stdout, "q\nrenamed\n");
}

/// CNI keeps network namespaces this way.
fn a_member_can_join_a_bind_mounted_namespace() {
    let pod = Pod::new();
    let file = pod.bind_mount("net");
    let expected = namespace_of(&pod.pid.to_string(), "net");
    pod.container.kill("KILL").assert_ok();
    wait_gone(pod.pid);
    let member = Bundle::new().namespace("network", Some(file.to_str().unwrap()));
    let seen = member.probe();
    nix::mount::umount(&file).unwrap();
    assert_eq!(seen.namespace("net"), expected);
}

fn kill_ends_one_member_only() {
    differs(Kind::Runc, "an old runc kills only init without --all");
    differs(Kind::Crun, "it kills only init");
    let pod = Pod::new();
    let (one, other) = (pod.member(), pod.member());
    let (one, other) = (
        one.args(&["/probe", "spawn-sleep"]),
        other.args(&["/probe", "spawn-sleep"]),
    );
    let (first, second) = (one.run_detached(), other.run_detached());
    let (pid, other_pid) = (first.pid(), second.pid());
    let (child, other_child) = (child_of(pid), child_of(other_pid));
    first.kill("KILL").assert_ok();
    wait_gone(pid);
    wait_gone(child);
    first.wait_stopped();
    assert!(alive(other_pid) && alive(other_child) && alive(pod.pid));
    assert_eq!(second.status(), "running");
    first.delete().assert_ok();
    assert!(alive(other_pid) && alive(other_child) && alive(pod.pid));
}

fn delete_kills_processes_that_outlived_a_members_init() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&member);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    signal(pid, Signal::SIGKILL);
    container.wait_stopped();
    assert!(alive(child), "its new parent is the pod's PID 1");
    container.delete().assert_ok();
    wait_gone(child);
    assert!(alive(pod.pid));
    before.assert_unchanged(&member);
}

fn delete_force_of_a_member_spares_the_pod() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&member);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    container.end();
    wait_gone(pid);
    wait_gone(child);
    assert_eq!(pod.container.status(), "running");
    before.assert_unchanged(&member);
    // The same id can be used again.
    member.run_detached().end();
    before.assert_unchanged(&member);
}

/// pid_namespaces(7): the kernel kills all processes of the namespace with PID 1.
fn the_end_of_the_pods_pid_1_ends_the_members_in_its_pid_namespace() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&pod.bundle);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    pod.container.kill("KILL").assert_ok();
    // In this order: PID 1 ends last, after the processes that joined from outside were reaped.
    for pid in [pid, child, pod.pid] {
        wait_gone(pid);
    }
    container.wait_stopped();
    assert_eq!(pod.container.status(), "stopped");
    container.delete().assert_ok();
    pod.container.delete().assert_ok();
    before.assert_nothing_added(&pod.bundle);
}

fn the_end_of_the_pods_pid_1_spares_members_in_pid_namespaces_of_their_own() {
    let pod = Pod::new();
    let member = pod
        .join(&["network", "ipc", "uts"])
        .args(&["/probe", "sleep"]);
    let container = member.run_detached();
    let pid = container.pid();
    let network = namespace_of(&pid.to_string(), "net");
    pod.container.kill("KILL").assert_ok();
    wait_gone(pod.pid);
    assert_eq!(container.status(), "running");
    assert_eq!(namespace_of(&pid.to_string(), "net"), network);
    // A third container joins through the second.
    let third = Bundle::new()
        .remove("/hostname")
        .namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    assert_eq!(third.probe().namespace("net"), network);
}

/// A pid namespace without PID 1 accepts no new process (fork(2) fails with ENOMEM).
fn a_pod_that_has_ended_cannot_be_joined() {
    let pod = Pod::new();
    let file = pod.bind_mount("pid");
    let by_link = pod.member().args(&["/bin/true"]);
    pod.container.kill("KILL").assert_ok();
    wait_gone(pod.pid);
    let before = HostState::of(&by_link);
    let outcome = by_link.run().assert_refused("");
    if Kind::under_test() == Kind::Rt {
        assert!(
            outcome.one_line().contains("linux.namespaces["),
            "{outcome}"
        );
    }
    before.assert_unchanged(&by_link);
    let by_file = Bundle::new()
        .namespace("pid", Some(file.to_str().unwrap()))
        .args(&["/bin/true"]);
    let before = HostState::of(&by_file);
    let outcome = by_file.run();
    nix::mount::umount(&file).unwrap();
    let outcome = outcome.assert_refused("");
    if Kind::under_test() == Kind::Rt {
        let line = outcome.one_line();
        assert!(
            line.contains("linux.namespaces[") && line.contains("pid"),
            "{line}"
        );
    }
    before.assert_nothing_added(&by_file);
}

/// SIGTERM ends it without a handler. PID 1 of a pid namespace would ignore the signal.
fn a_process_that_is_not_pid_1_has_default_signals() {
    let pod = Pod::new();
    for member in [pod.member(), Bundle::new().without_namespace("pid")] {
        let member = member.args(&["/probe", "sleep"]);
        let container = member.run_detached();
        let pid = container.pid();
        container.kill("TERM").assert_ok();
        wait_gone(pid);
        container.wait_stopped();
        container.delete().assert_ok();
    }
    assert!(alive(pod.pid));
    let first = Bundle::new().args(&["/probe", "sleep"]);
    let container = first.run_detached();
    container.kill("TERM").assert_ok();
    // The kernel has dropped the signal by now: the container can still be used.
    let exec = first.runtime().call(&["exec", first.id(), "/bin/true"]);
    exec.run().assert_ok();
    assert!(alive(container.pid()));
}

/// So the member and the runtime need not reap them.
fn orphans_of_a_member_become_children_of_the_pods_pid_1() {
    let pod = Pod::new();
    let member = pod
        .member()
        .sh("(sleep 0.2; exit 3) & (sh -c 'sleep 1000 &'); echo ready; sleep 1000");
    let container = member.run_detached();
    container.wait_for("ready");
    wait_until("the orphan", || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", pod.pid));
        !children.unwrap_or_default().is_empty()
    });
    let orphan = child_of(pod.pid);
    assert!(alive(orphan));
    container.end();
    wait_until("the orphan to end", || !alive(orphan));
    assert_eq!(pod.container.status(), "running");
}

fn signals_are_forwarded_to_a_process_that_is_not_pid_1() {
    let pod = Pod::new();
    for member in [pod.member(), Bundle::new().without_namespace("pid")] {
        let member = member.args(&["/probe", "wait-signal"]);
        let run = member.call("run", &[]).start();
        run.wait_for("ready");
        signal(run.pid(), Signal::SIGUSR2);
        assert_eq!(run.wait().assert_ok().stdout, "ready\n12\n");
    }
}

fn a_process_that_is_not_pid_1_has_the_usual_exit_statuses() {
    let pod = Pod::new();
    for member in [pod.member(), Bundle::new().without_namespace("pid")] {
        let before = HostState::of(&member);
        let member = member.sh("exit 7");
        member.run().assert_code(7);
        let member = member.sh("kill -KILL $$");
        member.run().assert_code(137);
        let member = member.args(&["/no/such"]);
        member.run().assert_refused("/no/such");
        before.assert_unchanged(&member);
    }
}

fn a_created_member_waits_and_starts() {
    let pod = Pod::new();
    let member = pod.member().sh("echo executed");
    let before = HostState::of(&member);
    let container = member.create();
    assert_eq!(container.status(), "created");
    container.start().assert_ok();
    container.wait_for("executed");
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&member);
}

fn ten_members_start_concurrently() {
    let pod = Pod::new();
    let members: Vec<Bundle> = (0..10).map(|_| pod.member().sh("echo done")).collect();
    let running: Vec<_> = members
        .iter()
        .map(|member| member.call("run", &[]).start())
        .collect();
    for run in running {
        assert_eq!(run.wait().assert_ok().stdout, "done\n");
    }
    assert_eq!(pod.container.status(), "running");
}
