//! Pods: shared namespaces, networks, and the lifecycle of a pod.

use std::fs;
use std::process::Command;
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Client, Pod, client};
use crate::command;
use crate::containerd::{Containerd, Test};

pub(super) const TESTS: &[Test] = &[
    ("version", version),
    ("pod", pod),
    ("pod_list", list),
    ("pod_network", network),
    ("pod_hostname", hostname),
    ("pod_dns", dns),
    ("pod_sysctls", sysctls),
    ("pod_sysctl_refused", sysctl_refused),
    ("pod_shared_namespaces", shared_namespaces),
    ("pod_shared_memory", shared_memory),
    ("pod_pid_pod", pid_pod),
    ("pod_pid_container", pid_container),
    ("pod_pid_node", pid_node),
    ("pod_pid_target", pid_target),
    ("pod_ipc_node", ipc_node),
    ("pod_network_node", network_node),
    ("pod_user", user),
    ("pod_privileged", privileged),
    ("pod_seccomp", seccomp),
    ("pod_runtime_handler", runtime_handler),
    ("pod_stats", stats),
    ("pod_stop", stop),
    ("pod_killed", killed),
    ("pod_ten_concurrently", ten_concurrently),
    ("pod_restarted_daemon", restarted_daemon),
];

fn version(daemon: &Containerd) {
    let version = client(daemon).ok("Version", json!({}));
    assert_eq!(version["runtime_name"], "containerd");
    let status = client(daemon).ok("Status", json!({}));
    let conditions = status["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 2);
    assert!(
        conditions
            .iter()
            .all(|condition| condition["status"] == true),
        "{status}"
    );
}

fn pod(daemon: &Containerd) {
    let pod = Pod::new(daemon, "pod");
    let status = pod.status();
    assert_eq!(status["state"], "SANDBOX_READY");
    assert_eq!(status["metadata"]["name"], "pod");
    assert!(pod.address().starts_with("10."));
    pod.call("StopPodSandbox", json!({}));
    assert_eq!(pod.status()["state"], "SANDBOX_NOTREADY");
    pod.call("StopPodSandbox", json!({}));
    pod.call("RemovePodSandbox", json!({}));
    let gone = client(daemon).call("PodSandboxStatus", json!({ "pod_sandbox_id": pod.id }));
    assert!(gone.unwrap_err().contains("NOT_FOUND"));
    for hierarchy in ["memory", "pids", "."] {
        let parent = super::cgroup(daemon.namespace());
        let left = format!("/sys/fs/cgroup/{hierarchy}/{parent}/{}", pod.id);
        assert!(!fs::exists(&left).unwrap(), "{left}");
    }
}

fn list(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_list", json!({ "labels": { "app": "list" } }));
    let filter = json!({ "filter": { "label_selector": { "app": "list" }, "state": { "state": "SANDBOX_READY" } } });
    let list = client(daemon).ok("ListPodSandbox", filter);
    let ids: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| &pod["id"])
        .collect();
    assert_eq!(ids, [&pod.id]);
}

/// The host and another pod can reach a server in a pod.
fn network(daemon: &Containerd) {
    let (pod, other) = (
        Pod::new(daemon, "pod_network"),
        Pod::new(daemon, "pod_network_other"),
    );
    let script = "echo served > /var/www/index.html; httpd -f -p 8080 -h /var/www";
    let server = pod.run("server", json!({ "command": ["sh", "-c", script] }));
    let address = pod.address();
    assert!(server.sh("ip addr show eth0").contains(&address));
    let url = format!("http://{address}:8080/");
    command::wait_until("the port of the host answers", 20, || {
        command::run(Command::new("curl").args(["-sS", "-m", "5", &url])).stdout == "served\n"
    });
    let asker = other.idle(json!({}));
    assert_eq!(asker.sh(&format!("wget -q -O - {url}")), "served");
    assert_ne!(address, other.address());
}

