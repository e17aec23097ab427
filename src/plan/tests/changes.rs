//! The text of the decisions is complete: whatever is changed in a configuration changes the
//! text, or is refused.

use serde_json::{Value, json};

use super::{Case, FULL, ROOTLESS, case, hybrid};

/// Values of config.json that may replace each other.
const ALTERNATIVES: [&str; 19] = [
    "CAP_AUDIT_WRITE CAP_KILL CAP_NET_BIND_SERVICE CAP_CHOWN",
    "RLIMIT_NOFILE RLIMIT_CORE RLIMIT_STACK",
    "ro rw nosuid nodev noexec bind",
    "relatime strictatime noatime",
    "nodiratime diratime",
    "rro rnosuid",
    "rbind bind",
    "ridmap idmap",
    "sync dirsync",
    "rslave rprivate rshared shared",
    "pid network ipc uts mount cgroup time user",
    "tmpfs proc sysfs mqueue devpts cgroup",
    "SCMP_ACT_ERRNO SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_KILL",
    "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32 SCMP_ARCH_ARM",
    "SCMP_CMP_EQ SCMP_CMP_NE",
    "read write exit_group personality openat",
    "rwm rw r",
    "c b p",
    "0 1 0-1",
];

/// What decides nothing: a reason, and JSON pointers into a configuration.
const UNDECIDED: &[(Case, &str, &[&str])] = &[
    (FULL, "for other programs", &["/annotations/org.example"]),
    (
        FULL,
        "an empty list is the default",
        &["/hooks/poststop/0/args"],
    ),
    (
        FULL,
        "all devices are denied before the first rule, and every container may make nodes (m)",
        &[
            "/linux/resources/devices/0",
            "/linux/resources/devices/0/access",
            "/linux/resources/devices/1/access",
        ],
    ),
    (
        FULL,
        "the host's own architecture is always listed",
        &["/linux/seccomp/architectures/0"],
    ),
    (
        FULL,
        "the source of a cgroup mount decides only whether a writable one is delegated",
        &["/mounts/6/source"],
    ),
    (
        FULL,
        "the options make it a bind mount",
        &["/mounts/7/type", "/mounts/8/type", "/mounts/11/type"],
    ),
    (FULL, "a later entry has the same name", &["/process/env/1"]),
    (
        ROOTLESS,
        "as above",
        &["/mounts/1/type", "/mounts/2/type", "/mounts/3/source"],
    ),
];

#[test]
fn every_change_of_the_configuration_is_a_changed_decision() {
    let on_version_1 = case("full", hybrid);
    for (case, below) in [
        (FULL, ""),
        (on_version_1, "/linux/resources"),
        (ROOTLESS, ""),
    ] {
        let listed = UNDECIDED.iter().filter(|(of, ..)| of.config == case.config);
        let listed = listed.flat_map(|(.., pointers)| *pointers).copied();
        let listed: Vec<&str> = listed
            .filter(|pointer| pointer.starts_with(below))
            .collect();
        assert_eq!(undecided(case, below), listed, "{}.json", case.config);
    }
}

/// The places in a part of a configuration where a change is neither visible in the text nor
/// refused.
fn undecided(case: Case, below: &str) -> Vec<String> {
    let (config, text) = (case.config(), case.text());
    let is_undecided = |pointer: &String| {
        changes(&config, pointer).iter().any(|changed| {
            let plan = case.plan_with(changed);
            plan.is_ok_and(|plan| plan.decisions() == text)
        })
    };
    let pointers = pointers(&config).into_iter();
    let pointers = pointers.filter(|pointer| pointer.starts_with(below));
    pointers.filter(is_undecided).collect()
}

/// The configuration with other values at a place, and without the list, the object or the
/// element of a list that is there.
fn changes(config: &Value, pointer: &str) -> Vec<Value> {
    let change = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let at = |pointer: &str| config.pointer(pointer).unwrap();
    let mut changes: Vec<Value> = replacements(at(pointer))
        .into_iter()
        .map(|value| change(&|config| *config.pointer_mut(pointer).unwrap() = value.clone()))
        .collect();
    if at(parent).is_array() || at(pointer).is_array() || at(pointer).is_object() {
        changes.push(change(&|config| match config.pointer_mut(parent) {
            Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
            Some(Value::Object(members)) => drop(members.remove(name)),
            _ => panic!("{parent} has no members"),
        }));
    }
    changes
}

/// The places of all values below the top, as JSON pointers (RFC 6901).
fn pointers(value: &Value) -> Vec<String> {
    let members: Vec<(String, &Value)> = match value {
        Value::Array(items) => (0..items.len()).map(|i| i.to_string()).zip(items).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), member))
            .collect(),
        _ => Vec::new(),
    };
    let with_below = |(name, member): (String, &Value)| {
        let below = pointers(member).into_iter();
        let below: Vec<String> = below.map(|pointer| format!("/{name}{pointer}")).collect();
        [format!("/{name}")].into_iter().chain(below)
    };
    members.into_iter().flat_map(with_below).collect()
}

/// Other values of the same type. None for a value that has members.
fn replacements(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        // Far away, because CPU shares become a weight, which is rounded.
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            let others = [number / 2, 2 * number + 1].into_iter();
            let others = others.filter(|other| *other != number);
            others.map(Value::from).collect()
        }
        Value::String(text) => {
            let lists = ALTERNATIVES.iter().map(|list| list.split(' '));
            let lists = lists.filter(|list| list.clone().any(|one| one == text));
            let others = lists.flatten().filter(|other| other != text);
            let longer = format!("{text}x");
            others.chain([longer.as_str()]).map(Value::from).collect()
        }
        _ => Vec::new(),
    }
}
