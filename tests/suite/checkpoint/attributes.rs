//! What the processes have that CRIU does not restore.

use std::fs;

use serde_json::json;

use super::Counter;
use crate::harness::{Bundle, Kind, Report, differs, skip, trials, wait_until};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_session_keyring,
        the_cpus_are_not_those_of_the_caller,
        the_priority_for_input_and_output,
        an_oom_score_of_zero,
        sysctls_of_the_network,
    ]
}

/// Reports what it is when the file /data/go exists, and counts again.
const REPORT_ON_REQUEST: &str = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; \
                                 [ -e /data/go ] && busybox rm /data/go && /probe report > /data/seen; done";

/// Restores the container through a program, and returns what it reports.
#[track_caller]
fn restored(bundle: Bundle, through: &[&str]) -> (Counter, Report) {
    let mut counter = Counter::new(bundle);
    counter.bundle = counter.bundle.sh(REPORT_ON_REQUEST);
    let call = counter.bundle.call("run", &["--detach"]);
    counter.run_piped(call).assert_ok();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let call = counter.restore_call(through, "images", &[]);
    counter.run_piped(call).assert_ok();
    fs::write(counter.files.join("go"), "").unwrap();
    let seen = counter.files.join("seen");
    let said = || fs::read_to_string(&seen).unwrap_or_default();
    wait_until("the report", || said().ends_with("}\n"));
    let report = Report::parse(&said());
    (counter, report)
}

/// With that of the caller, its keys would be the container's.
fn the_session_keyring() {
    differs(
        Kind::Runc,
        "gives the container the session keyring of the caller",
    );
    let (counter, seen) = restored(Bundle::new(), &[]);
    let keyring = seen["keyring"].as_str().unwrap();
    let name = format!(";_ses.{}", counter.bundle.id());
    assert!(keyring.ends_with(&name), "{keyring}");
}

fn the_cpus_are_not_those_of_the_caller() {
    differs(Kind::Runc, "gives the container the CPUs of the caller");
    if fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|all| all.trim() == "0") {
        skip("this host has only one CPU");
    }
    let (_counter, seen) = restored(Bundle::new(), &["taskset", "1"]);
    assert!(
        seen["cpus"].as_array().unwrap().len() > 1,
        "{}",
        seen["cpus"]
    );
}

fn the_priority_for_input_and_output() {
    differs(Kind::Runc, "Debian's does not know process.ioPriority");
    let priority = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 4 });
    let (_counter, seen) = restored(Bundle::new().set("/process/ioPriority", priority), &[]);
    assert_eq!(seen["io_priority"], 3 << 13 | 4);
}

/// CRIU does not write it, and the processes inherit one.
fn an_oom_score_of_zero() {
    differs(
        Kind::Runc,
        "gives the container the OOM score of the caller",
    );
    let bundle = Bundle::new().set("/process/oomScoreAdj", json!(0));
    let script = "echo 500 > /proc/self/oom_score_adj; exec \"$@\"";
    let (counter, _) = restored(bundle, &["sh", "-c", script, "sh"]);
    let pid = counter.bundle.container().pid();
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
    assert_eq!(score.unwrap(), "0\n");
}

fn sysctls_of_the_network() {
    differs(Kind::Runc, "leaves them to CRIU, which restores few");
    let sysctls = json!({
        "net.core.somaxconn": "99",
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ip_unprivileged_port_start": "80",
    });
    let (mut counter, _) = restored(Bundle::new().set("/linux/sysctl", sysctls), &[]);
    let assert_same = |counter: &Counter| {
        let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
        for (path, value) in [
            ("core/somaxconn", "99\n"),
            ("ipv4/ip_forward", "1\n"),
            ("ipv4/ip_unprivileged_port_start", "80\n"),
        ] {
            let path = format!("/proc/sys/net/{path}");
            let seen = runtime.call(&["exec", id, "/bin/cat", &path]).run();
            assert_eq!(seen.assert_ok().stdout, value, "{path}");
        }
    };
    assert_same(&counter);
    counter
        .checkpoint(&["--empty-ns", "network"])
        .assert_code(0);
    fs::remove_file(counter.files.join("seen")).unwrap();
    counter.restore(&["--empty-ns", "network"]).assert_ok();
    assert_same(&counter);
}
