//! Images of a container that was allowed more than the bundle allows now.

use std::fs;

use serde_json::{Value, json};

use super::{COUNT, Counter, restores_no_new_privs};
use crate::harness::{Bundle, HostState, only_rt, trials, wait_until};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        processes_get_no_more_than_the_bundle_allows,
        no_thread_gets_more_than_the_bundle_allows,
        a_mount_that_the_bundle_does_not_have_is_refused,
        the_filter_is_the_one_of_the_bundle,
        a_root_is_read_only_if_the_bundle_says_so,
        no_process_gets_privileges_that_it_gave_up,
    ]
}

fn capabilities(names: &[&str]) -> Value {
    json!({ "bounding": names, "permitted": names, "effective": names })
}

/// Restores the images with stricter bundles, one after the other, and then with the first one.
#[track_caller]
fn assert_refused(mut counter: Counter, cases: Vec<(&str, Value, &str)>) -> Counter {
    let original = counter.bundle.config().clone();
    for (pointer, value, text) in cases {
        counter.bundle = counter.bundle.set(pointer, value);
        let before = HostState::of(&counter.bundle);
        let refused = counter.restore(&[]).assert_code(1);
        assert!(refused.one_line().contains(text), "{pointer}: {refused}");
        before.assert_unchanged(&counter.bundle);
        counter.bundle = counter.bundle.with_config(original.clone());
    }
    counter.restore(&[]).assert_ok();
    counter
}

/// The container of the first bundle is restored with the second one, which is stricter.
fn processes_get_no_more_than_the_bundle_allows() {
    only_rt("runc takes from the images what they have");
    let limit = |hard: u64| json!([{ "type": "RLIMIT_NOFILE", "soft": 500, "hard": hard }]);
    let bundle = Bundle::new()
        .writable()
        .set(
            "/process/capabilities",
            capabilities(&["CAP_KILL", "CAP_CHOWN"]),
        )
        .set("/process/rlimits", limit(1000))
        .set("/process/oomScoreAdj", json!(50));
    let mut counter = Counter::new(bundle);
    // CRIU has a second process to end when the restore is refused.
    counter.bundle = counter.bundle.sh(&format!("busybox sleep 1000 & {COUNT}"));
    counter.bundle = counter.bundle.set("/process/noNewPrivileges", json!(false));
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let allows_all = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let cases = vec![
        (
            "/process/capabilities",
            capabilities(&["CAP_KILL"]),
            "process.capabilities.bounding: ",
        ),
        (
            "/process/noNewPrivileges",
            json!(true),
            "process.noNewPrivileges: ",
        ),
        (
            "/process/rlimits",
            limit(999),
            "process.rlimits[0]: RLIMIT_NOFILE: ",
        ),
        ("/process/oomScoreAdj", json!(51), "process.oomScoreAdj: "),
        ("/linux/seccomp", allows_all, "linux.seccomp: "),
        (
            "/linux/maskedPaths",
            json!(["/proc/interrupts"]),
            "linux.maskedPaths: ",
        ),
    ];
    assert_refused(counter, cases).wait_for_more();
}

/// A thread has capabilities of its own.
fn no_thread_gets_more_than_the_bundle_allows() {
    only_rt("runc takes from the images what they have");
    let bundle = Bundle::new().set(
        "/process/capabilities",
        capabilities(&["CAP_SETPCAP", "CAP_CHOWN"]),
    );
    let mut counter = Counter::new(bundle);
    counter.bundle = counter
        .bundle
        .args(&["/probe", "keep-in-thread", "CAP_CHOWN"]);
    let call = counter.bundle.call("run", &["--detach"]);
    counter.run_piped(call).assert_ok();
    let pid = counter.bundle.container().pid();
    wait_until("the first thread without CAP_CHOWN", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.contains("CapPrm:\t0000000000000100\n")
    });
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let without = capabilities(&["CAP_SETPCAP"]);
    let text = "process.capabilities.bounding: a process of the images has more";
    assert_refused(counter, vec![("/process/capabilities", without, text)]);
}

