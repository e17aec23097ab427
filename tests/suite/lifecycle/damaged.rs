//! A state.json that cannot be read or belongs to another container, and a root directory that
//! other users can write to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::sleeper;
use crate::harness::{
    Bundle, Container, HostState, Runtime, alive, cgroup_top, only_rt, remove_cgroup, signal,
    trials, wait_gone,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        every_verb_reports_a_damaged_state_in_one_line,
        delete_force_of_a_container_with_a_damaged_state_kills_it,
        delete_force_with_the_state_of_another_container_spares_that_container,
        delete_force_of_a_container_with_a_damaged_state_spares_processes_of_the_host,
        a_root_that_other_users_can_write_to_is_refused,
    ]
}

/// Why these tests are for `rt` only.
const ONLY_RT: &str = "runc never frees the id";

type Damage = fn(&[u8]) -> Vec<u8>;

/// The content of the file after a full disk or a lost write.
const DAMAGES: [(&str, Damage); 4] = [
    ("empty", |_| Vec::new()),
    ("cut", |whole| whole[..whole.len() / 2].to_vec()),
    ("cut early", |whole| whole[..90].to_vec()),
    ("zeroed", |whole| vec![0; whole.len()]),
];

fn file(bundle: &Bundle) -> PathBuf {
    bundle.runtime().root().join(bundle.id()).join("state.json")
}

fn damage(bundle: &Bundle, how: Damage) {
    let whole = fs::read(file(bundle)).unwrap();
    fs::write(file(bundle), how(&whole)).unwrap();
}

fn every_verb_reports_a_damaged_state_in_one_line() {
    only_rt(ONLY_RT);
    let bundle = sleeper();
    let container = bundle.run_detached();
    let whole = fs::read(file(&bundle)).unwrap();
    let of_other = String::from_utf8(whole.clone()).unwrap();
    let of_other = of_other.replace(bundle.id(), "another");
    let mut damaged: Vec<Vec<u8>> = DAMAGES.iter().map(|(_, how)| how(&whole)).collect();
    damaged.push(of_other.into_bytes());
    for text in damaged {
        fs::write(file(&bundle), &text).unwrap();
        let verbs: [(&str, &[&str]); 9] = [
            ("state", &[]),
            ("start", &[]),
            ("kill", &["KILL"]),
            ("pause", &[]),
            ("resume", &[]),
            ("ps", &[]),
            ("exec", &["/bin/true"]),
            ("delete", &[]),
            ("update", &["--pids-limit", "10"]),
        ];
        for (verb, arguments) in verbs {
            let outcome = container.call(verb, arguments);
            assert_ne!(outcome.code(), 0, "{verb}\n{outcome}");
            let line = outcome.one_line();
            assert!(line.contains("state.json: "), "{verb}: {line}");
        }
        let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
        assert_eq!(listed.stdout, "");
        assert!(listed.one_line().contains("state.json: "));
    }
    fs::write(file(&bundle), whole).unwrap();
    container.end();
}

fn delete_force_of_a_container_with_a_damaged_state_kills_it() {
    only_rt(ONLY_RT);
    for (kind, how) in DAMAGES {
        for shared in [false, true] {
            let bundle = if shared {
                sleeper().without_namespace("pid")
            } else {
                sleeper()
            };
            let before = HostState::of(&bundle);
            let container = bundle.run_detached();
            let pid = container.pid();
            damage(&bundle, how);
            let deleted = container.delete_force().assert_ok();
            assert!(deleted.one_line().contains("state.json: "), "{kind}");
            wait_gone(pid);
            before.assert_unchanged(&bundle);
            bundle.create().delete().assert_ok();
        }
    }
}

/// The state names the process of the other container.
fn delete_force_with_the_state_of_another_container_spares_that_container() {
    only_rt(ONLY_RT);
    let runtime = Runtime::new();
    let make = || Bundle::with_runtime(&runtime).args(&["/probe", "sleep"]);
    let (one, other) = (make(), make());
    let running: [Container; 2] = [one.run_detached(), other.run_detached()];
    let pid = running[0].pid();
    fs::copy(file(&other), file(&one)).unwrap();
    running[0].delete_force().assert_ok();
    wait_gone(pid);
    assert!(!file(&one).exists());
    assert_eq!(running[1].status(), "running");
    let [_, other] = running;
    other.end();
}

/// The cgroup has the container's id as its name, but holds a process of the host.
fn delete_force_of_a_container_with_a_damaged_state_spares_processes_of_the_host() {
    only_rt(ONLY_RT);
    let bundle = sleeper();
    let cgroups_path = format!("/elsewhere-{}", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(cgroups_path));
    let container = bundle.run_detached();
    let pid = container.pid();
    let cgroup = cgroup_top("pids").join(bundle.id());
    fs::create_dir(&cgroup).unwrap();
    let mut host_process = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), host_process.id().to_string()).unwrap();
    damage(&bundle, |_| Vec::new());
    let deleted = container.delete_force().assert_ok();
    let reason = format!(
        "process {} is in the mount namespace of the host",
        host_process.id()
    );
    assert!(deleted.stderr.contains(&reason), "{deleted}");
    assert!(alive(host_process.id().cast_signed()) && alive(pid));
    host_process.kill().unwrap();
    host_process.wait().unwrap();
    signal(pid, Signal::SIGKILL);
    wait_gone(pid);
    remove_cgroup(bundle.id());
    remove_cgroup(cgroups_path.trim_start_matches('/'));
}

/// A user who can write there can exchange one container's directory for another's.
fn a_root_that_other_users_can_write_to_is_refused() {
    only_rt("runc accepts any root");
    let bundle = sleeper();
    let root = bundle.runtime().root();
    fs::create_dir(&root).unwrap();
    let set = |mode: u32, owner: u32| {
        fs::set_permissions(&root, Permissions::from_mode(mode)).unwrap();
        chown(&root, Some(owner), None).unwrap();
    };
    for (mode, owner) in [
        (0o777, 0),
        (0o1777, 0),
        (0o775, 0),
        (0o757, 0),
        (0o755, 65534),
    ] {
        set(mode, owner);
        for arguments in [
            vec!["list"],
            vec!["state", "web"],
            vec!["kill", "web"],
            vec!["delete", "--force", "web"],
        ] {
            let outcome = bundle.runtime().call(&arguments).run();
            let refused = outcome.assert_refused("containers cannot be kept there");
            refused.one_line();
        }
        let create = bundle.call("create", &[]).run();
        let refused = create.assert_refused("containers cannot be kept there");
        refused.one_line();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{mode:o}");
    }
    for mode in [0o700, 0o711, 0o755] {
        set(mode, 0);
        bundle.create().delete().assert_ok();
    }
}
