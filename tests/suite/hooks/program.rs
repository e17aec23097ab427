//! Path, arguments, environment and standard input of a hook, and what it does not inherit from
//! the caller.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    CREATE_CONTAINER, CREATE_RUNTIME, POSTSTART, POSTSTOP, PRESTART, START_CONTAINER, add, noted,
    notes, places, probing, script, seen,
};
use crate::harness::{Bundle, Kind, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        arguments_reach_the_hook_unchanged,
        without_args_the_path_is_the_only_argument,
        the_environment_is_exactly_as_configured,
        without_env_the_environment_is_empty,
        without_env_a_start_container_hook_has_the_environment_of_the_process,
        cve_2025_23266_no_hook_gets_the_environment_of_the_image,
        the_path_may_be_the_executable_of_a_running_process,
        a_hook_need_not_read_the_state,
        a_large_state_reaches_the_hook_completely,
        a_hook_may_write_long_output,
        only_the_standard_descriptors_are_open,
        signals_have_their_default_actions_and_are_not_blocked,
        hooks_have_the_umask_of_the_caller,
    ]
}

/// The kinds of hooks that `create` calls.
const AT_CREATE: [&str; 3] = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER];
const ALL: [&str; 6] = [
    PRESTART,
    CREATE_RUNTIME,
    CREATE_CONTAINER,
    START_CONTAINER,
    POSTSTART,
    POSTSTOP,
];

/// Takes a container whose only hook is of this kind through its whole life.
#[track_caller]
fn live(bundle: &Bundle) {
    let container = bundle.create();
    container.start().assert_ok();
    container.end();
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn arguments_reach_the_hook_unchanged() {
    for kind in ALL {
        let bundle = probing(kind);
        live(&bundle);
        let (file, _, _) = places(&bundle, kind);
        let argv = strings(&seen(&bundle, kind).report["argv"]);
        assert_eq!(argv, ["the probe", "hook", file.as_str()], "{kind}");
    }
}

fn without_args_the_path_is_the_only_argument() {
    for kind in [CREATE_RUNTIME, CREATE_CONTAINER, START_CONTAINER] {
        for args in [Value::Null, json!([])] {
            let bundle = Bundle::new().writable().args(&["/probe", "sleep"]);
            let (file, probe, _) = places(&bundle, kind);
            let hook = json!({"path": probe, "env": [format!("HOOK_FILE={file}")], "args": args});
            let bundle = add(bundle, kind, hook);
            live(&bundle);
            let argv = strings(&seen(&bundle, kind).report["argv"]);
            assert_eq!(argv, [probe.to_str().unwrap()], "{kind}");
        }
    }
}

/// "with the same semantics as [..] environ": nothing is added, in the order given.
fn the_environment_is_exactly_as_configured() {
    for kind in ALL {
        let bundle = probing(kind).set(
            &format!("/hooks/{kind}/0/env"),
            json!(["Z=1", "B=x=y z", "A="]),
        );
        live(&bundle);
        let env = strings(&seen(&bundle, kind).report["env"]);
        assert_eq!(env, ["Z=1", "B=x=y z", "A="], "{kind}");
    }
}

fn without_env_the_environment_is_empty() {
    differs(
        Kind::Runc,
        "config.md: env has \"the same semantics as IEEE Std 1003.1-2008's environ\", of which \
         none is an empty one; it hands on its caller's, and from createContainer on the container's",
    );
    for kind in ALL.into_iter().filter(|kind| *kind != START_CONTAINER) {
        let bundle = probing(kind).remove(&format!("/hooks/{kind}/0/env"));
        live(&bundle);
        assert_eq!(
            strings(&seen(&bundle, kind).report["env"]),
            [""; 0],
            "{kind}"
        );
    }
}

/// The hook runs in the container as its process, where the environment of the image is safe.
fn without_env_a_start_container_hook_has_the_environment_of_the_process() {
    let own = |env: Option<serde_json::Value>| {
        let bundle = probing(START_CONTAINER).set("/process/env/-", json!("CHOSEN=1"));
        let place = format!("/hooks/{START_CONTAINER}/0/env");
        let bundle = match env {
            Some(env) => bundle.set(&place, env),
            None => bundle.remove(&place),
        };
        live(&bundle);
        let mut seen = strings(&seen(&bundle, START_CONTAINER).report["env"]);
        seen.sort();
        (bundle, seen)
    };
    let (bundle, seen) = own(None);
    let mut expected = strings(bundle.config().get("/process/env"));
    expected.push("HOME=/root".to_owned());
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(own(Some(json!([]))).1, [""; 0]);
}

/// In the CVE the container's environment named a library relative to the working directory,
/// which was the container's root: root on the host ran code of the image.
fn cve_2025_23266_no_hook_gets_the_environment_of_the_image() {
    for kind in AT_CREATE {
        let bundle = probing(kind)
            .set("/process/env/-", json!("LD_PRELOAD=./evil.so"))
            .set("/process/cwd", json!("/tmp"));
        bundle.create().end();
        let report = seen(&bundle, kind).report;
        assert_eq!(report.env("LD_PRELOAD"), None, "{kind}");
        let directory = match kind {
            CREATE_CONTAINER => bundle.rootfs(),
            _ => bundle.path().to_owned(),
        };
        assert_eq!(report["cwd"], directory.to_str().unwrap(), "{kind}");
    }
}

/// Docker's prestart hook is /proc/PID/exe of the daemon, with another argv[0].
fn the_path_may_be_the_executable_of_a_running_process() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let daemon = bundle.rootfs().join("probe");
    let mut daemon = std::process::Command::new(daemon)
        .arg("sleep")
        .spawn()
        .unwrap();
    let (file, _, _) = places(&bundle, PRESTART);
    let hook = json!({
        "path": format!("/proc/{}/exe", daemon.id()),
        "args": ["hook", "hook", file],
    });
    let bundle = add(bundle, PRESTART, hook);
    let created = bundle.call("create", &[]).run();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    created.assert_ok();
    let container = bundle.container();
    let seen = seen(&bundle, PRESTART);
    assert_eq!(
        strings(&seen.report["argv"]),
        ["hook", "hook", file.as_str()]
    );
    assert_eq!(seen.state["pid"], container.pid());
    container.end();
}

