//! Resource limits and `docker update`, as the container sees them.

use super::{Test, tests};
use crate::cgroups::{assert_shares, show};
use crate::command::wait_until;
use crate::dockerd::Dockerd;

pub(super) fn all() -> Vec<Test> {
    tests![
        memory,
        memory_reservation,
        memory_swap,
        cpus,
        cpu_shares,
        cpuset,
        pids_limit,
        ulimits,
        out_of_memory,
        update_memory,
        update_cpus,
        update_cpuset,
        update_pids_limit,
        oom_score,
        shm_size,
        cgroup_parent,
        cgroup_namespace,
        cgroup_namespace_host,
    ]
}

fn memory_limit() -> String {
    show("memory", "memory.limit_in_bytes", "memory.max")
}

/// A shell command that prints CPU quota and period in the format of cgroup v2.
fn cpu_max() -> String {
    "cat /sys/fs/cgroup/cpu.max 2>/dev/null || \
     echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)"
        .to_owned()
}

fn memory(docker: &Dockerd) {
    assert_eq!(docker.sh("-m 64m", &memory_limit()), "67108864");
}

fn memory_reservation(docker: &Dockerd) {
    let script = show("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(
        docker.sh("-m 64m --memory-reservation 32m", &script),
        "33554432"
    );
}

fn memory_swap(docker: &Dockerd) {
    let output = docker.sh(
        "-m 64m --memory-swap 96m",
        &show("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    );
    assert!(
        ["100663296", "33554432"].contains(&output.as_str()),
        "{output}"
    );
}

fn cpus(docker: &Dockerd) {
    assert_eq!(docker.sh("--cpus 0.5", &cpu_max()), "50000 100000");
    assert_eq!(
        docker.sh("--cpu-quota 30000 --cpu-period 60000", &cpu_max()),
        "30000 60000"
    );
}

fn cpu_shares(docker: &Dockerd) {
    let output = docker.sh("--cpu-shares 512", &show("cpu", "cpu.shares", "cpu.weight"));
    assert_shares(&output, 512);
}

fn cpuset(docker: &Dockerd) {
    let output = docker.sh(
        "--cpuset-cpus 1 --cpuset-mems 0",
        "grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status; nproc",
    );
    assert_eq!(output, "Cpus_allowed_list:\t1\nMems_allowed_list:\t0\n1");
}

fn pids_limit(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--pids-limit 8", &show("pids", "pids.max", "pids.max")),
        "8"
    );
    let output = docker.run(
        "--pids-limit 8",
        &[
            "sh",
            "-c",
            "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait",
        ],
    );
    assert!(output.stderr.contains("can't fork"), "{output:?}");
}

fn ulimits(docker: &Dockerd) {
    let output = docker.sh(
        "--ulimit nofile=100:200 --ulimit core=0",
        "ulimit -n; ulimit -Hn; ulimit -c",
    );
    assert_eq!(output, "100\n200\n0");
}

fn out_of_memory(docker: &Dockerd) {
    let container = docker.run_detached(
        "out_of_memory",
        "-m 16m --memory-swap 16m",
        &["tail", "/dev/zero"],
    );
    assert_eq!(container.wait(), "137");
    assert_eq!(
        container.inspect("{{.State.OOMKilled}} {{.State.ExitCode}}"),
        "true 137"
    );
    // The OOM killer ends a process that is not the container's init process.
    let script = "tail /dev/zero; echo status $?; sleep 1000";
    let container = docker.run_detached(
        "out_of_memory_2",
        "-m 16m --memory-swap 16m",
        &["sh", "-c", script],
    );
    container.waits_for_logs("status 137");
}

fn update_memory(docker: &Dockerd) {
    let container = docker.sleeper("update_memory", "-m 64m --memory-swap 128m");
    assert_eq!(container.sh(&memory_limit()), "67108864");
    container.call("update -m 96m", &[]).ok();
    assert_eq!(container.sh(&memory_limit()), "100663296");
    assert_eq!(container.inspect("{{.HostConfig.Memory}}"), "100663296");
    container
        .call("update -m 256m --memory-swap 512m", &[])
        .ok();
    assert_eq!(container.sh(&memory_limit()), "268435456");
}

fn update_cpus(docker: &Dockerd) {
    let container = docker.sleeper("update_cpus", "");
    container.call("update --cpus 0.25", &[]).ok();
    assert_eq!(container.sh(&cpu_max()), "25000 100000");
    container.call("update --cpu-shares 2048", &[]).ok();
    let output = container.sh(&show("cpu", "cpu.shares", "cpu.weight"));
    assert_shares(&output, 2048);
    assert_eq!(container.sh(&cpu_max()), "25000 100000");
}

fn update_cpuset(docker: &Dockerd) {
    let container = docker.sleeper("update_cpuset", "--cpuset-cpus 0-1");
    assert_eq!(container.sh("nproc"), "2");
    container.call("update --cpuset-cpus 0", &[]).ok();
    assert_eq!(
        container.sh("nproc; grep Cpus_allowed_list /proc/1/status"),
        "1\nCpus_allowed_list:\t0"
    );
}

fn update_pids_limit(docker: &Dockerd) {
    let pids = show("pids", "pids.max", "pids.max");
    let container = docker.sleeper("update_pids_limit", "--pids-limit 20");
    assert_eq!(container.sh(&pids), "20");
    container.call("update --pids-limit 12", &[]).ok();
    assert_eq!(container.sh(&pids), "12");
    container.call("update --pids-limit -1", &[]).ok();
    assert_eq!(container.sh(&pids), "max");
}

fn oom_score(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--oom-score-adj 567", "cat /proc/1/oom_score_adj"),
        "567"
    );
}

