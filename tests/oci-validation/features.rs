//! features.md and features-linux.md: what the runtime says of itself is true.
//!
//! A runtime MAY provide the structure. One without the command `features` is skipped.

use serde_json::{Value, json};

use crate::common::{assert_error, mapped, sleeper, tmpfs};
use crate::harness::{Bundle, Kind, Runtime, skip, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_versions_are_there,
        the_lowest_version_is_accepted,
        the_highest_version_is_accepted,
        the_highest_version_is_not_below_the_lowest,
        no_property_is_undefined,
        no_empty_value_stands_for_an_unknown_one,
        hooks_are_supported,
        mount_options_are_recognized,
        annotations_are_strings_by_name,
        namespaces_are_recognized,
        capabilities_are_recognized,
        seccomp_actions_are_recognized,
        seccomp_operators_are_recognized,
        seccomp_architectures_are_recognized,
        seccomp_known_flags_are_recognized,
        seccomp_supported_flags_are_supported,
        memory_policy_modes_are_recognized,
        memory_policy_flags_are_recognized,
        idmap_is_enabled_if_mappings_are_applied,
    ]
}

/// The structure that the runtime prints.
#[track_caller]
fn features() -> Value {
    let outcome = Runtime::new().call(&["features"]).run();
    match serde_json::from_str(&outcome.stdout) {
        Ok(features) => features,
        Err(_) => skip("the runtime provides no features structure"),
    }
}

/// The strings of an array, or nothing.
fn strings(pointer: &str) -> Vec<String> {
    let all = features();
    let found = all.pointer(pointer).and_then(Value::as_array).cloned();
    let Some(found) = found else {
        skip(&format!("the features structure has no {pointer}"));
    };
    found
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect()
}

/// The numbers of a version, without what follows `-` or `+`.
fn version(pointer: &str) -> (String, Vec<u32>) {
    let all = features();
    let text = all[pointer]
        .as_str()
        .unwrap_or_else(|| panic!("{pointer}: no string: {all}"));
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers = core.split('.').map(|number| number.parse().unwrap());
    (text.to_owned(), numbers.collect())
}

/// "ociVersionMin (string, REQUIRED)", "ociVersionMax (string, REQUIRED)".
fn the_versions_are_there() {
    for pointer in ["ociVersionMin", "ociVersionMax"] {
        assert_eq!(version(pointer).1.len(), 3, "{pointer}");
    }
}

#[track_caller]
fn assert_accepted(version: &str) {
    Bundle::new()
        .set("/ociVersion", json!(version))
        .sh("exit 7")
        .run()
        .assert_code(7);
}

/// ociVersionMin: "The runtime MUST accept this value as the ociVersion property of config.json."
fn the_lowest_version_is_accepted() {
    assert_accepted(&version("ociVersionMin").0);
}

/// ociVersionMax: "The runtime MUST accept this value as the ociVersion property of config.json."
fn the_highest_version_is_accepted() {
    assert_accepted(&version("ociVersionMax").0);
}

/// "The value MUST NOT be less than the value of the ociVersionMin property."
fn the_highest_version_is_not_below_the_lowest() {
    assert!(version("ociVersionMax").1 >= version("ociVersionMin").1);
}

/// The properties of each object. Other members hold no objects with properties.
const PROPERTIES: [(&str, &[&str]); 11] = [
    (
        "",
        &[
            "ociVersionMin",
            "ociVersionMax",
            "hooks",
            "mountOptions",
            "linux",
            "annotations",
            "potentiallyUnsafeConfigAnnotations",
        ],
    ),
    (
        "/linux",
        &[
            "namespaces",
            "capabilities",
            "cgroup",
            "seccomp",
            "apparmor",
            "selinux",
            "memoryPolicy",
            "intelRdt",
            "mountExtensions",
            "netDevices",
        ],
    ),
    (
        "/linux/cgroup",
        &["v1", "v2", "systemd", "systemdUser", "rdma"],
    ),
    (
        "/linux/seccomp",
        &[
            "enabled",
            "actions",
            "operators",
            "archs",
            "knownFlags",
            "supportedFlags",
        ],
    ),
    ("/linux/apparmor", &["enabled"]),
    ("/linux/selinux", &["enabled"]),
    ("/linux/memoryPolicy", &["modes", "flags"]),
    ("/linux/intelRdt", &["enabled", "schemata", "monitoring"]),
    ("/linux/mountExtensions", &["idmap"]),
    ("/linux/mountExtensions/idmap", &["enabled"]),
    ("/linux/netDevices", &["enabled"]),
];

