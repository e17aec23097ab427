//! `info`: the host, the kernel and the caller, on one screen.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Runtime, only_rt, trials};
use crate::runner::Test;
use crate::users::rootless::callers::{ALL, Caller, CallerKind};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_table_fits_a_small_terminal,
        json_has_the_same_facts,
        facts_are_those_of_the_host,
        the_state_root_is_checked_and_not_made,
        an_ordinary_user_is_described,
        it_works_inside_a_container,
        nothing_is_changed,
    ]
}

fn rt() -> Runtime {
    only_rt("other runtimes have no info");
    Runtime::new()
}

#[track_caller]
fn text(runtime: &Runtime) -> String {
    let outcome = runtime.call(&["info"]).run().assert_ok();
    assert_eq!(outcome.stderr, "");
    outcome.stdout
}

#[track_caller]
fn info(runtime: &Runtime) -> Value {
    let outcome = runtime.call(&["info", "--format", "json"]).run();
    let outcome = outcome.assert_ok();
    assert_eq!(outcome.stderr, "");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// The labels that every table has, in order.
const LABELS: [&str; 12] = [
    "kernel",
    "  found",
    "cgroups",
    "  controllers",
    "  new ones",
    "  systemd",
    "security",
    "user",
    "  may",
    "  subids",
    "  caps",
    "state root",
];

/// The labels that only some have. The last one is that of a second line.
const OTHER_LABELS: [&str; 3] = ["  missing", "  unknown", ""];

#[track_caller]
fn assert_fits(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 24, "{text}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let (first, rest) = lines.split_first().unwrap();
    let version = "rt 0.1.0, commit ";
    assert!(first.starts_with(version), "{text}");
    assert!(first.ends_with(", specification 1.0.0 to 1.3.0"), "{text}");
    let mut labels = Vec::new();
    for line in rest {
        let (label, fact) = line.split_at(14);
        assert!(!fact.is_empty() && !fact.starts_with(' '), "{line}");
        labels.push(label.trim_end());
    }
    labels.retain(|label| !OTHER_LABELS.contains(label));
    assert_eq!(labels, LABELS, "{text}");
}

fn the_table_fits_a_small_terminal() {
    let runtime = rt();
    let text = text(&runtime);
    assert_fits(&text);
    let user = "\nuser          uid 0, gid 0, in the initial user namespace\n";
    let may = "  may         mount: yes, make user namespaces: yes\n";
    assert!(text.contains(&format!("{user}{may}")), "{text}");
    let outcome = runtime.call(&["info", "--format", "yaml"]).run();
    let line = "rt info: --format: unknown value \"yaml\": text or json";
    assert_eq!(outcome.assert_code(1).one_line(), line);
}

fn json_has_the_same_facts() {
    let info = info(&rt());
    let keys = |pointer: &str| -> String {
        let object = info.pointer(pointer).and_then(Value::as_object);
        let object = object.unwrap_or_else(|| panic!("{pointer} in {info:#}"));
        object.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let top =
        "cgroups commit kernel ociVersionMax ociVersionMin security stateRoot systemd user version";
    assert_eq!(keys(""), top);
    assert_eq!(keys("/kernel"), "interfaces release releaseMin");
    assert_eq!(keys("/kernel/interfaces/0"), "found name since without");
    assert_eq!(keys("/cgroups"), "hierarchies layout parents");
    assert_eq!(keys("/cgroups/hierarchies/0"), "controllers mount");
    assert_eq!(keys("/cgroups/parents/0"), "directory writable");
    assert_eq!(keys("/security"), "apparmor modules selinux");
    let user = "capabilities gid initialUserNamespace mayMakeUserNamespaces mayMount newgidmap \
                newuidmap subordinateGids subordinateUids uid";
    assert_eq!(keys("/user"), user);
    assert_eq!(keys("/stateRoot"), "exists path writable");
}

fn facts_are_those_of_the_host() {
    let info = info(&rt());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(info["kernel"]["release"], release.trim());
    // The tests of containers need all of these.
    let interfaces = info["kernel"]["interfaces"].as_array().unwrap().iter();
    let needed = |one: &&Value| one["without"] == "rt does not work";
    for one in interfaces.clone().filter(needed) {
        assert_eq!(one["found"], true, "{one}");
    }
    assert_eq!(interfaces.clone().filter(needed).count(), 5);
    assert!(interfaces.clone().any(|one| one["name"] == "mount_setattr"));
    for hierarchy in info["cgroups"]["hierarchies"].as_array().unwrap() {
        let mount = hierarchy["mount"].as_str().unwrap();
        assert!(fs::read_dir(mount).is_ok(), "{mount}");
    }
    let parents = info["cgroups"]["parents"].as_array().unwrap();
    assert!(parents.iter().all(|parent| parent["writable"] == true));
    assert_eq!(info["user"]["uid"], 0);
    let capabilities = info["user"]["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&json!("CAP_SYS_ADMIN")));
}

fn the_state_root_is_checked_and_not_made() {
    let runtime = rt();
    let expected = json!({"path": runtime.root(), "exists": false, "writable": true});
    assert_eq!(info(&runtime)["stateRoot"], expected);
    assert!(!runtime.root().exists());
    fs::create_dir(runtime.root()).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(runtime.root(), open).unwrap();
    let root = &info(&runtime)["stateRoot"];
    assert_eq!(
        (&root["exists"], &root["writable"]),
        (&json!(true), &json!(false))
    );
    let reason = root["reason"].as_str().unwrap();
    let expected = "users other than its owner can write to it (mode 0777)";
    assert!(reason.contains(expected), "{reason}");
    assert!(text(&runtime).contains("\nstate root    not usable: "));
}

fn an_ordinary_user_is_described() {
    only_rt("other runtimes have no info");
    for kind in ALL {
        let caller = Caller::new(kind);
        assert_fits(&text(&caller.runtime));
        let info = info(&caller.runtime);
        let user = &info["user"];
        let is_root = caller.is_namespace_root();
        assert_eq!(user["uid"], if is_root { 0 } else { 4001 }, "{kind:?}");
        assert_eq!(user["initialUserNamespace"], !is_root, "{kind:?}");
        assert_eq!(user["mayMount"], is_root, "{kind:?}");
        assert_eq!(user["mayMakeUserNamespaces"], true, "{kind:?}");
        assert_eq!(info["stateRoot"]["writable"], true, "{kind:?}");
        let parents = info["cgroups"]["parents"].as_array().unwrap();
        assert!(parents.iter().all(|parent| parent["writable"] == false));
        if kind == CallerKind::Subordinate {
            let range = json!([{"first": 500_000, "count": 65_536}]);
            assert_eq!(user["subordinateUids"], range);
            assert_eq!(user["subordinateGids"], range);
        }
        if !is_root {
            assert_eq!(user["capabilities"], json!([]), "{kind:?}");
        }
    }
}

/// Also where /proc and /sys are missing: each fact that needs them is unknown, with the reason.
fn it_works_inside_a_container() {
    only_rt("other runtimes have no info");
    for with_proc in [true, false] {
        let mut bundle = Bundle::new().remove("/linux/maskedPaths");
        bundle = bundle.remove("/linux/readonlyPaths").without_mount("/sys");
        bundle = bundle.without_mount("/sys/fs/cgroup");
        if !with_proc {
            bundle = bundle.without_mount("/proc");
        }
        fs::copy(bundle.runtime().program(), bundle.rootfs().join("rt")).unwrap();
        let outcome = bundle.args(&["/rt", "info"]).run().assert_ok();
        assert_eq!(outcome.stderr, "");
        let text = &outcome.stdout;
        assert!(text.starts_with("rt 0.1.0, commit "), "{text}");
        assert!(text.contains("\ncgroups       unknown: "), "{text}");
        assert!(text.contains("\nstate root    "), "{text}");
        let caps = if with_proc {
            "  caps        3 of "
        } else {
            "  caps        unknown: "
        };
        assert!(text.contains(caps), "{text}");
        assert!(text.lines().count() <= 24, "{text}");
    }
}

fn nothing_is_changed() {
    let bundle = Bundle::with_runtime(&rt());
    let before = HostState::of(&bundle);
    info(bundle.runtime());
    before.assert_unchanged(&bundle);
}