fn hostname(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_hostname", json!({ "hostname": "named" }));
    let container = pod.idle(json!({}));
    assert_eq!(container.sh("hostname; cat /etc/hostname"), "named\nnamed");
    // The container may not change the host name.
    assert!(
        container
            .sh_fails("hostname other")
            .contains("not permitted")
    );
}

fn dns(daemon: &Containerd) {
    let dns =
        json!({ "servers": ["10.1.2.3"], "searches": ["example.org"], "options": ["ndots:3"] });
    let pod = Pod::with(daemon, "pod_dns", json!({ "dns_config": dns }));
    let seen = pod.idle(json!({})).sh("cat /etc/resolv.conf");
    assert_eq!(
        seen,
        "search example.org\nnameserver 10.1.2.3\noptions ndots:3"
    );
}

fn sysctls(daemon: &Containerd) {
    let sysctls =
        json!({ "net.ipv4.ip_local_port_range": "2000 3000", "kernel.shm_rmid_forced": "1" });
    let pod = Pod::with(
        daemon,
        "pod_sysctls",
        json!({ "linux": { "sysctls": sysctls } }),
    );
    let script = "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(pod.idle(json!({})).sh(script), "2000\t3000\n1");
}

fn sysctl_refused(daemon: &Containerd) {
    let config = json!({
        "metadata": { "name": "refused", "uid": "refused", "namespace": "tests" },
        "linux": { "sysctls": { "kernel.panic": "7" } },
    });
    let refused = client(daemon).call("RunPodSandbox", json!({ "config": config }));
    let refused = refused.unwrap_err();
    assert!(refused.contains("kernel.panic"), "{refused}");
}

const LINKS: &str = "for i in net ipc uts pid mnt; do readlink /proc/self/ns/$i; done";

fn shared_namespaces(daemon: &Containerd) {
    let pod = Pod::new(daemon, "pod_shared_namespaces");
    let [one, two] = ["one", "two"].map(|name| pod.run(name, json!({})).sh(LINKS));
    let pairs: Vec<(&str, &str)> = one.lines().zip(two.lines()).collect();
    assert_eq!(pairs.len(), 5);
    assert!(pairs[..3].iter().all(|(one, two)| one == two), "{pairs:?}");
    assert_ne!(pairs[4].0, pairs[4].1);
}

fn shared_memory(daemon: &Containerd) {
    let pod = Pod::new(daemon, "pod_shared_memory");
    let [one, two] = ["one", "two"].map(|name| pod.run(name, json!({})));
    one.sh("echo here > /dev/shm/file");
    assert_eq!(
        two.sh("cat /dev/shm/file; stat -f -c %T /dev/shm"),
        "here\ntmpfs"
    );
}

fn pid(mode: &str) -> Value {
    json!({ "linux": { "security_context": { "namespace_options": { "pid": mode } } } })
}

/// Init of the shared pid namespace is the pod's sandbox process, and containers see each other's processes.
fn pid_pod(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_pid_pod", pid("POD"));
    let mut more = pid("POD");
    more["command"] = json!(["sleep", "777"]);
    let _one = pod.run("one", more);
    let two = pod.run("two", pid("POD"));
    let seen = two.sh("ps");
    assert!(seen.contains("sleep 777"), "{seen}");
    assert_ne!(two.sh("readlink /proc/self/ns/pid"), own("pid"));
}

fn own(kind: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_string_lossy().into_owned()
}

fn pid_container(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_pid_container", pid("CONTAINER"));
    let mut more = pid("CONTAINER");
    more["command"] = json!(["sleep", "776"]);
    let one = pod.run("one", more);
    assert_eq!(one.sh("tr '\\0' ' ' < /proc/1/cmdline"), "sleep 776");
    let seen = pod.run("two", pid("CONTAINER")).sh("ps");
    assert!(!seen.contains("sleep 776"), "{seen}");
}

fn pid_node(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_pid_node", pid("NODE"));
    let container = pod.idle(pid("NODE"));
    assert_eq!(container.sh("readlink /proc/self/ns/pid"), own("pid"));
}