/// "The Features structure MUST NOT contain properties that are not defined in this version".
fn no_property_is_undefined() {
    let all = features();
    for (pointer, properties) in PROPERTIES {
        let Some(object) = all.pointer(pointer).and_then(Value::as_object) else {
            continue;
        };
        for name in object.keys() {
            assert!(
                properties.contains(&name.as_str()),
                "{pointer}/{name} is not defined"
            );
        }
    }
}

/// "The null value MUST NOT be confused with an empty value": an object that is there has the types of its members.
fn no_empty_value_stands_for_an_unknown_one() {
    let all = features();
    for pointer in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
    ] {
        let value = all.pointer(pointer).unwrap_or(&Value::Null);
        let is_known = value.as_array().is_some_and(|items| !items.is_empty());
        assert!(value.is_null() || is_known, "{pointer}: {value}");
    }
}

/// hooks: "The runtime MUST support the elements in this array as the hooks property of config.json."
fn hooks_are_supported() {
    let kinds = strings("/hooks");
    let mut bundle = Bundle::new().writable().args(&["/bin/true"]);
    let file = bundle.path().join("called");
    for kind in &kinds {
        // One of them runs in the container, where the file is not.
        let script = format!(
            "echo {kind} >> {} 2>/dev/null || echo {kind} >> /called; cat > /dev/null",
            file.display()
        );
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        bundle = bundle.set(&format!("/hooks/{kind}/-"), hook);
    }
    bundle.run().assert_ok();
    let outside = std::fs::read_to_string(&file).unwrap_or_default();
    let inside = std::fs::read_to_string(bundle.rootfs().join("called")).unwrap_or_default();
    let mut called: Vec<&str> = outside.lines().chain(inside.lines()).collect();
    let mut expected: Vec<&str> = kinds.iter().map(String::as_str).collect();
    called.sort_unstable();
    expected.sort_unstable();
    assert_eq!(called, expected);
}

/// mountOptions: "The runtime MUST recognize the elements in this array as the options of mounts objects": an option that
/// it does not recognize goes to the file system, which refuses it with EINVAL.
fn mount_options_are_recognized() {
    violates(
        Kind::Runc,
        "hands defaults to the file system, which refuses it",
    );
    let options = strings("/mountOptions");
    for option in options {
        if ["bind", "rbind", "remount", "idmap", "ridmap"].contains(&option.as_str()) {
            // They make no mount of their own; mount_options.rs and idmap.rs have tests of them.
            continue;
        }
        let outcome = Bundle::new()
            .mount(tmpfs("/tmp", &[&option]))
            .sh("exit 0")
            .run();
        assert_eq!(outcome.code(), 0, "{option}: {outcome}");
    }
}

/// "Annotations MUST be a key-value map".
fn annotations_are_strings_by_name() {
    let all = features();
    let annotations = all["annotations"].as_object();
    for (key, value) in annotations.into_iter().flatten() {
        assert!(!key.is_empty() && value.is_string(), "{key:?}: {value}");
    }
}

/// namespaces: "The runtime MUST recognize the elements in this array as the type of linux.namespaces objects".
fn namespaces_are_recognized() {
    for kind in strings("/linux/namespaces") {
        let bundle = if kind == "user" {
            mapped(sleeper())
        } else {
            sleeper().namespace(&kind, None)
        };
        bundle.sh("exit 0").run().assert_ok();
    }
}

/// capabilities: "The runtime MUST recognize the elements in this array in the process.capabilities object": no warning
/// says that one is unknown.
fn capabilities_are_recognized() {
    let all = strings("/linux/capabilities");
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let outcome = Bundle::new()
        .set("/process/capabilities", json!({"bounding": names}))
        .sh("exit 0")
        .run()
        .assert_ok();
    // A kernel may not grant all of them.
    assert!(!outcome.stderr.contains("nknown"), "{outcome}");
    let seen = Bundle::new()
        .set("/process/capabilities", json!({"bounding": names}))
        .probe();
    let own = caps::read(None, caps::CapSet::Bounding).unwrap();
    for name in names
        .iter()
        .filter(|name| own.iter().any(|one| one.to_string() == **name))
    {
        assert!(
            seen.capabilities("bounding").iter().any(|one| one == name),
            "{name}"
        );
    }
}

