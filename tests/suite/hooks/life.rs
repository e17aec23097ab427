//! Hooks during a container's life: each planned hook is called once, however the container
//! ends.

use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    CREATE_CONTAINER, CREATE_RUNTIME, POSTSTART, POSTSTOP, PRESTART, START_CONTAINER, add, note,
    noted, notes, script,
};
use crate::harness::{
    Bundle, Container, HostState, Kind, differs, only_rt, signal, trials, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        changes_of_the_config_after_create_have_no_effect,
        poststop_hooks_are_called_once_however_the_container_ends,
        run_in_the_foreground_calls_all_hooks,
        hooks_run_even_if_the_bundle_has_been_removed,
        a_hook_may_call_the_runtime,
        a_poststart_hook_may_delete_the_container,
        hooks_work_with_every_method_of_entering_the_root,
        delete_does_not_wait_for_hooks_of_start,
        a_signal_kills_a_hook_that_hangs_and_ends_the_command,
        a_signal_reaches_the_process_while_a_poststart_hook_hangs,
        delete_calls_the_poststop_hooks_after_the_runtime_was_killed,
    ]
}

fn changes_of_the_config_after_create_have_no_effect() {
    differs(
        Kind::Runc,
        "config.md: poststart hooks \"MUST be called after the user-specified process is \
         executed\"; it calls them in create",
    );
    let mut bundle = Bundle::new().args(&["/probe", "sleep"]);
    for kind in [POSTSTART, POSTSTOP] {
        let hook = note(&bundle, kind);
        bundle = add(bundle, kind, hook);
    }
    let container = bundle.create();
    fs::write(bundle.path().join("config.json"), "{}").unwrap();
    assert_eq!(noted(&bundle), [""; 0]);
    container.start().assert_ok();
    assert_eq!(noted(&bundle), [POSTSTART]);
    container.end();
    assert_eq!(noted(&bundle), [POSTSTART, POSTSTOP]);
}

fn poststop_hooks_are_called_once_however_the_container_ends() {
    type Attempt = (&'static str, fn(&Container));
    let attempts: [Attempt; 4] = [
        ("delete --force of a created one", |container| {
            container.delete_force().assert_ok();
        }),
        ("delete --force of a running one", |container| {
            container.start().assert_ok();
            container.delete_force().assert_ok();
        }),
        ("delete of a stopped one", |container| {
            container.start().assert_ok();
            container.kill("KILL").assert_ok();
            container.wait_stopped();
            container.delete().assert_ok();
        }),
        ("delete twice", |container| {
            container.delete_force().assert_ok();
            container.delete_force().assert_ok();
            container.delete().assert_refused("");
        }),
    ];
    for (name, end) in attempts {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let hook = note(&bundle, POSTSTOP);
        let bundle = add(bundle, POSTSTOP, hook);
        let container = bundle.create();
        assert_eq!(noted(&bundle), [""; 0], "{name}");
        end(&container);
        assert_eq!(noted(&bundle), [POSTSTOP], "{name}");
    }
}

fn run_in_the_foreground_calls_all_hooks() {
    let mut bundle = Bundle::new().sh("exit 7");
    let kinds = [CREATE_RUNTIME, CREATE_CONTAINER, POSTSTART, POSTSTOP];
    for kind in kinds {
        let hook = note(&bundle, kind);
        bundle = add(bundle, kind, hook);
    }
    let bundle = add(bundle, START_CONTAINER, json!({"path": "/bin/true"}));
    bundle.run().assert_code(7);
    assert_eq!(noted(&bundle), kinds);
    if bundle.runtime().kind() == Kind::Rt {
        bundle.call("run", &["--keep"]).run().assert_code(7);
        assert_eq!(noted(&bundle)[4..], kinds[..3]);
        bundle.container().delete().assert_ok();
        assert_eq!(noted(&bundle)[4..], kinds);
    }
}

/// Managers may remove a bundle before they delete the container.
fn hooks_run_even_if_the_bundle_has_been_removed() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let hook = note(&bundle, POSTSTOP);
    let bundle = add(bundle, POSTSTOP, hook);
    let container = bundle.create();
    fs::remove_dir_all(bundle.path()).unwrap();
    container.end();
    assert_eq!(noted(&bundle), [POSTSTOP]);
}

