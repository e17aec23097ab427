//! What limits do to processes that exceed them, seen from outside of the container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, Directory, cgroup_of, needs, on_v2, skip, trials, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_process_that_exceeds_the_memory_limit_is_killed_and_counted,
        a_fork_bomb_stays_below_the_pids_limit_and_ends_with_the_container,
        cpu_usage_stays_at_the_quota_and_throttling_is_counted,
        reads_of_a_disk_are_as_slow_as_the_rate,
    ]
}

/// A started container of `script` with these resources.
fn started(resources: &[(&str, Value)], script: &str) -> (Bundle, Container) {
    let set = |bundle: Bundle, (name, value): &(&str, Value)| {
        bundle.set(&format!("/linux/resources/{name}"), value.clone())
    };
    let bundle = resources.iter().fold(Bundle::new().sh(script), set);
    let container = bundle.create();
    container.start().assert_ok();
    (bundle, container)
}

/// The container's cgroup of a v1 controller, or the one of v2.
fn cgroup(container: &Container, controller: &str) -> PathBuf {
    cgroup_of(container.pid(), controller)
}

/// The number after `key` in a file of keys and numbers.
fn count(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {key} in {text}"))
        .parse()
        .unwrap()
}

fn number(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.trim().parse().unwrap()
}

fn a_process_that_exceeds_the_memory_limit_is_killed_and_counted() {
    let memory = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    let script = "tail /dev/zero; echo status $?; exec sleep 1000";
    let (_bundle, container) = started(&[("memory", memory)], script);
    container.wait_for("status 137");
    let cgroup = cgroup(&container, "memory");
    let file = ["memory.oom_control", "memory.events"][usize::from(on_v2())];
    assert_eq!(count(&cgroup.join(file), "oom_kill"), 1);
    assert_eq!(container.status(), "running");
}

fn a_fork_bomb_stays_below_the_pids_limit_and_ends_with_the_container() {
    let script = "bomb() { bomb | bomb & bomb | bomb; }; bomb 2>/dev/null & exec sleep 1000";
    let (_bundle, container) = started(&[("pids", json!({ "limit": 30 }))], script);
    let cgroup = cgroup(&container, "pids");
    wait_until("forks that the limit refuses", || {
        assert!(number(&cgroup.join("pids.current")) <= 30);
        count(&cgroup.join("pids.events"), "max") > 10
    });
    container.delete_force().assert_ok();
    assert!(!cgroup.exists());
}

/// A fifth of a processor, which two processes ask for, during 20 periods.
fn cpu_usage_stays_at_the_quota_and_throttling_is_counted() {
    let cpu = json!({ "quota": 20_000, "period": 100_000 });
    let spin = "while :; do :; done & while :; do :; done";
    let (_bundle, container) = started(&[("cpu", cpu)], spin);
    let stat = cgroup(&container, "cpu").join("cpu.stat");
    let usage_file = cgroup(&container, "cpuacct").join("cpuacct.usage");
    let usage = || {
        if on_v2() {
            count(&stat, "usage_usec")
        } else {
            number(&usage_file) / 1000
        }
    };
    // It counts from the start of a period.
    let after = |periods: u64| {
        let first = count(&stat, "nr_periods");
        wait_until("the end of the periods", || {
            count(&stat, "nr_periods") >= first + periods
        });
        (usage(), count(&stat, "nr_periods"))
    };
    let (usage_before, first) = after(1);
    let (usage_after, last) = after(20);
    let quota = 20_000 * (last - first);
    assert!(
        usage_after - usage_before <= quota * 11 / 10,
        "{usage_before} to {usage_after} in {} periods",
        last - first
    );
    assert!(count(&stat, "nr_throttled") >= 10);
}

/// A block device whose content is a file, until dropped.
struct Loop {
    device: String,
    _directory: Directory,
}

impl Loop {
    fn new() -> Self {
        needs("losetup", "mount");
        let directory = Directory::new();
        let path = directory.join("disk");
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&path)
            .output();
        let made = made.unwrap();
        if !made.status.success() {
            skip("this host gives no loop device");
        }
        let device = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Self {
            device,
            _directory: directory,
        }
    }

    fn minor(&self) -> i64 {
        self.device
            .strip_prefix("/dev/loop")
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(
            Command::new("losetup")
                .args(["--detach", &self.device])
                .status(),
        );
    }
}

/// 1 MiB at 512 KiB each second. The first half second's reads may be at once.
fn reads_of_a_disk_are_as_slow_as_the_rate() {
    let disk = Loop::new();
    let (major, minor) = (7, disk.minor());
    let rate = json!([{ "major": major, "minor": minor, "rate": 512 << 10 }]);
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "b", "major": major, "minor": minor, "access": "r" },
    ]);
    let device = json!([{ "path": "/dev/disk", "type": "b", "major": major, "minor": minor }]);
    let bundle = |limits: Value| {
        Bundle::new()
            .set("/linux/devices", device.clone())
            .set("/linux/resources/devices", rules.clone())
            .set("/linux/resources/blockIO", limits)
            .sh("dd if=/dev/disk of=/dev/null bs=64k iflag=direct 2>&1; : >/dev/disk")
    };
    let run = |limits: Value| {
        let start = Instant::now();
        let outcome = bundle(limits).run();
        assert!(outcome.stdout.contains("16+0 records in"), "{outcome}");
        // It may be read and not be written.
        assert!(outcome.stderr.contains("not permitted"), "{outcome}");
        start.elapsed()
    };
    let (free, limited) = (
        run(json!({})),
        run(json!({ "throttleReadBpsDevice": rate })),
    );
    assert!(
        limited > Duration::from_millis(1500),
        "{free:?}, then {limited:?}"
    );
}
