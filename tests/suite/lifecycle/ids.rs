//! Container ids and their directories: creation, removal, and concurrent commands.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::runner::Test;

use super::sleeper;
use crate::harness::{HostState, needs_strace, only_rt, tree, trials, wait_until};

pub(super) fn tests() -> Vec<Test> {
    trials![
        delete_force_ignores_a_container_that_has_no_state_yet,
        a_killed_create_leaves_no_container,
        a_killed_delete_leaves_no_container,
        concurrent_commands_on_one_id_lose_no_container,
    ]
}

/// Why these tests are for `rt` only.
const ONLY_RT: &str = "they depend on how rt creates and removes its directories";

/// strace with `what` to inject at a system call.
fn strace_injecting(what: &str) -> [&str; 5] {
    ["strace", "-o", "/dev/null", "-e", what]
}

/// The directory does not have the id as its name before it holds a state.
fn delete_force_ignores_a_container_that_has_no_state_yet() {
    only_rt(ONLY_RT);
    needs_strace();
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let delayed = strace_injecting("inject=renameat2:delay_enter=2000000:when=1");
    let create = bundle.call_through(&delayed, "create", &[]).start();
    let root = bundle.runtime().root();
    let draft = root.join(format!("~{}", bundle.id()));
    wait_until("a state", || draft.join("state.json").exists());
    bundle.container().delete_force().assert_ok();
    let state = bundle.container().call("state", &[]);
    state.assert_refused("container does not exist");
    let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
    assert_eq!(listed.stdout, "");
    let second = bundle.call("run", &["--detach"]).run();
    second.assert_refused("container with given ID already exists");
    assert!(draft.exists(), "create was not delayed long enough");
    create.wait().assert_ok();
    assert_eq!(bundle.container().status(), "created");
    bundle.container().delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn a_killed_create_leaves_no_container() {
    only_rt(ONLY_RT);
    needs_strace();
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let killed = strace_injecting("inject=renameat2:signal=KILL:when=1");
    let left = format!("~{}/state.json", bundle.id());
    let kill = || {
        drop(bundle.call_through(&killed, "create", &[]).run());
        let files = tree(&bundle.runtime().root());
        assert!(
            files.iter().any(|path| path.starts_with(&left)),
            "{files:?}"
        );
    };
    kill();
    let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
    assert_eq!(listed.stdout, "");
    let delete = bundle.container().delete();
    delete.assert_refused("container does not exist");
    // The next create reuses the directory.
    bundle.create().delete().assert_ok();
    before.assert_unchanged(&bundle);
    kill();
    bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
}

fn a_killed_delete_leaves_no_container() {
    only_rt(ONLY_RT);
    needs_strace();
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let killed = strace_injecting("inject=unlinkat:signal=KILL:when=1");
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
            // The next create with this id is not disturbed by the directory.
            bundle.create().delete().assert_ok();
        }
        before.assert_unchanged(&bundle);
    }
}

const WORKERS: u64 = 8;
const DURATION: Duration = Duration::from_secs(4);

/// The errors that a command may report when another command was faster.
const EXPECTED: [&str; 7] = [
    "container with given ID already exists",
    "container does not exist",
    "container not running",
    "that is not stopped",
    "cannot start a",
    "start.sock: ",
    "init: ",
];

/// Each command succeeds, or fails with one line. At the end, `delete --force` leaves no
/// process, no cgroup and no state: a container that had lost its state would remain.
fn concurrent_commands_on_one_id_lose_no_container() {
    only_rt("runc deletes the state of containers that run");
    let bundle = sleeper();
    bundle.write();
    let before = HostState::of(&bundle);
    let (program, root) = (bundle.runtime().program(), bundle.runtime().root());
    let (path, id) = (bundle.path().to_owned(), bundle.id().to_owned());
    let deadline = Instant::now() + DURATION;
    let workers: Vec<_> = (0..WORKERS)
        .map(|seed| {
            let (program, root, path, id) =
                (program.clone(), root.clone(), path.clone(), id.clone());
            std::thread::spawn(move || call_verbs(seed, &program, &root, &path, &id, deadline))
        })
        .collect();
    let lines: Vec<String> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&bundle);
    let is_unexpected = |line: &&String| !EXPECTED.iter().any(|text| line.contains(text));
    let unexpected: Vec<&String> = lines.iter().filter(is_unexpected).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

/// Calls verbs in a pseudo-random order until `deadline`. Returns their error lines.
fn call_verbs(
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
    let (mut random, mut errors) = (seed + 1, Vec::new());
    while Instant::now() < deadline {
        // Knuth's linear congruential generator: the same order in each run.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let verb = VERBS[(random >> 33) as usize % VERBS.len()];
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(verb);
        if verb.contains(&"--bundle") {
            command.arg(bundle);
        }
        command.arg(id).args((verb == ["kill"]).then_some("KILL"));
        // A container keeps the standard streams of the command that created it, so a pipe would
        // not be closed.
        let log = bundle.join(format!("errors-{seed}"));
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.stderr(file).status().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().count();
        assert!(
            lines == usize::from(!status.success()),
            "{verb:?}: {status}, and {lines} lines: {text}"
        );
        errors.extend(text.lines().map(|line| format!("{}: {line}", verb[0])));
    }
    errors
}
