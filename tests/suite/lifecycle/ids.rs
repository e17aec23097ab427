//! An id, and the directory that it names: taken, given back, and asked for by many at once.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::sleeper;
use crate::harness::{Traces, needs_strace, only_rt, tree, trials, wait_until};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        an_id_that_is_being_taken_is_nobodys_to_delete,
        what_a_killed_create_leaves_is_no_container,
        what_a_killed_delete_leaves_is_no_container,
        a_storm_on_one_id_loses_no_container,
    ]
}

const OURS: &str = "how the directory is made is ours";

/// `verb` behind strace, which does `what` at a system call.
fn injected(what: &str) -> [&str; 5] {
    ["strace", "-o", "/dev/null", "-e", what]
}

/// The directory is there, and is not called by the id before it holds a state.
fn an_id_that_is_being_taken_is_nobodys_to_delete() {
    only_rt(OURS);
    needs_strace();
    let bundle = sleeper();
    let before = Traces::of(&bundle);
    let held = injected("inject=renameat2:delay_enter=2000000:when=1");
    let create = bundle.call_through(&held, "create", &[]).start();
    let root = bundle.runtime().root();
    let unmade = root.join(format!("~{}", bundle.id()));
    wait_until("a state", || unmade.join("state.json").exists());
    bundle.container().delete_force().assert_ok();
    let state = bundle.container().call("state", &[]);
    state.assert_refused("container does not exist");
    let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
    assert_eq!(listed.stdout, "");
    let second = bundle.call("run", &["--detach"]).run();
    second.assert_refused("container with given ID already exists");
    assert!(unmade.exists(), "it did not stay for as long as all this");
    create.wait().assert_ok();
    assert_eq!(bundle.container().status(), "created");
    bundle.container().delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn what_a_killed_create_leaves_is_no_container() {
    only_rt(OURS);
    needs_strace();
    let bundle = sleeper();
    let before = Traces::of(&bundle);
    let killed = injected("inject=renameat2:signal=KILL:when=1");
    let left = format!("~{}/state.json", bundle.id());
    let kill = || {
        drop(bundle.call_through(&killed, "create", &[]).run());
        let there = tree(&bundle.runtime().root());
        assert!(
            there.iter().any(|path| path.starts_with(&left)),
            "{there:?}"
        );
    };
    kill();
    let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
    assert_eq!(listed.stdout, "");
    let delete = bundle.container().delete();
    delete.assert_refused("container does not exist");
    // The next one makes its own of it.
    bundle.create().delete().assert_ok();
    before.assert_unchanged(&bundle);
    kill();
    bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
}

fn what_a_killed_delete_leaves_is_no_container() {
    only_rt(OURS);
    needs_strace();
    let bundle = sleeper();
    let before = Traces::of(&bundle);
    let killed = injected("inject=unlinkat:signal=KILL:when=1");
    for forced in [true, false] {
        let container = bundle.create();
        let delete = ["delete", container.id()];
        drop(bundle.runtime().call_through(&killed, &delete).run());
        let left = bundle.runtime().root().join(format!("={}", bundle.id()));
        assert!(left.exists(), "it was not killed");
        container
            .delete()
            .assert_refused("container does not exist");
        if forced {
            container.delete_force().assert_ok();
        } else {
            // The next one of this id is not in the way of it.
            bundle.create().delete().assert_ok();
        }
        before.assert_unchanged(&bundle);
    }
}

const WORKERS: u64 = 8;
const STORM: Duration = Duration::from_secs(4);

/// What a verb may say when another one was faster.
const EXPECTED: [&str; 7] = [
    "container with given ID already exists",
    "container does not exist",
    "container not running",
    "that is not stopped",
    "cannot start a",
    "start.sock: ",
    "init: ",
];

/// Each with a container, or without one, and told so in one line. When all is over,
/// `delete --force` leaves no process, no cgroup and no state: whoever lost its state
/// would be left.
fn a_storm_on_one_id_loses_no_container() {
    only_rt("runc deletes the state of containers that run");
    let bundle = sleeper();
    bundle.write();
    let before = Traces::of(&bundle);
    let (program, root) = (bundle.runtime().program(), bundle.runtime().root());
    let (path, id) = (bundle.path().to_owned(), bundle.id().to_owned());
    let deadline = Instant::now() + STORM;
    let workers: Vec<_> = (0..WORKERS)
        .map(|seed| {
            let (program, root, path, id) =
                (program.clone(), root.clone(), path.clone(), id.clone());
            std::thread::spawn(move || storm(seed, &program, &root, &path, &id, deadline))
        })
        .collect();
    let said: Vec<String> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
    let odd = |line: &&String| !EXPECTED.iter().any(|text| line.contains(text));
    let odd: Vec<&String> = said.iter().filter(odd).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Calls one verb after the other, in an order of its own; returns what they said.
fn storm(
    seed: u64,
    program: &PathBuf,
    root: &PathBuf,
    bundle: &PathBuf,
    id: &str,
    deadline: Instant,
) -> Vec<String> {
    const VERBS: [&[&str]; 8] = [
        &["create", "--bundle"],
        &["run", "--detach", "--bundle"],
        &["run", "--detach", "--bundle"],
        &["start"],
        &["delete", "--force"],
        &["delete"],
        &["kill"],
        &["state"],
    ];
    let (mut random, mut said) = (seed + 1, Vec::new());
    while Instant::now() < deadline {
        // Knuth's generator: the same order each time.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let words = VERBS[(random >> 33) as usize % VERBS.len()];
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(words);
        if words.contains(&"--bundle") {
            command.arg(bundle);
        }
        command.arg(id).args((words == ["kill"]).then_some("KILL"));
        // A container keeps the streams of who made it.
        let log = bundle.join(format!("said-{seed}"));
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.stderr(file).status().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().count();
        assert!(
            lines == usize::from(!status.success()),
            "{words:?}: {status}, and {lines} lines: {text}"
        );
        said.extend(text.lines().map(|line| format!("{}: {line}", words[0])));
    }
    said
}