fn shm_size(docker: &Dockerd) {
    assert_eq!(
        docker.sh(
            "--shm-size 5m",
            "df -k /dev/shm | tail -1 | awk '{print $2}'"
        ),
        "5120"
    );
}

fn cgroup_parent(docker: &Dockerd) {
    let name = format!(
        "/rt-engines-parent-{}.{}",
        docker.runtime.name(),
        std::process::id()
    );
    let container = docker.sleeper("cgroup_parent", &format!("--cgroup-parent {name}"));
    let (pid, id) = (
        container.inspect("{{.State.Pid}}"),
        container.inspect("{{.Id}}"),
    );
    let output = docker.host.sh(&format!("cat /proc/{pid}/cgroup"));
    assert!(
        output
            .lines()
            .any(|line| line.ends_with(&format!("{name}/{id}"))),
        "{output}"
    );
    drop(container);
    wait_until("the parent cgroup is removed", 10, || {
        docker.host.sh(&format!(
            "find /sys/fs/cgroup -depth -type d -path '*{name}*' -exec rmdir {{}} + 2>/dev/null; \
             find /sys/fs/cgroup -path '*{name}*' | wc -l"
        )) == "0"
    });
}

/// The target of the link in /proc identifies the namespace.
const NAMESPACE: &str = "readlink /proc/self/ns/cgroup";

fn cgroup_namespace(docker: &Dockerd) {
    let ours = docker.host.sh(NAMESPACE);
    assert_ne!(docker.sh("--cgroupns private", NAMESPACE), ours);
    let output = docker.sh(
        "--cgroupns private",
        "grep -E '(pids|::)' /proc/self/cgroup",
    );
    assert!(output.lines().any(|line| line.ends_with(":/")), "{output}");
}

fn cgroup_namespace_host(docker: &Dockerd) {
    assert_eq!(
        docker.sh("--cgroupns host", NAMESPACE),
        docker.host.sh(NAMESPACE)
    );
    let output = docker.sh("--cgroupns host", "cat /proc/self/cgroup");
    assert!(output.contains("/rt-engines-docker-"), "{output}");
}
