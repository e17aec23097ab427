//! Hooks that fail or hang: the error, and what happens to the container.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::runner::Test;
use serde_json::json;

use super::{
    CREATE_CONTAINER, CREATE_RUNTIME, PATH, POSTSTART, POSTSTOP, PRESTART, START_CONTAINER, add,
    note, noted, notes, script,
};
use crate::harness::{
    Bundle, HostState, Kind, Outcome, Runtime, View, alive, differs, only_rt, trials,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_failing_hook_during_create_destroys_the_container,
        a_failing_start_container_hook_destroys_the_container,
        a_failing_poststart_hook_destroys_the_container,
        run_fails_when_a_hook_fails,
        a_failing_poststop_hook_gives_a_warning,
        the_error_names_the_hook_and_quotes_its_output,
        a_program_that_cannot_be_executed_is_an_error,
        only_the_end_of_long_output_is_quoted,
        a_hook_is_killed_when_its_timeout_expires,
        a_hook_is_killed_with_all_its_children,
        a_hook_may_run_until_its_timeout,
        a_failure_before_the_hooks_calls_no_hook,
        a_failure_after_the_hooks_calls_the_poststop_hooks,
        processes_of_hooks_end_with_a_container_without_a_pid_namespace,
    ]
}

const AT_CREATE: [&str; 3] = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER];

/// The sentence of the specification that another runtime violates.
const START_GOES_ON: &str = "runtime.md, \"Lifecycle\", 7: \"If any startContainer hook fails, the \
    runtime MUST generate an error, stop the container, and continue the lifecycle at step 12\"; \
    its start says nothing, and what has stopped stays";
const POSTSTART_IN_CREATE: &str = "runtime.md, \"Lifecycle\", 9: \"If any poststart hook fails, \
    the runtime MUST generate an error, stop the container, and continue the lifecycle at step \
    12\" after the program runs; it calls them in create";

/// Adds hooks of every kind that note their call. The second hook of `kind` fails.
fn failing(bundle: Bundle, kind: &str) -> Bundle {
    let mut bundle = bundle.args(&["/probe", "sleep"]);
    for other in [
        PRESTART,
        CREATE_RUNTIME,
        CREATE_CONTAINER,
        POSTSTART,
        POSTSTOP,
    ] {
        let hook = note(&bundle, other);
        bundle = add(bundle, other, hook);
    }
    if kind == START_CONTAINER {
        bundle = add(bundle, kind, json!({"path": "/bin/true", "args": ["true"]}));
    }
    let after = note(&bundle, "after");
    let bundle = add(bundle, kind, script("echo out; echo err >&2; exit 3"));
    add(bundle, kind, after)
}

/// Asserts that the container is unknown and has left nothing behind.
#[track_caller]
fn assert_gone(bundle: &Bundle, before: &HostState) {
    before.assert_unchanged(bundle);
    let state = bundle.runtime().call(&["state", bundle.id()]).run();
    state.assert_refused("");
}

/// runtime.md, "Lifecycle", 3 to 5: "the runtime MUST generate an error, stop the container, and
/// continue the lifecycle at step 12": destroyed, then the poststop hooks.
fn a_failing_hook_during_create_destroys_the_container() {
    let all = AT_CREATE.into_iter().enumerate();
    for ((called, kind), view) in all.zip([View::Host, View::V2, View::V2]) {
        let bundle = failing(Bundle::with_runtime(&Runtime::new().view(view)), kind);
        let before = HostState::of(&bundle);
        let outcome = bundle.call("create", &[]).run();
        assert_eq!(outcome.code(), 1, "{outcome}");
        assert_gone(&bundle, &before);
        let mut expected = AT_CREATE[..=called].to_vec();
        expected.push(POSTSTOP);
        assert_eq!(noted(&bundle), expected, "{kind}");
    }
}