fn run_with(profile: Value) -> crate::harness::Outcome {
    Bundle::new()
        .sh("exit 0")
        .set("/linux/seccomp", profile)
        .run()
}

/// actions: "The runtime MUST recognize the elements in this array in the syscalls[].action property".
fn seccomp_actions_are_recognized() {
    for action in strings("/linux/seccomp/actions")
        .iter()
        .filter(|action| *action != "SCMP_ACT_NOTIFY")
    {
        let entry = json!({"names": ["getpgrp"], "action": action});
        run_with(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})).assert_ok();
    }
}

/// operators: "The runtime MUST recognize the elements in this array in the syscalls[].args[].op property".
fn seccomp_operators_are_recognized() {
    for operator in strings("/linux/seccomp/operators") {
        let argument = json!({"index": 0, "value": 9, "valueTwo": 9, "op": operator});
        let entry =
            json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [argument]});
        run_with(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})).assert_ok();
    }
}

/// archs: "The runtime MUST recognize the elements in this array in the architectures property of the linux.seccomp object".
fn seccomp_architectures_are_recognized() {
    violates(Kind::Runc, "refuses those of another byte order");
    for name in strings("/linux/seccomp/archs") {
        let own = format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase());
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [own, name], "syscalls": [
            {"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}
        ]});
        let outcome = run_with(profile);
        assert_eq!(outcome.code(), 0, "{name}: {outcome}");
    }
}

#[track_caller]
fn assert_flags_work(pointer: &str) {
    for flag in strings(pointer) {
        let entry = json!({"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"});
        let profile =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [entry]});
        let outcome = run_with(profile);
        // The kernel takes this one together with a listener alone (seccomp(2)).
        let needs_listener = flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        assert!(outcome.code() == 0 || needs_listener, "{flag}: {outcome}");
    }
}

/// knownFlags: "The runtime MUST recognize the elements in this array in the flags property of the linux.seccomp object".
fn seccomp_known_flags_are_recognized() {
    assert_flags_work("/linux/seccomp/knownFlags");
}

/// supportedFlags: "The runtime MUST recognize and support the elements in this array in the flags property".
fn seccomp_supported_flags_are_supported() {
    assert_flags_work("/linux/seccomp/supportedFlags");
}

/// Whether an error says that the value is unknown. The host may still lack what it needs.
#[track_caller]
fn assert_known_policy(mode: &str, flags: &[&str]) {
    let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) {
        ""
    } else {
        "0"
    };
    let policy = json!({"mode": mode, "nodes": nodes, "flags": flags});
    let outcome = Bundle::new()
        .set("/linux/memoryPolicy", policy)
        .sh("exit 0")
        .run();
    let is_unknown = outcome.stderr.contains("nknown") || outcome.stderr.contains("not applied");
    assert!(
        outcome.code() == 0 || !is_unknown,
        "{mode} {flags:?}: {outcome}"
    );
}

/// modes: "The runtime MUST recognize the elements in this array as the mode of linux.memoryPolicy objects".
fn memory_policy_modes_are_recognized() {
    for mode in strings("/linux/memoryPolicy/modes") {
        assert_known_policy(&mode, &[]);
    }
}

/// flags: "The runtime MUST recognize the elements in this in the flags property of the linux.memoryPolicy object".
fn memory_policy_flags_are_recognized() {
    for flag in strings("/linux/memoryPolicy/flags") {
        assert_known_policy("MPOL_BIND", &[&flag]);
    }
}

/// "runtimes MUST still set this value to true, to indicate that the runtime recognises the uidMappings and gidMappings
/// properties": one that does not say so refuses or ignores them.
fn idmap_is_enabled_if_mappings_are_applied() {
    let all = features();
    let is_enabled = all.pointer("/linux/mountExtensions/idmap/enabled") == Some(&json!(true));
    let mount = json!({
        "destination": "/tmp", "type": "bind", "source": "/proc", "options": ["rbind", "idmap"],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 0}],
    });
    if is_enabled {
        // An empty range is no mapping, and procfs has none.
        assert_error(Bundle::new().mount(mount));
    } else if Bundle::new().mount(mount).sh("exit 0").run().code() != 0 {
        skip("the runtime does not say that it applies mappings of mounts");
    }
}