fn pid_target(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_pid_target", pid("CONTAINER"));
    let mut more = pid("CONTAINER");
    more["command"] = json!(["sleep", "775"]);
    let target = pod.run("target", more);
    let mut more = pid("TARGET");
    more["linux"]["security_context"]["namespace_options"]["target_id"] = target.id.clone().into();
    let container = pod.run("debugger", more);
    assert_eq!(container.sh("tr '\\0' ' ' < /proc/1/cmdline"), "sleep 775");
}

fn ipc_node(daemon: &Containerd) {
    let options = json!({ "ipc": "NODE" });
    let more = json!({ "linux": { "security_context": { "namespace_options": options } } });
    let pod = Pod::with(daemon, "pod_ipc_node", more.clone());
    assert_eq!(pod.idle(more).sh("readlink /proc/self/ns/ipc"), own("ipc"));
}

fn network_node(daemon: &Containerd) {
    let options = json!({ "network": "NODE" });
    let more = json!({ "linux": { "security_context": { "namespace_options": options } }, "hostname": "" });
    let pod = Pod::with(daemon, "pod_network_node", more.clone());
    let container = pod.idle(json!({ "linux": more["linux"] }));
    assert_eq!(container.sh("readlink /proc/self/ns/net"), own("net"));
    assert_eq!(container.sh("readlink /proc/self/ns/uts"), own("uts"));
}

/// The pid of the sandbox process.
fn first(pod: &Pod) -> u32 {
    let answer = pod.call("PodSandboxStatus", json!({ "verbose": true }));
    let info: Value = serde_json::from_str(answer["info"]["info"].as_str().unwrap()).unwrap();
    info["pid"].as_u64().unwrap().try_into().unwrap()
}

fn user(daemon: &Containerd) {
    let context = json!({ "run_as_user": { "value": 1000 }, "run_as_group": { "value": 2000 } });
    let more = json!({ "linux": { "security_context": context } });
    let pod = Pod::with(daemon, "pod_user", more);
    let status = fs::read_to_string(format!("/proc/{}/status", first(&pod))).unwrap();
    assert!(
        status.contains("Uid:\t1000\t1000") && status.contains("Gid:\t2000\t"),
        "{status}"
    );
}

fn privileged(daemon: &Containerd) {
    let more = json!({ "linux": { "security_context": { "privileged": true } } });
    let pod = Pod::with(daemon, "pod_privileged", more.clone());
    let container = pod.idle(more);
    container.sh("mount -t tmpfs none /tmp && grep ' /tmp tmpfs' /proc/mounts");
    assert!(
        container
            .sh("grep ' /sys sysfs' /proc/mounts")
            .contains(" rw,")
    );
    assert_eq!(container.proc_status("Seccomp"), "0");
}

fn seccomp(daemon: &Containerd) {
    let context = json!({ "seccomp": { "profile_type": "RuntimeDefault" } });
    let pod = Pod::with(
        daemon,
        "pod_seccomp",
        json!({ "linux": { "security_context": context } }),
    );
    let status = fs::read_to_string(format!("/proc/{}/status", first(&pod))).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
}

/// A pod selects the runtime by the handler's name, as from a RuntimeClass. An unknown handler is an error.
fn runtime_handler(daemon: &Containerd) {
    let config = json!({
        "metadata": { "name": "handled", "uid": "handled", "namespace": "tests" },
        "linux": { "cgroup_parent": daemon.pod_parent() },
    });
    let request = |handler: &str| json!({ "config": config, "runtime_handler": handler });
    let refused = client(daemon)
        .call("RunPodSandbox", request("nobody"))
        .unwrap_err();
    assert!(refused.contains("nobody"), "{refused}");
    let answer = client(daemon).ok("RunPodSandbox", request(daemon.runtime.name()));
    let id = answer["pod_sandbox_id"].as_str().unwrap().to_owned();
    let pod = Pod {
        daemon,
        id,
        config: config.clone(),
    };
    assert_eq!(pod.status()["runtime_handler"], daemon.runtime.name());
}

