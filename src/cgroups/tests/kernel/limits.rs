//! What the real kernel makes of limits and of rules for devices.

use std::fs;
use std::io::Read;

use nix::errno::Errno;

use super::*;

const LIMITS: &str = r#"{"memory": {"limit": 67108864, "reservation": 33554432},
    "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 42}}"#;

#[test]
fn limits_arrive() {
    for host in machines() {
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
            Ok(wired) => {
                for (controller, file, value) in expected {
                    let text = fs::read_to_string(paths[*controller].join(file)).unwrap();
                    assert_eq!(text.trim_end(), *value, "{file}");
                }
                assert_eq!(wired.oom_kills(), Some(0));
                wired.undo().unwrap();
            }
            // A tree that stands beside those of version 1 has few controllers.
            Err(error) => {
                let mount = "/sys/fs/cgroup/unified";
                assert_eq!(
                    chain(&error),
                    format!(
                        "linux.resources.memory.limit: this machine has no memory controller (cgroup v2: {mount}/cgroup.controllers)"
                    )
                );
            }
        }
        assert!(!is_left(&cgroups));
    }
}

/// Wires a cgroup with `limit`, unless this tree lacks the controller.
fn limited(path: &str, limit: &str, host: &Host) -> Option<(Cgroups, Wired)> {
    let cgroups = plan(path, limit, host).unwrap();
    match cgroups.wire() {
        Ok(wired) => Some((cgroups, wired)),
        Err(error) => {
            assert!(
                chain(&error).contains(": this machine has no "),
                "{error:#}"
            );
            None
        }
    }
}

#[test]
fn the_kernel_gives_the_verdicts_of_the_rules() {
    let script =
        "(: </dev/kmsg) && echo kmsg; (: </dev/null) && echo null; (: >/dev/zero) && echo zero";
    for host in machines() {
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
            let mut wired = cgroups.wire().unwrap();
            let mut child = shell(script);
            enter(&mut wired, &cgroups, &mut child);
            let mut seen = String::new();
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut seen)
                .unwrap();
            child.wait().unwrap();
            wired.undo().unwrap();
            assert_eq!(seen, expected, "{rules} {:?}", host.cgroups);
        }
    }
}

#[test]
fn a_refused_value_is_named_and_leaves_nothing() {
    for host in machines() {
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
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn raised_limits_find_their_order() {
    for host in machines().iter().filter(|host| is_v1(host)) {
        let limited = |limit: u64, swap: u64| {
            let json = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
            plan(&path("raised"), &json, host).unwrap().wire().unwrap()
        };
        let made = limited(10 << 20, 20 << 20);
        limited(30 << 20, 40 << 20);
        limited(5 << 20, 5 << 20);
        made.undo().unwrap();
    }
}

#[test]
fn rules_of_an_earlier_container_do_not_stay() {
    let kmsg =
        r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    let all = r#"{"devices": [{"allow": true, "access": "rwm"}]}"#;
    for host in machines() {
        let wire = |resources| {
            plan(&path("again"), resources, &host)
                .unwrap()
                .wire()
                .unwrap()
        };
        let first = wire("{}");
        for (resources, expected) in [(kmsg, "kmsg\n"), ("{}", ""), (all, "kmsg\n")] {
            let mut wired = wire(resources);
            let mut child = shell("(: </dev/kmsg) && echo kmsg");
            enter(
                &mut wired,
                &plan(&path("again"), "{}", &host).unwrap(),
                &mut child,
            );
            let mut seen = String::new();
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut seen)
                .unwrap();
            child.wait().unwrap();
            assert_eq!(seen, expected, "{resources} {:?}", host.cgroups);
        }
        first.undo().unwrap();
    }
}

#[test]
fn processes_killed_for_want_of_memory_are_counted() {
    let limit = r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#;
    for host in machines() {
        let Some((cgroups, mut wired)) = limited(&path("oom"), limit, &host) else {
            continue;
        };
        let mut child = shell("exec tail /dev/zero");
        enter(&mut wired, &cgroups, &mut child);
        assert!(!child.wait().unwrap().success());
        assert_eq!(wired.oom_kills(), Some(1));
        wired.undo().unwrap();
    }
}

#[test]
fn no_tasks_still_lets_the_first_in() {
    for host in machines() {
        let limit = r#"{"pids": {"limit": 0}}"#;
        let Some((cgroups, mut wired)) = limited(&path("none"), limit, &host) else {
            continue;
        };
        assert!(is_v1(&host) || wired.clone_into().is_none());
        let mut child = shell("echo in; (echo out)");
        enter(&mut wired, &cgroups, &mut child);
        let mut seen = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut seen)
            .unwrap();
        child.wait().unwrap();
        assert_eq!(seen, "in\n");
        wired.undo().unwrap();
    }
}

#[test]
fn a_parent_with_processes_is_named_on_v2() {
    for host in machines().iter().filter(|host| !is_v1(host)) {
        let Some((parent, mut wired)) = limited(&path("busy"), r#"{"pids": {"limit": 9}}"#, host)
        else {
            continue;
        };
        let mut child = shell("sleep 1000");
        enter(&mut wired, &parent, &mut child);
        // Without a limit there is nothing that needs the controller.
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
        assert!(!is_left(&refused));
        existing(&parent, &wired).kill(libc::SIGKILL).unwrap();
        wired.undo().unwrap();
        child.wait().unwrap();
    }
}