/// The command line with which a hook calls the runtime, with the state directory of this test.
fn runtime(bundle: &Bundle) -> String {
    let runtime = bundle.runtime();
    format!(
        "{} --root {}",
        runtime.program().display(),
        runtime.root().display()
    )
}

fn a_hook_may_call_the_runtime() {
    only_rt("runc's container is stopped to its hooks, or not there yet");
    let mut bundle = Bundle::new().args(&["/probe", "sleep"]);
    let ask = format!(
        "{} state {} | grep '\"status\"' >> {} || echo gone >> {}",
        runtime(&bundle),
        bundle.id(),
        notes(&bundle).display(),
        notes(&bundle).display(),
    );
    for kind in [CREATE_RUNTIME, POSTSTART, POSTSTOP] {
        bundle = add(bundle, kind, script(&ask));
    }
    let container = bundle.create();
    container.start().assert_ok();
    container.end();
    let lines = noted(&bundle);
    let words = ["creating", "running", "gone"];
    assert_eq!(lines.len(), words.len(), "{lines:?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(line.contains(word), "{word} in {lines:?}");
    }
}

/// The runtime holds no lock while a hook runs, and does not delete the container again.
fn a_poststart_hook_may_delete_the_container() {
    differs(
        Kind::Runc,
        "config.md: poststart hooks \"MUST be called after the user-specified process is \
         executed\"; it calls them in create",
    );
    for code in [0, 1] {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let hook = note(&bundle, POSTSTOP);
        let bundle = add(bundle, POSTSTOP, hook);
        let delete = format!(
            "{} delete --force {}; exit {code}",
            runtime(&bundle),
            bundle.id()
        );
        let bundle = add(bundle, POSTSTART, script(&delete));
        let container = bundle.create();
        container.start().assert_code(code);
        assert_eq!(noted(&bundle), [POSTSTOP]);
        bundle.call("run", &["--detach"]).run().assert_code(code);
        assert_eq!(noted(&bundle), [POSTSTOP; 2]);
    }
}

/// By pivot_root(2), MS_MOVE, chroot(2), and on a copy-on-write layer. Hooks see the container's
/// root, and the program sees nothing of the host.
fn hooks_work_with_every_method_of_entering_the_root() {
    type Attempt<'a> = (&'static str, fn(Bundle) -> Bundle, &'a [&'a str]);
    let attempts: [Attempt; 4] = [
        ("pivot", |bundle| bundle, &[]),
        ("move", |bundle| bundle, &["--no-pivot"]),
        (
            "chroot",
            |bundle| {
                let bundle = bundle.without_namespace("mount").set("/mounts", json!([]));
                let bundle = bundle.remove("/linux/maskedPaths").writable();
                bundle.remove("/linux/readonlyPaths")
            },
            &[],
        ),
        (
            "layer",
            |bundle| {
                let ephemeral = json!("ephemeral");
                bundle.set("/annotations/rt.rootfs.overlay", ephemeral)
            },
            &[],
        ),
    ];
    for (name, change, flags) in attempts {
        if name == "chroot" || name == "layer" {
            only_rt("others change the host's mounts, and have no such overlay");
        }
        let look = "pwd; ls -d probe bin/busybox";
        let bundle = Bundle::new();
        let text = format!("{{ {look}; }} >> {}", notes(&bundle).display());
        let bundle = change(add(bundle, CREATE_CONTAINER, script(&text)));
        let bundle = bundle.sh("ls -d /probe /usr 2>&1; pwd");
        let outcome = bundle.call("run", flags).run();
        let root = bundle.rootfs().display().to_string();
        assert_eq!(
            noted(&bundle),
            [root.as_str(), "bin/busybox", "probe"],
            "{name}: {outcome}"
        );
        assert!(
            outcome.stdout.contains("/probe\n") && outcome.stdout.ends_with("\n/\n"),
            "{name}: {outcome}"
        );
        assert!(!outcome.stdout.contains("\n/usr\n"), "{name}: {outcome}");
    }
}