/// An annotation that makes the state larger than a pipe buffer.
fn large() -> Value {
    json!("x".repeat(300_000))
}

fn a_hook_need_not_read_the_state() {
    for kind in ALL {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let hook = json!({"path": "/bin/true", "args": ["true"]});
        let bundle = add(bundle, kind, hook).set("/annotations/large", large());
        live(&bundle);
    }
}

fn a_large_state_reaches_the_hook_completely() {
    for kind in [CREATE_RUNTIME, CREATE_CONTAINER, START_CONTAINER, POSTSTOP] {
        let bundle = probing(kind).set("/annotations/large", large());
        live(&bundle);
        let state = seen(&bundle, kind).state;
        assert_eq!(state["annotations"]["large"], large(), "{kind}");
    }
}

/// The output is larger than a pipe buffer, and the hook must not block on it.
fn a_hook_may_write_long_output() {
    for kind in ALL {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let much = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
        live(&add(bundle, kind, script(much)));
    }
}

fn only_the_standard_descriptors_are_open() {
    only_rt("runc's createContainer hooks find its sockets open, crun's what the caller leaks");
    for kind in ALL {
        let bundle = probing(kind).sh("exit 0");
        bundle.call("run", &[]).leaking().run().assert_ok();
        seen(&bundle, kind).report.assert_only_stdio();
    }
}

/// In the foreground the runtime itself blocks all signals.
fn signals_have_their_default_actions_and_are_not_blocked() {
    only_rt("Go hands on the mask it started with");
    let ignored = [Signal::SIGPIPE, Signal::SIGUSR1];
    let blocked = [Signal::SIGTERM, Signal::SIGUSR2, Signal::SIGCHLD];
    for kind in ALL {
        let bundle = probing(kind).sh("exit 0");
        let call = bundle.call("run", &[]);
        call.with_signals(&ignored, &blocked).run().assert_ok();
        seen(&bundle, kind).report.assert_signals_untouched();
    }
}

/// Files that a hook creates on the host have the modes that its user expects.
fn hooks_have_the_umask_of_the_caller() {
    for kind in AT_CREATE {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let file = notes(&bundle);
        let bundle = add(bundle, kind, script(&format!("umask > {}", file.display())));
        let caller = ["sh", "-c", "umask 0027; exec \"$@\"", "sh"];
        bundle
            .call_through(&caller, "create", &[])
            .run()
            .assert_ok();
        assert_eq!(noted(&bundle), ["0027"], "{kind}");
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{kind}");
        bundle.container().end();
    }
}
