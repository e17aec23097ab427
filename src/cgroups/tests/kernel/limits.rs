//! How the kernel applies limits and device rules.

use std::fs;
use std::io::Read;

use nix::errno::Errno;

use super::*;

const LIMITS: &str = r#"{"memory": {"limit": 67108864, "reservation": 33554432},
    "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 42}}"#;

#[test]
fn limits_are_applied() {
    for host in hosts() {
        let cgroups = plan(&format!("{}/deep/er", path("limits")), LIMITS, &host).unwrap();
        let paths = cgroups.paths();
        let expected: &[(&str, &str, &str)] = if is_v1(&host) {
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
                ("cpu", "cpu.shares", "1024"),
                ("cpu", "cpu.cfs_quota_us", "50000"),
                ("cpuset", "cpuset.cpus", "0"),
                ("cpuset", "cpuset.mems", "0"),
                ("pids", "pids.max", "42"),
            ]
        } else {
            &[
                ("", "memory.max", "67108864"),
                ("", "memory.low", "33554432"),
                ("", "cpu.weight", "100"),
                ("", "cpu.max", "50000 100000"),
                ("", "cpuset.cpus", "0"),
                ("", "pids.max", "42"),
            ]
        };
        match cgroups.wire() {
            Ok(created) => {
                for (controller, file, value) in expected {
                    let text = fs::read_to_string(paths[*controller].join(file)).unwrap();
                    assert_eq!(text.trim_end(), *value, "{file}");
                }
                assert_eq!(created.oom_kills(), Some(0));
                created.undo().unwrap();
            }
            // Beside v1 the v2 hierarchy has few controllers.
            Err(error) => {
                let mount = "/sys/fs/cgroup/unified";
                assert_eq!(
                    chain(&error),
                    format!(
                        "linux.resources.memory.limit: this host has no memory controller (cgroup v2: {mount}/cgroup.controllers)"
                    )
                );
            }
        }
        assert!(!exists(&cgroups));
    }
}

/// Creates a cgroup with `limit`. `None` when the host lacks the controller.
fn limited(path: &str, limit: &str, host: &Host) -> Option<(Cgroups, CreatedCgroups)> {
    let cgroups = plan(path, limit, host).unwrap();
    match cgroups.wire() {
        Ok(created) => Some((cgroups, created)),
        Err(error) => {
            assert!(chain(&error).contains(": this host has no "), "{error:#}");
            None
        }
    }
}

#[test]
fn the_kernel_enforces_device_rules() {
    let script =
        "(: </dev/kmsg) && echo kmsg; (: </dev/null) && echo null; (: >/dev/zero) && echo zero";
    for host in hosts() {
        for (rules, expected) in [
            ("[]", "null\nzero\n"),
            (
                r#"[{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
                "kmsg\nnull\nzero\n",
            ),
            (
                r#"[{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#,
                "null\nzero\n",
            ),
        ] {
            let resources = format!(r#"{{"devices": {rules}}}"#);
            let cgroups = plan(&path("devices"), &resources, &host).unwrap();
            let mut created = cgroups.wire().unwrap();
            let mut child = shell(script);
            enter(&mut created, &cgroups, &mut child);
            let mut output = String::new();
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut output)
                .unwrap();
            child.wait().unwrap();
            created.undo().unwrap();
            assert_eq!(output, expected, "{rules} {:?}", host.cgroups);
        }
    }
}

#[test]
fn a_refused_value_is_named_and_the_cgroups_are_removed() {
    for host in hosts() {
        let cgroups = plan(&path("refused"), r#"{"cpu": {"cpus": "4000"}}"#, &host).unwrap();
        let error = cgroups.wire().err().unwrap();
        let message = chain(&error);
        assert!(
            message.starts_with("linux.resources.cpu.cpus: "),
            "{message}"
        );
        if !message.contains("no cpuset controller") {
            assert!(
                message.contains(": write \"4000\" to cpuset.cpus: "),
                "{message}"
            );
            assert!(error.root_cause().downcast_ref::<Errno>().is_some());
        }
        assert!(!exists(&cgroups));
    }
}

#[test]
fn memory_and_swap_limits_can_be_raised_and_lowered() {
    for host in hosts().iter().filter(|host| is_v1(host)) {
        let limited = |limit: u64, swap: u64| {
            let json = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
            plan(&path("raised"), &json, host).unwrap().wire().unwrap()
        };
        let first = limited(10 << 20, 20 << 20);
        limited(30 << 20, 40 << 20);
        limited(5 << 20, 5 << 20);
        first.undo().unwrap();
    }
}

#[test]
fn device_rules_of_an_earlier_container_are_replaced() {
    let kmsg =
        r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    for host in hosts() {
        let create = |resources| {
            plan(&path("again"), resources, &host)
                .unwrap()
                .wire()
                .unwrap()
        };
        let first = create("{}");
        for (resources, expected) in [(kmsg, "kmsg\n"), ("{}", ""), (all, "kmsg\n")] {
            let mut created = create(resources);
            let mut child = shell("(: </dev/kmsg) && echo kmsg");
            enter(
                &mut created,
                &plan(&path("again"), "{}", &host).unwrap(),
                &mut child,
            );
            let mut output = String::new();
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut output)
                .unwrap();
            child.wait().unwrap();
            assert_eq!(output, expected, "{resources} {:?}", host.cgroups);
        }
        first.undo().unwrap();
    }
}

#[test]
fn processes_killed_for_lack_of_memory_are_counted() {
    let limit = r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#;
    for host in hosts() {
        let Some((cgroups, mut created)) = limited(&path("oom"), limit, &host) else {
            continue;
        };
        let mut child = shell("exec tail /dev/zero");
        enter(&mut created, &cgroups, &mut child);
        assert!(!child.wait().unwrap().success());
        assert_eq!(created.oom_kills(), Some(1));
        created.undo().unwrap();
    }
}

#[test]
fn a_pids_limit_of_zero_lets_the_first_process_in() {
    for host in hosts() {
        let limit = r#"{"pids": {"limit": 0}}"#;
        let Some((cgroups, mut created)) = limited(&path("none"), limit, &host) else {
            continue;
        };
        assert!(is_v1(&host) || created.clone_into().is_none());
        let mut child = shell("echo in; (echo out)");
        enter(&mut created, &cgroups, &mut child);
        let mut output = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        child.wait().unwrap();
        assert_eq!(output, "in\n");
        created.undo().unwrap();
    }
}

#[test]
fn on_v2_a_parent_with_processes_is_named() {
    for host in hosts().iter().filter(|host| !is_v1(host)) {
        let Some((parent, mut created)) = limited(&path("busy"), r#"{"pids": {"limit": 9}}"#, host)
        else {
            continue;
        };
        let mut child = shell("sleep 1000");
        enter(&mut created, &parent, &mut child);
        // Without a limit the controller is not needed.
        let below = format!("{}/below", path("busy"));
        plan(&below, "{}", host)
            .unwrap()
            .wire()
            .unwrap()
            .undo()
            .unwrap();
        let refused = plan(&below, r#"{"pids": {"limit": 5}}"#, host).unwrap();
        let message = chain(&refused.wire().err().unwrap());
        let file = parent.paths()[""].join("cgroup.subtree_control");
        let expected = format!(
            "linux.resources.pids.limit: write \"+pids\" to {} (a cgroup with processes",
            file.display()
        );
        assert!(message.starts_with(&expected), "{message}");
        assert!(!exists(&refused));
        existing(&parent, &created).kill(libc::SIGKILL).unwrap();
        created.undo().unwrap();
        child.wait().unwrap();
    }
}