fn a_failing_start_container_hook_destroys_the_container() {
    differs(Kind::Runc, START_GOES_ON);
    let bundle = failing(Bundle::new(), START_CONTAINER);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let outcome = container.start().assert_code(1);
    assert_eq!(
        outcome.one_line(),
        format!(
            "rt start: {}: hooks.startContainer[1]: error running startContainer hook #1: \
             /bin/sh: exit status 3",
            bundle.id()
        )
    );
    assert_gone(&bundle, &before);
    let expected = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER, POSTSTOP];
    assert_eq!(noted(&bundle), expected);
}

fn a_failing_poststart_hook_destroys_the_container() {
    differs(Kind::Runc, POSTSTART_IN_CREATE);
    let bundle = failing(Bundle::new(), POSTSTART);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let pid = container.pid();
    let outcome = container.start().assert_code(1);
    assert_eq!(
        outcome.one_line(),
        format!(
            "rt start: {}: hooks.poststart[1]: error running poststart hook #1: /bin/sh: exit \
             status 3, stdout: out, stderr: err",
            bundle.id()
        )
    );
    assert!(!alive(pid));
    assert_gone(&bundle, &before);
    let expected = [
        PRESTART,
        CREATE_RUNTIME,
        CREATE_CONTAINER,
        POSTSTART,
        POSTSTOP,
    ];
    assert_eq!(noted(&bundle), expected);
}

fn run_fails_when_a_hook_fails() {
    for kind in [CREATE_RUNTIME, CREATE_CONTAINER, POSTSTART, START_CONTAINER] {
        for flags in [&[][..], &["--keep"], &["--detach"]] {
            let bundle = failing(Bundle::new(), kind);
            // runtime.md, "Errors": "as if the operation were never attempted"; runc keeps it.
            if flags == ["--keep"] && bundle.runtime().kind() == Kind::Runc {
                continue;
            }
            if kind == START_CONTAINER && flags == ["--detach"] {
                differs(Kind::Runc, START_GOES_ON);
            }
            let pid_file = bundle.runtime().home().join("pid");
            let mut all = flags.to_vec();
            all.extend(["--pid-file", pid_file.to_str().unwrap()]);
            let before = HostState::of(&bundle);
            let outcome = bundle.call("run", &all).run().assert_code(1);
            assert_gone(&bundle, &before);
            let notes = noted(&bundle);
            assert_eq!(
                notes.last().map(String::as_str),
                Some(POSTSTOP),
                "{outcome}"
            );
            let stops = notes.iter().filter(|line| *line == POSTSTOP).count();
            assert_eq!(stops, 1, "{kind} {flags:?}: {notes:?}");
            if bundle.runtime().kind() == Kind::Rt {
                assert!(!pid_file.exists(), "{kind} {flags:?}");
            }
        }
    }
}

/// "the runtime MUST log a warning, but the remaining hooks and lifecycle continue as if the hook
/// had succeeded"
fn a_failing_poststop_hook_gives_a_warning() {
    differs(
        Kind::Runc,
        "runtime.md, \"Lifecycle\", 13: \"the remaining hooks and lifecycle continue\"; it calls \
         none after one that failed",
    );
    let bundle = failing(Bundle::new(), POSTSTOP);
    let bundle = add(bundle, POSTSTOP, json!({"path": "/no/such"}));
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let outcome = container.delete_force().assert_ok();
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "rt: warning: hooks.poststop[1]: error running poststop hook #1: /bin/sh: exit status \
             3, stdout: out, stderr: err",
            "rt: warning: hooks.poststop[3]: error running poststop hook #3: /no/such: not found \
             (ENOENT)",
        ]
    );
    assert_gone(&bundle, &before);
    assert_eq!(noted(&bundle)[3..], [POSTSTOP, "after"]);
}