/// When the runtime is killed while a hook runs, the container counts as stopped, and
/// `rt delete` calls the poststop hooks.
fn delete_calls_the_poststop_hooks_after_the_runtime_was_killed() {
    only_rt("runc remembers nothing before its hooks are done");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let hook = note(&bundle, POSTSTOP);
    let bundle = add(bundle, POSTSTOP, hook);
    let kill = script("kill -KILL $PPID");
    let bundle = add(bundle, CREATE_RUNTIME, kill);
    let outcome = bundle.call("create", &[]).run();
    assert_eq!(outcome.code(), 137, "{outcome}");
    assert_eq!(noted(&bundle), [""; 0]);
    bundle.container().delete().assert_ok();
    assert_eq!(noted(&bundle), [POSTSTOP]);
}

fn delete_does_not_wait_for_hooks_of_start() {
    for (shared, force) in [(false, false), (false, true), (true, false), (true, true)] {
        let hook = script("touch /hangs; exec sleep 1000");
        let bundle = Bundle::new().writable().args(&["/probe", "sleep"]);
        let bundle = add(bundle, START_CONTAINER, hook);
        let bundle = if shared {
            bundle.without_namespace("pid")
        } else {
            bundle
        };
        let before = HostState::of(&bundle);
        let container = bundle.create();
        let start = bundle.runtime().call(&["start", bundle.id()]).start();
        let hangs = bundle.rootfs().join("hangs");
        wait_until("the hook to be called", || hangs.exists());
        assert_eq!(container.status(), "created");
        if force {
            container.delete_force().assert_ok();
        } else {
            container.delete().assert_ok();
        }
        drop(start.wait());
        fs::remove_file(&hangs).unwrap();
        before.assert_unchanged(&bundle);
    }
}

/// A hook that reports its start, and ends when the file `end` exists.
fn lasting(bundle: &Bundle) -> (Value, PathBuf) {
    let end = bundle.path().join("end");
    let text = format!(
        "echo runs >> {}; until [ -e {} ]; do sleep 0.02; done",
        notes(bundle).display(),
        end.display()
    );
    (script(&text), end)
}

fn a_signal_kills_a_hook_that_hangs_and_ends_the_command() {
    only_rt("runc does not hear signals before the process runs");
    for kind in [PRESTART, CREATE_RUNTIME] {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let (hook, _) = lasting(&bundle);
        let bundle = add(bundle, kind, hook);
        let before = HostState::of(&bundle);
        let run = bundle.call("run", &[]).start();
        wait_until("the hook to run", || !noted(&bundle).is_empty());
        signal(run.pid(), Signal::SIGTERM);
        run.wait().assert_code(143);
        before.assert_unchanged(&bundle);
    }
}

fn a_signal_reaches_the_process_while_a_poststart_hook_hangs() {
    only_rt("runc calls poststart hooks before its process runs");
    let text = "trap 'echo heard; exit 7' TERM; echo up; while :; do busybox sleep 0.02; done";
    let bundle = Bundle::new().sh(text);
    let (hook, end) = lasting(&bundle);
    let bundle = add(bundle, POSTSTART, hook);
    let run = bundle.call("run", &[]).start();
    run.wait_for("up");
    wait_until("the hook to run", || !noted(&bundle).is_empty());
    signal(run.pid(), Signal::SIGTERM);
    run.wait_for("heard");
    fs::write(end, "").unwrap();
    run.wait().assert_code(7);
}
