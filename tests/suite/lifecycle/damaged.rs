//! A state that cannot be read, or is another container's, and a root that is not the owner's alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use super::sleeper;
use crate::harness::{
    Bundle, Container, Runtime, Traces, alive, cgroup_top, only_rt, remove_cgroup, signal, trials,
    wait_gone,
};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_damaged_state_is_one_line_for_every_verb,
        delete_force_of_a_damaged_state_ends_the_container,
        delete_force_of_anothers_state_leaves_the_other_alone,
        delete_force_of_a_damaged_state_leaves_the_machines_processes_alone,
        a_root_that_others_can_write_to_is_refused,
    ]
}

const OURS: &str = "runc keeps the id for ever";

type Damage = fn(&[u8]) -> Vec<u8>;

/// What a full disk and a lost write make of the file.
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

fn a_damaged_state_is_one_line_for_every_verb() {
    only_rt(OURS);
    let bundle = sleeper();
    let container = bundle.run_detached();
    let whole = fs::read(file(&bundle)).unwrap();
    let others = String::from_utf8(whole.clone()).unwrap();
    let others = others.replace(bundle.id(), "another");
    let mut damaged: Vec<Vec<u8>> = DAMAGES.iter().map(|(_, how)| how(&whole)).collect();
    damaged.push(others.into_bytes());
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
        for (verb, words) in verbs {
            let outcome = container.call(verb, words);
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

fn delete_force_of_a_damaged_state_ends_the_container() {
    only_rt(OURS);
    for (kind, how) in DAMAGES {
        for shared in [false, true] {
            let bundle = match shared {
                true => sleeper().without_namespace("pid"),
                false => sleeper(),
            };
            let before = Traces::of(&bundle);
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

/// The process that it names is not this container's.
fn delete_force_of_anothers_state_leaves_the_other_alone() {
    only_rt(OURS);
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

/// They are in a cgroup that happens to be called by the id.
fn delete_force_of_a_damaged_state_leaves_the_machines_processes_alone() {
    only_rt(OURS);
    let bundle = sleeper();
    let place = format!("/elsewhere-{}", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", json!(place));
    let container = bundle.run_detached();
    let pid = container.pid();
    let cgroup = cgroup_top("pids").join(bundle.id());
    fs::create_dir(&cgroup).unwrap();
    let mut machines = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), machines.id().to_string()).unwrap();
    damage(&bundle, |_| Vec::new());
    let deleted = container.delete_force().assert_ok();
    let named = format!(
        "process {} is in the mount namespace of the host",
        machines.id()
    );
    assert!(deleted.stderr.contains(&named), "{deleted}");
    assert!(alive(machines.id().cast_signed()) && alive(pid));
    machines.kill().unwrap();
    machines.wait().unwrap();
    signal(pid, Signal::SIGKILL);
    wait_gone(pid);
    remove_cgroup(bundle.id());
    remove_cgroup(place.trim_start_matches('/'));
}

/// Whoever can write there puts one container's directory in the place of another's.
fn a_root_that_others_can_write_to_is_refused() {
    only_rt("runc takes any");
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
        for words in [
            vec!["list"],
            vec!["state", "web"],
            vec!["kill", "web"],
            vec!["delete", "--force", "web"],
        ] {
            let outcome = bundle.runtime().call(&words).run();
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