/// Asserts that `create` fails with this line, which begins with the place in config.json.
#[track_caller]
fn assert_fails(bundle: &Bundle, line: &str) -> Outcome {
    let before = HostState::of(bundle);
    let outcome = bundle.call("create", &[]).run().assert_code(1);
    before.assert_unchanged(bundle);
    if bundle.runtime().kind() == Kind::Rt {
        assert_eq!(
            outcome.one_line(),
            format!("rt create: {}: {line}", bundle.id())
        );
    }
    outcome
}

/// Managers look for runc's text; the place in config.json is added by `rt`.
fn the_error_names_the_hook_and_quotes_its_output() {
    for kind in AT_CREATE {
        let words = format!("hooks.{kind}[0]: error running {kind} hook #0: /bin/sh");
        for (text, said) in [
            (
                "echo out; echo ' two\nlines ' >&2; exit 255",
                "exit status 255, stdout: out, stderr: two\\nlines",
            ),
            ("exit 1", "exit status 1"),
            ("kill -KILL $$", "ended by SIGKILL"),
            (
                "printf 'a\\033[2Jb'; exit 2",
                "exit status 2, stdout: a\\u{1b}[2Jb, stderr: ",
            ),
        ] {
            let bundle = add(Bundle::new(), kind, script(text));
            let outcome = assert_fails(&bundle, &format!("{words}: {said}"));
            assert!(outcome.stderr.contains("error running"), "{outcome}");
        }
    }
}

fn a_program_that_cannot_be_executed_is_an_error() {
    for kind in AT_CREATE {
        let bundle = Bundle::new().file("script", "echo no interpreter\n");
        let script = bundle.rootfs().join("script");
        let script = script.to_str().unwrap();
        for (path, executable, why) in [
            ("/no/such", false, "not found (ENOENT)"),
            ("/etc", false, "permission denied (EACCES)"),
            (script, false, "permission denied (EACCES)"),
            (
                script,
                true,
                "exec format error (ENOEXEC; a program for another architecture, or a script without \
                 #!?)",
            ),
        ] {
            let mut bundle = add(Bundle::new(), kind, json!({"path": path}));
            if path == script {
                bundle = if executable {
                    bundle.executable("script", "echo no interpreter\n")
                } else {
                    bundle.file("script", "echo no interpreter\n")
                };
                let own = bundle.rootfs().join("script");
                bundle = bundle.set(&format!("/hooks/{kind}/0/path"), json!(own));
            }
            let path = bundle.config().get(&format!("/hooks/{kind}/0/path"));
            let path = path.as_str().unwrap().to_owned();
            let words = format!("hooks.{kind}[0]: error running {kind} hook #0: {path}");
            assert_fails(&bundle, &format!("{words}: {why}"));
        }
    }
}

fn only_the_end_of_long_output_is_quoted() {
    only_rt("others quote all of it");
    for kind in AT_CREATE {
        let much = "head -c 100000 /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 1";
        let bundle = add(Bundle::new(), kind, script(much));
        let outcome = bundle.call("create", &[]).run().assert_code(1);
        let line = outcome.one_line();
        assert!(line.len() < 1500 && line.ends_with("xthe reason"), "{line}");
    }
}

/// How long a timeout of one second may take on a busy host.
const MAX_ELAPSED: Duration = Duration::from_secs(8);