fn stats(daemon: &Containerd) {
    let pod = Pod::with(daemon, "pod_stats", json!({ "labels": { "app": "stats" } }));
    let _container = pod.idle(json!({}));
    let stats = pod.call("PodSandboxStats", json!({}))["stats"].take();
    let number = |value: &Value| value["value"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(
        number(&stats["linux"]["cpu"]["usage_core_nano_seconds"]) > 0,
        "{stats}"
    );
    assert!(
        number(&stats["linux"]["memory"]["usage_bytes"]) > 0,
        "{stats}"
    );
    assert_eq!(stats["linux"]["containers"].as_array().unwrap().len(), 1);
    let filter = json!({ "filter": { "label_selector": { "app": "stats" } } });
    let list = client(daemon).ok("ListPodSandboxStats", filter);
    assert_eq!(list["stats"].as_array().unwrap().len(), 1);
}

/// StopPodSandbox stops the pod's containers.
fn stop(daemon: &Containerd) {
    let pod = Pod::new(daemon, "pod_stop");
    let container = pod.idle(json!({}));
    let process = container.pid();
    pod.call("StopPodSandbox", json!({}));
    assert_eq!(container.state(), "CONTAINER_EXITED");
    assert!(!fs::exists(format!("/proc/{process}/exe")).unwrap());
    let refused = pod
        .create("late", json!({}))
        .and_then(|c| c.try_call("StartContainer", json!({})));
    assert!(refused.unwrap_err().contains("no running task found"));
}

fn killed(daemon: &Containerd) {
    let pod = Pod::new(daemon, "pod_killed");
    kill(Pid::from_raw(first(&pod).cast_signed()), Signal::SIGKILL).unwrap();
    command::wait_until("the pod is reported as not ready", 20, || {
        pod.status()["state"] == "SANDBOX_NOTREADY"
    });
}

fn ten_concurrently(daemon: &Containerd) {
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for i in 0..10 {
            let seen = &seen;
            scope.spawn(move || {
                let pod = Pod::new(daemon, &format!("pod_ten_{i}"));
                let container =
                    pod.idle(json!({ "envs": [{ "key": "I", "value": i.to_string() }] }));
                let output = container.sh("hostname; echo $I");
                seen.lock().unwrap().push((output, pod.address()));
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    let output: Vec<String> = (0..10).map(|i| format!("pod-ten-{i}\n{i}")).collect();
    assert_eq!(
        seen.iter()
            .map(|(output, _)| output.clone())
            .collect::<Vec<_>>(),
        output
    );
    let mut addresses: Vec<String> = seen.into_iter().map(|(_, address)| address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 10);
}

/// Pods and containers keep running while the daemon restarts.
fn restarted_daemon(shared: &Containerd) {
    let name = format!("{}-pods", shared.runtime.name());
    let mut daemon = Containerd::start(shared.runtime, &name);
    daemon.cri = Some(Client::start(&daemon));
    let (pod, container, process) = {
        let pod = Pod::new(&daemon, "pod_restarted");
        let script = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
        let container = pod.run("one", json!({ "command": ["sh", "-c", script] }));
        let ids = (pod.id.clone(), container.id.clone(), container.pid());
        // Keep the pod while the daemon restarts.
        std::mem::forget(pod);
        ids
    };
    daemon.stop(false);
    daemon.restart();
    command::wait_until("the CRI answers", 30, || {
        client(&daemon).call("Version", json!({})).is_ok()
    });
    let pod = Pod {
        daemon: &daemon,
        id: pod,
        config: json!({}),
    };
    let container = super::Container {
        daemon: &daemon,
        id: container,
        log: "".into(),
    };
    assert_eq!(pod.status()["state"], "SANDBOX_READY");
    assert_eq!(
        (container.state().as_str(), container.pid()),
        ("CONTAINER_RUNNING", process)
    );
    assert_eq!(container.sh("echo still"), "still");
    container.call("StopContainer", json!({ "timeout": 10 }));
    assert_eq!(container.wait(), 9);
}
