//! Containers that share namespaces: with the machine, and with each other as the members of a pod.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Bundle, Container, Kind, Traces, alive, differs, namespace_of, signal, trials, wait_gone,
    wait_until,
};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        members_have_the_namespaces_of_the_first,
        members_with_the_pid_namespace_of_the_first,
        members_without_a_pid_namespace_of_their_own_see_the_machine,
        members_share_memory_and_names,
        a_member_may_join_by_a_file_that_keeps_the_namespace,
        kill_ends_a_member_and_nobody_else,
        the_first_process_of_a_member_leaves_the_others_to_delete,
        delete_force_of_a_member_leaves_the_pod,
        the_end_of_the_pods_init_ends_the_members_in_its_pid_namespace,
        the_end_of_the_pods_init_leaves_members_in_pid_namespaces_of_their_own,
        a_pod_that_has_ended_cannot_be_joined,
        a_process_that_is_not_pid_1_has_default_signals,
        orphans_of_a_member_go_to_the_pods_init,
        signals_are_forwarded_to_a_process_that_is_not_pid_1,
        exit_codes_of_a_process_that_is_not_pid_1,
        a_created_member_waits_and_starts,
        ten_members_start_at_once,
    ]
}

/// A container that holds namespaces, as the pause container of a Kubernetes pod.
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

    /// A file on which its namespace is mounted, which keeps it. Who is done with it unmounts it.
    fn keep(&self, link: &str) -> PathBuf {
        use nix::mount::{MsFlags, mount};
        let file = self.bundle.runtime().home().join(format!("{link}-ns"));
        fs::write(&file, "").unwrap();
        let (source, none) = (self.path(link), None::<&str>);
        mount(Some(source.as_str()), &file, none, MsFlags::MS_BIND, none).unwrap();
        file
    }

    /// A container with all four of its namespaces.
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

fn members_have_the_namespaces_of_the_first() {
    let pod = Pod::new();
    let member = pod.join(&["network", "ipc", "uts"]);
    let before = Traces::of(&member);
    let seen = member.probe();
    for link in ["net", "ipc", "uts"] {
        let theirs = namespace_of(&pod.pid.to_string(), link);
        assert_eq!(seen.namespace(link), theirs, "{link}");
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
        "brought up by the first"
    );
    before.assert_unchanged(&member);
    assert_eq!(pod.container.status(), "running");
}

/// `shareProcessNamespace: true`
fn members_with_the_pid_namespace_of_the_first() {
    let pod = Pod::new();
    let member = pod.member();
    let before = Traces::of(&member);
    let seen = member.probe();
    assert!(seen["pid"].as_i64().unwrap() > 1, "{}", seen["pid"]);
    assert_eq!(
        seen.namespace("pid"),
        namespace_of(&pod.pid.to_string(), "pid")
    );
    let member = member.sh("cat /proc/1/comm /proc/self/comm");
    let said = member.run();
    assert!(said.assert_ok().stdout.starts_with("probe\ncat\n"));
    before.assert_unchanged(&member);
}

fn members_without_a_pid_namespace_of_their_own_see_the_machine() {
    let bundle = Bundle::new().without_namespace("pid");
    let before = Traces::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(seen.namespace("pid"), namespace_of("self", "pid"));
    let own = std::process::id().to_string();
    let bundle = bundle.args(&["/bin/cat", &format!("/proc/{own}/comm")]);
    let said = bundle.run();
    let comm = fs::read_to_string(format!("/proc/{own}/comm")).unwrap();
    assert_eq!(said.assert_ok().stdout, comm);
    before.assert_unchanged(&bundle);
}

/// What one makes the other finds: System V and POSIX queues, network, host name.
fn members_share_memory_and_names() {
    let pod = Pod::new();
    let member = pod.member().capabilities(&["CAP_SYS_ADMIN"]);
    member
        .sh("touch /dev/mqueue/q && hostname renamed")
        .run()
        .assert_ok();
    let other = pod.member().sh("ls /dev/mqueue; hostname");
    assert_eq!(other.run().assert_ok().stdout, "q\nrenamed\n");
}