fn a_hook_is_killed_when_its_timeout_expires() {
    for kind in AT_CREATE {
        let sleep = json!({"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1});
        let bundle = add(Bundle::new(), kind, sleep);
        let begun = Instant::now();
        let words = format!("hooks.{kind}[0]: error running {kind} hook #0: /bin/sleep");
        let over = "hook ran past specified timeout of 1.0s";
        let outcome = assert_fails(&bundle, &format!("{words}: {over}"));
        assert!(outcome.stderr.contains(over), "{outcome}");
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < MAX_ELAPSED,
            "{took:?}"
        );
    }
}

/// For example the children of a shell, which keep its standard output open. The test covers
/// hooks inside and outside of the container.
fn a_hook_is_killed_with_all_its_children() {
    only_rt("others kill only the hook and wait for its children");
    let hanging = |bundle: &Bundle, kind: &str| {
        let pid = notes(bundle).display().to_string();
        let text = match kind {
            // The pid in the container's namespace would be meaningless here.
            CREATE_CONTAINER | START_CONTAINER => "sleep 100 & wait".to_owned(),
            _ => format!("sleep 100 & echo $! > {pid}; wait"),
        };
        json!({"path": "/bin/sh", "args": ["sh", "-c", text], "env": [PATH], "timeout": 1})
    };
    for kind in [
        CREATE_RUNTIME,
        CREATE_CONTAINER,
        START_CONTAINER,
        POSTSTART,
        POSTSTOP,
    ] {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let hook = hanging(&bundle, kind);
        let bundle = add(bundle, kind, hook);
        let before = HostState::of(&bundle);
        let begun = Instant::now();
        let mut outcome = bundle.call("run", &["--detach"]).run();
        if kind == POSTSTOP {
            outcome = bundle.container().delete_force();
        }
        assert!(begun.elapsed() < MAX_ELAPSED, "{kind}: {outcome}");
        let over = "hook ran past specified timeout of 1.0s";
        assert!(outcome.one_line().contains(over), "{outcome}");
        before.assert_unchanged(&bundle);
        for child in noted(&bundle) {
            assert!(!alive(child.parse().unwrap()), "{kind}: {child}");
        }
    }
}

fn a_hook_may_run_until_its_timeout() {
    let mut bundle = Bundle::new().args(&["/probe", "sleep"]);
    for kind in AT_CREATE {
        let slow = json!({"path": "/bin/sleep", "args": ["sleep", "0.3"], "timeout": 3600});
        bundle = add(bundle, kind, slow);
    }
    let begun = Instant::now();
    bundle.create().end();
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

/// When a mount fails, no hook has run yet, so that poststop hooks have nothing to clean up.
fn a_failure_before_the_hooks_calls_no_hook() {
    differs(
        Kind::Runc,
        "runtime.md, \"Errors\": \"generating an error MUST leave the state of the environment as \
         if the operation were never attempted\"; it calls the poststop hooks",
    );
    let bundle = failing(Bundle::new(), POSTSTOP).mount(json!({
        "destination": "/tmp", "type": "nosuch", "source": "nosuch",
    }));
    let before = HostState::of(&bundle);
    bundle.call("create", &[]).run().assert_refused("mounts[7]");
    assert_gone(&bundle, &before);
    assert_eq!(noted(&bundle), [""; 0]);
}

fn a_failure_after_the_hooks_calls_the_poststop_hooks() {
    let bundle = failing(Bundle::new(), POSTSTART).args(&["/no/such"]);
    let before = HostState::of(&bundle);
    for verb in ["create", "run"] {
        bundle.call(verb, &[]).run().assert_refused("/no/such");
        assert_gone(&bundle, &before);
    }
    let once = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER, POSTSTOP];
    assert_eq!(noted(&bundle), [once, once].concat());
}

/// Processes that hooks have left running are killed with the cgroup.
fn processes_of_hooks_end_with_a_container_without_a_pid_namespace() {
    only_rt("others leave what hooks have started");
    for kind in [CREATE_CONTAINER, START_CONTAINER] {
        let bundle = Bundle::new()
            .args(&["/probe", "sleep"])
            .without_namespace("pid");
        let stray = if Path::new("/usr/bin/setsid").exists() && kind == CREATE_CONTAINER {
            "setsid sleep 100 & exit 5"
        } else {
            "sleep 100 & exit 5"
        };
        let bundle = add(bundle, kind, script(stray));
        let before = HostState::of(&bundle);
        let outcome = bundle.call("run", &[]).run();
        outcome.assert_code(1).assert_refused("exit status 5");
        assert_gone(&bundle, &before);
    }
}
