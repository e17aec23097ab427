//! `spec --rootless` and `run`, as a user types them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::runner::Test;
use serde_json::{Value, json};

use super::callers::{ALL, Caller, CallerKind, USER};
use crate::harness::{HostState, Kind, differs, only_rt, trials};
use crate::terminal::{Listener, Session};

pub(super) fn tests() -> Vec<Test> {
    trials![
        spec_and_run_work_in_the_current_directory,
        spec_and_run_work_in_a_terminal,
        a_terminal_is_sent_to_the_console_socket,
        the_process_runs_in_a_container,
        state_is_kept_in_xdg_runtime_dir,
        a_missing_xdg_runtime_dir_is_reported,
        a_bundle_in_a_home_of_mode_0700_works,
        a_missing_user_namespace_is_reported,
    ]
}

/// No other flag than `--rootless` is needed.
fn spec_and_run_work_in_the_current_directory() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle();
        let config = bundle.path().join("config.json");
        let call_in_bundle = |args: &[&str]| {
            let call = bundle.runtime().call(args);
            call.with(|command| command.current_dir(bundle.path()))
                .run()
        };
        let before = HostState::of(&bundle);
        call_in_bundle(&["spec", "--rootless"]).assert_ok();
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
        assert_eq!(fs::metadata(&config).unwrap().uid(), USER);
        let first = json!({ "containerID": 0, "hostID": if caller.is_namespace_root() { 0 } else { USER }, "size": 1 });
        assert_eq!(
            value["linux"]["uidMappings"],
            json!([first]),
            "{caller_kind:?}"
        );
        value["process"]["terminal"] = json!(false);
        value["process"]["args"] = json!(["/bin/sh", "-c", "id -u; exit 6"]);
        if Kind::under_test() == Kind::Crun {
            let mounts = value["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        }
        fs::write(&config, value.to_string()).unwrap();
        let outcome = call_in_bundle(&["run", bundle.id()]);
        assert_eq!(
            (outcome.code(), outcome.stdout.as_str()),
            (6, "0\n"),
            "{caller_kind:?}\n{outcome}"
        );
        before.assert_unchanged(&bundle);
    }
}

fn spec_and_run_work_in_a_terminal() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().set("/process/terminal", json!(true));
        let bundle = bundle.sh(
            "busybox tty; stat -L -c 'owner %u' /proc/self/fd/0; echo to tty >/dev/tty; exit 5",
        );
        let before = HostState::of(&bundle);
        let said = Session::start(&bundle).assert_end(5);
        assert!(
            said.starts_with("/dev/pts/0\nowner 0\nto tty\n"),
            "{caller_kind:?}: {said:?}"
        );
        before.assert_unchanged(&bundle);
    }
}

fn a_terminal_is_sent_to_the_console_socket() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().set("/process/terminal", json!(true));
        let bundle = bundle.sh("echo done; read -r end");
        let listener = Listener::new(&bundle);
        let socket = bundle.runtime().home().join("console.sock");
        std::os::unix::fs::chown(socket, Some(USER), Some(USER)).unwrap();
        let container = bundle.create_with(&listener.flags());
        let (mut master, _) = listener.receive();
        container.start().assert_ok();
        master.expect("done");
        master.type_keys("\r");
        master.expect_hangup();
        container.wait_stopped();
        container.delete().assert_ok();
    }
}

fn the_process_runs_in_a_container() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle();
        let before = HostState::of(&bundle);
        let seen = bundle.probe();
        assert_eq!(
            (&seen["uid"], &seen["gid"], &seen["pid"]),
            (&json!(0), &json!(0), &json!(1)),
            "{caller_kind:?}"
        );
        assert_eq!(seen["groups"], json!([]), "{caller_kind:?}");
        assert_eq!(seen["no_new_privs"], 1);
        let name = match bundle.runtime().kind() {
            Kind::Rt => "rt",
            Kind::Runc | Kind::Crun => "runc",
        };
        assert_eq!(seen["hostname"], name);
        let open: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{caller_kind:?}");
        for (place, kind) in [
            ("/proc", "proc"),
            ("/dev", "tmpfs"),
            ("/dev/mqueue", "mqueue"),
            ("/sys", "sysfs"),
        ] {
            assert_eq!(seen.mount(place).kind(), kind, "{caller_kind:?}");
        }
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            assert_eq!(
                seen["devices"][name]["type"], "c",
                "{caller_kind:?}: {name}"
            );
        }
        assert!(seen.mount("/").has("ro"));
        before.assert_unchanged(&bundle);
    }
}

fn state_is_kept_in_xdg_runtime_dir() {
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().args(&["/probe", "sleep"]);
        let container = bundle.run_detached();
        let root = bundle.runtime().root();
        let meta = fs::metadata(&root).unwrap();
        assert_eq!(meta.uid(), USER, "{caller_kind:?}");
        assert_eq!(meta.mode() & 0o777, 0o700, "{caller_kind:?}");
        let state = root.join(bundle.id());
        assert_eq!(fs::metadata(&state).unwrap().uid(), USER, "{caller_kind:?}");
        assert_eq!(
            fs::metadata(&state).unwrap().permissions().mode() & 0o022,
            0
        );
        container.end();
        assert!(!state.exists(), "{caller_kind:?}");
    }
}

/// A user cannot write to /run.
fn a_missing_xdg_runtime_dir_is_reported() {
    only_rt("the error text is rt's");
    for caller_kind in [CallerKind::Plain, CallerKind::NamespaceRoot] {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().args(&["/bin/true"]);
        bundle.write();
        let call = bundle
            .runtime()
            .call_through(&[], &["run", "-b", bundle.path().to_str().unwrap(), "x"]);
        // The caller's `env` sets it. An empty value counts as unset.
        let call = call.with_word("XDG_RUNTIME_DIR=", "XDG_RUNTIME_DIR=");
        let outcome = call.run().assert_code(1);
        let line = outcome.one_line();
        assert!(
            line.contains("XDG_RUNTIME_DIR") && line.contains("--root"),
            "{line}"
        );
    }
}

fn a_bundle_in_a_home_of_mode_0700_works() {
    differs(Kind::Crun, "it resolves paths again with other ids");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle();
        fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(bundle.probe()["uid"], 0, "{caller_kind:?}");
    }
}

/// The runtime checks this before it makes a system call.
fn a_missing_user_namespace_is_reported() {
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller
        .bundle()
        .without_namespace("user")
        .args(&["/bin/true"]);
    let bundle = bundle
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings");
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("");
    if Kind::under_test() == Kind::Rt {
        let hint = "run rt as root, or add a user namespace (rt spec --rootless writes a config.json with one)";
        let line = format!("rt run: {}: linux.namespaces: {hint}", bundle.id());
        assert_eq!(outcome.one_line(), line);
    }
    before.assert_unchanged(&bundle);
}