/// As CNI keeps network namespaces: a file on which one is mounted.
fn a_member_may_join_by_a_file_that_keeps_the_namespace() {
    let pod = Pod::new();
    let file = pod.keep("net");
    let expected = namespace_of(&pod.pid.to_string(), "net");
    pod.container.kill("KILL").assert_ok();
    wait_gone(pod.pid);
    let member = Bundle::new().namespace("network", Some(file.to_str().unwrap()));
    let seen = member.probe();
    nix::mount::umount(&file).unwrap();
    assert_eq!(seen.namespace("net"), expected);
}

fn kill_ends_a_member_and_nobody_else() {
    differs(
        Kind::Runc,
        "the old one ends only the first process without --all",
    );
    differs(Kind::Crun, "it ends only the first process");
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

fn the_first_process_of_a_member_leaves_the_others_to_delete() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = Traces::of(&member);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    signal(pid, Signal::SIGKILL);
    container.wait_stopped();
    assert!(alive(child), "it has another parent now: the pod's init");
    container.delete().assert_ok();
    wait_gone(child);
    assert!(alive(pod.pid));
    before.assert_unchanged(&member);
}

fn delete_force_of_a_member_leaves_the_pod() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = Traces::of(&member);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    container.end();
    wait_gone(pid);
    wait_gone(child);
    assert_eq!(pod.container.status(), "running");
    before.assert_unchanged(&member);
    // And again by the same id.
    member.run_detached().end();
    before.assert_unchanged(&member);
}

/// pid_namespaces(7): the kernel ends all with PID 1.
fn the_end_of_the_pods_init_ends_the_members_in_its_pid_namespace() {
    let pod = Pod::new();
    let member = pod.member().args(&["/probe", "spawn-sleep"]);
    let before = Traces::of(&pod.bundle);
    let container = member.run_detached();
    let pid = container.pid();
    let child = child_of(pid);
    pod.container.kill("KILL").assert_ok();
    // In this order: PID 1 ends last, when somebody has reaped those that came from outside.
    for pid in [pid, child, pod.pid] {
        wait_gone(pid);
    }
    container.wait_stopped();
    assert_eq!(pod.container.status(), "stopped");
    container.delete().assert_ok();
    pod.container.delete().assert_ok();
    assert!(!before.changes_since(&pod.bundle).contains('+'));
}

fn the_end_of_the_pods_init_leaves_members_in_pid_namespaces_of_their_own() {
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
    // A third joins by way of the second.
    let third = Bundle::new()
        .remove("/hostname")
        .namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    assert_eq!(third.probe().namespace("net"), network);
}

/// A pid namespace without its init takes nobody in (fork says ENOMEM).
fn a_pod_that_has_ended_cannot_be_joined() {
    let pod = Pod::new();
    let file = pod.keep("pid");
    let by_link = pod.member().args(&["/bin/true"]);
    pod.container.kill("KILL").assert_ok();
    wait_gone(pod.pid);
    let before = Traces::of(&by_link);
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
    let before = Traces::of(&by_file);
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
    assert!(!before.changes_since(&by_file).contains('+'));
}

/// TERM ends it though it has no handler; PID 1 of a namespace would ignore it.
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
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(alive(container.pid()));
}

/// They are no zombies that the member or the runtime would have to wait for.
fn orphans_of_a_member_go_to_the_pods_init() {
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

fn exit_codes_of_a_process_that_is_not_pid_1() {
    let pod = Pod::new();
    for member in [pod.member(), Bundle::new().without_namespace("pid")] {
        let before = Traces::of(&member);
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
    let before = Traces::of(&member);
    let container = member.create();
    assert_eq!(container.status(), "created");
    container.start().assert_ok();
    container.wait_for("executed");
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&member);
}

fn ten_members_start_at_once() {
    let pod = Pod::new();
    let members: Vec<Bundle> = (0..10).map(|_| pod.member().sh("echo done")).collect();
    let running: Vec<_> = members
        .iter()
        .map(|member| member.call("run", &[]).start())
        .collect();
    for one in running {
        assert_eq!(one.wait().assert_ok().stdout, "done\n");
    }
    assert_eq!(pod.container.status(), "running");
}