/// Such as a /proc without masks.
fn a_mount_that_the_bundle_does_not_have_is_refused() {
    only_rt("runc takes from the images what they have");
    let mount =
        |kind: &str, path: &str| json!({ "type": kind, "source": kind, "destination": path });
    let bundle = Bundle::new()
        .mount(mount("proc", "/one"))
        .mount(mount("sysfs", "/two"));
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let mounts = counter.bundle.config().get("/mounts");
    let replaced = |path: &str, mount: Option<Value>| {
        let mut mounts = mounts.as_array().unwrap().clone();
        let at = mounts.iter().position(|one| one["destination"] == path);
        mounts.splice(at.unwrap()..=at.unwrap(), mount);
        Value::Array(mounts)
    };
    let tmpfs = |path| Some(mount("tmpfs", path));
    let (of_proc, of_sysfs) = (
        "mounts: the images have a proc on /one, ",
        "mounts: the images have a sysfs on /two, ",
    );
    let cases = vec![
        ("/mounts", replaced("/one", None), of_proc),
        ("/mounts", replaced("/one", tmpfs("/one")), of_proc),
        ("/mounts", replaced("/two", None), of_sysfs),
        ("/mounts", replaced("/two", tmpfs("/two")), of_sysfs),
    ];
    assert_refused(counter, cases).wait_for_more();
}

/// Whatever filter the images have, and once only.
fn the_filter_is_the_one_of_the_bundle() {
    only_rt("runc takes from the images what they have");
    let without = |names: &[&str]| {
        let rule = json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSPC });
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
    };
    let bundle = Bundle::new()
        .writable()
        .set("/linux/seccomp", without(&["personality"]));
    let mut counter = Counter::new(bundle);
    let script = "while :; do busybox chmod 700 /data/seen && echo yes > /data/seen || echo no > /data/seen; \
                  j=0; while [ $j -lt 9999 ]; do j=$((j+1)); done; done";
    counter.bundle = counter.bundle.sh(script);
    let seen = counter.files.join("seen");
    fs::write(&seen, "").unwrap();
    let call = counter.bundle.call("run", &["--detach"]);
    counter.run_piped(call).assert_ok();
    wait_until("yes", || fs::read_to_string(&seen).unwrap() == "yes\n");
    for _ in 0..2 {
        counter.checkpoint(&[]).assert_ok();
        counter.assert_gone();
        fs::write(&seen, "").unwrap();
        counter.bundle = counter.bundle.set(
            "/linux/seccomp",
            without(&["chmod", "fchmodat", "fchmodat2"]),
        );
        counter.restore(&[]).assert_ok();
        wait_until("no", || fs::read_to_string(&seen).unwrap() == "no\n");
        let pid = counter.bundle.container().pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nSeccomp_filters:\t2\n"), "{status}");
    }
}

/// CRIU 3.17 keeps what the runtime makes of the root, and later versions do not.
fn a_root_is_read_only_if_the_bundle_says_so() {
    only_rt("runc takes from the images what they have");
    let mut counter = Counter::new(Bundle::new().writable());
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let original = counter.bundle.config().clone();
    counter.bundle = counter.bundle.set("/root/readonly", json!(true));
    let before = HostState::of(&counter.bundle);
    let restored = counter.restore(&[]);
    if restored.code() == 0 {
        counter.wait_for_more();
        let pid = counter.bundle.container().pid();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut mounts = mounts.lines().map(|line| line.split(' ').skip(4));
        let root = mounts.find_map(|mut fields| (fields.next()? == "/").then(|| fields.next()));
        let options = root.flatten().unwrap();
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
        return;
    }
    assert!(
        restored.one_line().contains("root.readonly: "),
        "{restored}"
    );
    before.assert_unchanged(&counter.bundle);
    counter.bundle = counter.bundle.with_config(original);
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn no_process_gets_privileges_that_it_gave_up() {
    let mut counter = Counter::new(Bundle::new());
    if !restores_no_new_privs() {
        only_rt("runc restores a process that may gain privileges");
    }
    counter.bundle = counter.bundle.set("/process/noNewPrivileges", json!(true));
    let container = counter.start();
    if !restores_no_new_privs() {
        let refused = counter.checkpoint(&[]).assert_code(1);
        let text = "would restore a process without; version 3.19 or later is needed";
        assert!(refused.one_line().ends_with(text), "{refused}");
        assert!(!counter.images().exists());
        assert_eq!(container.status(), "running");
        counter.wait_for_more();
        return;
    }
    counter.round();
    let pid = counter.bundle.container().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}
