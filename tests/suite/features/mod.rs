//! `features`: every listed item is used and must have its effect.

mod mounts;
mod seccomp;

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Kind, Runtime, View, cgroup_of, cgroup_top, differs, namespace_of, on_v2, only_rt,
    trials,
};

pub(crate) fn tests() -> Vec<Test> {
    let mut all = trials![
        the_output_has_the_keys_of_the_specification,
        the_minimum_and_the_maximum_version_are_accepted,
        each_hook_runs,
        each_namespace_is_created,
        each_capability_is_granted,
        each_cgroup_version_is_supported,
        each_enabled_feature_is_applied,
        annotations_with_an_effect_are_listed,
    ];
    all.extend(mounts::tests());
    all.extend(seccomp::tests());
    all
}

fn output() -> String {
    differs(Kind::Crun, "Debian's version has no such verb");
    Runtime::new().call(&["features"]).run().assert_ok().stdout
}

/// The output as JSON.
fn features() -> Value {
    serde_json::from_str(&output()).unwrap()
}

/// The items of an array of strings; empty if the array is absent.
fn names(features: &Value, pointer: &str) -> Vec<String> {
    let list = features.pointer(pointer).map(|list| {
        let items = list
            .as_array()
            .unwrap_or_else(|| panic!("{pointer} is no array"));
        let text = |item: &Value| item.as_str().unwrap_or_else(|| panic!("{item}")).to_owned();
        items.iter().map(text).collect()
    });
    list.unwrap_or_default()
}

fn is_on(features: &Value, pointer: &str) -> bool {
    features.pointer(pointer) == Some(&Value::Bool(true))
}

/// A bundle whose process exits immediately.
fn idle() -> Bundle {
    Bundle::new().args(&["/bin/true"])
}

/// The keys that features.md and features-linux.md define, in the order of runc's output.
const KEYS: [(&str, &[&str]); 7] = [
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
            "intelRdt",
            "memoryPolicy",
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
    ("/linux/intelRdt", &["enabled", "schemata", "monitoring"]),
    ("/linux/memoryPolicy", &["modes", "flags"]),
    ("/linux/mountExtensions", &["idmap"]),
];

fn the_output_has_the_keys_of_the_specification() {
    let text = output();
    let features: Value = serde_json::from_str(&text).unwrap();
    for (pointer, known) in KEYS {
        let Some(object) = features.pointer(pointer) else {
            continue;
        };
        let object = object.as_object().unwrap();
        let unknown = object.keys().find(|key| !known.contains(&key.as_str()));
        assert_eq!(unknown, None, "in {pointer}");
        let depth = 4 * (1 + pointer.matches('/').count());
        let line = |key: &str| format!("\n{:depth$}\"{key}\": ", "");
        let start = pointer.rsplit('/').next().unwrap_or_default();
        let start = text.find(&format!("\"{start}\": {{")).unwrap_or_default();
        let present = known.iter().filter(|key| object.contains_key(**key));
        let positions: Vec<_> = present.map(|key| text[start..].find(&line(key))).collect();
        assert!(
            positions.iter().all(Option::is_some) && positions.is_sorted(),
            "{pointer}: {text}"
        );
    }
    assert!(
        text.starts_with("{\n    \"ociVersionMin\"") && text.ends_with("\n}\n"),
        "{text}"
    );
    for list in ["/hooks", "/linux/namespaces"] {
        assert!(features.pointer(list).unwrap().is_array(), "{list}");
    }
    for list in ["/mountOptions", "/linux/namespaces"] {
        let names = names(&features, list);
        assert!(names.is_sorted() && !names.is_empty(), "{names:?}");
    }
    for name in names(&features, "/linux/capabilities") {
        let rest = name.strip_prefix("CAP_").unwrap();
        assert!(
            rest.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "{name}"
        );
    }
    for flag in [
        "cgroup/v1",
        "cgroup/v2",
        "seccomp/enabled",
        "apparmor/enabled",
        "selinux/enabled",
    ] {
        let value = features.pointer(&format!("/linux/{flag}"));
        assert!(value.is_some_and(Value::is_boolean), "{flag}");
    }
    let annotations = features["annotations"].as_object().unwrap();
    assert!(
        annotations.values().all(Value::is_string),
        "{annotations:?}"
    );
    Runtime::new()
        .call(&["features", "x"])
        .run()
        .assert_refused("");
}

fn the_minimum_and_the_maximum_version_are_accepted() {
    let features = features();
    for key in ["ociVersionMin", "ociVersionMax"] {
        let bundle = idle().set("/ociVersion", features[key].clone());
        bundle.run().assert_ok();
    }
}

/// Every hook creates a file with its name in the bundle, or in the root file system if it runs in the
/// container.
fn each_hook_runs() {
    let listed = names(&features(), "/hooks");
    for name in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        let bundle = idle().writable();
        let file = match name {
            "startContainer" => "/ran".into(),
            _ => bundle.path().join("ran").display().to_string(),
        };
        let script = format!("echo {name} > {file}");
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        let bundle = bundle.set(&format!("/hooks/{name}"), hook);
        if !listed.contains(&name.to_owned()) {
            bundle
                .run()
                .assert_refused(&format!("hooks.{name}: not applied"));
            continue;
        }
        bundle.run().assert_ok();
        let ran = ["ran", "rootfs/ran"].map(|path| fs::read_to_string(bundle.path().join(path)));
        let ran = ran.into_iter().find_map(Result::ok).unwrap_or_default();
        assert_eq!(ran, format!("{name}\n"));
    }
}

fn each_namespace_is_created() {
    let listed = names(&features(), "/linux/namespaces");
    for kind in [
        "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
    ] {
        let mut bundle = Bundle::new().namespace(kind, None);
        if kind == "user" {
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            bundle = bundle
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
        }
        if listed.contains(&kind.to_owned()) {
            let link = match kind {
                "network" => "net",
                "mount" => "mnt",
                kind => kind,
            };
            let own = bundle.probe().namespace(link);
            assert!(own.starts_with(&format!("{link}:[")), "{kind}: {own:?}");
            assert_ne!(own, namespace_of("self", link), "{kind}");
        } else {
            bundle.run().assert_refused(kind);
        }
    }
}

/// The capabilities are in numerical order. Those that the host does not have are omitted with a warning.
fn each_capability_is_granted() {
    let listed = names(&features(), "/linux/capabilities");
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    let own = u64::from_str_radix(own.trim(), 16).unwrap();
    let numbered = listed.iter().enumerate();
    let grantable = numbered.filter(|(number, _)| own >> number & 1 == 1);
    let grantable: Vec<&String> = grantable.map(|(_, name)| name).collect();
    let bundle = Bundle::new().set("/process/capabilities", json!({ "bounding": listed }));
    let call = bundle.probe_call(&[], &[]).run().assert_ok();
    assert!(!call.stderr.contains("unknown"), "{call}");
    let seen: Value = serde_json::from_str(&call.stdout).unwrap();
    assert_eq!(seen["capabilities"]["bounding"], json!(grantable));
}

fn each_cgroup_version_is_supported() {
    let features = features();
    if !on_v2() && is_on(&features, "/linux/cgroup/v1") {
        let bundle = Bundle::new().args(&["/probe", "sleep"]);
        let pid = bundle.create().pid();
        assert_eq!(
            cgroup_of(pid, "memory"),
            cgroup_top("memory").join(bundle.id())
        );
    }
    if is_on(&features, "/linux/cgroup/v2") {
        let runtime = Runtime::new().view(View::V2);
        let bundle = Bundle::with_runtime(&runtime).args(&["/probe", "sleep"]);
        let bundle = bundle.remove("/linux/resources");
        let pid = bundle.create().pid();
        assert_eq!(cgroup_of(pid, ""), cgroup_top("").join(bundle.id()));
    }
}

/// The items of `linux`, each with a field that it stands for, and a word of the error on a host without it.
fn linux_fields() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let label = json!("system_u:system_r:container_t:s0");
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let mount = json!({
        "destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["bind"],
        "uidMappings": map, "gidMappings": map,
    });
    let allow = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let (rdma, rdt) = (json!({ "mlx5": { "hcaHandles": 1 } }), "/linux/intelRdt");
    let default = json!({ "mode": "MPOL_DEFAULT" });
    let schemata = json!({ "schemata": ["L3:0=1"] });
    let monitoring = json!({ "enableMonitoring": true });
    vec![
        ("cgroup/rdma", "/linux/resources/rdma", rdma, "rdma"),
        ("seccomp/enabled", "/linux/seccomp", allow, ""),
        (
            "apparmor/enabled",
            "/process/apparmorProfile",
            json!("unconfined"),
            "AppArmor",
        ),
        (
            "selinux/enabled",
            "/process/selinuxLabel",
            label.clone(),
            "selinux",
        ),
        ("selinux/enabled", "/linux/mountLabel", label, "selinux"),
        (
            "intelRdt/enabled",
            rdt,
            json!({ "closID": "suite" }),
            "resctrl",
        ),
        ("intelRdt/schemata", rdt, schemata, "resctrl"),
        ("intelRdt/monitoring", rdt, monitoring, "resctrl"),
        ("mountExtensions/idmap/enabled", "/mounts/-", mount, ""),
        (
            "netDevices/enabled",
            "/linux/netDevices",
            json!({ "nosuch0": {} }),
            "nosuch0",
        ),
        ("memoryPolicy", "/linux/memoryPolicy", default, ""),
    ]
}

/// A feature is `enabled` if its fields are applied, or refused because of the host.
fn each_enabled_feature_is_applied() {
    only_rt("other runtimes ignore fields that they do not apply");
    let features = features();
    for (item, pointer, value, of_host) in linux_fields() {
        let listed = features.pointer(&format!("/linux/{item}"));
        assert!(listed.is_some_and(|value| *value != json!(false)), "{item}");
        let outcome = idle().set(pointer, value).run();
        let refused = !of_host.is_empty() && outcome.stderr.contains(of_host);
        assert!(outcome.code() == 0 || refused, "{item}: {outcome}");
    }
}

fn annotations_with_an_effect_are_listed() {
    only_rt("the annotations are those of rt");
    let features = features();
    for mut name in names(&features, "/potentiallyUnsafeConfigAnnotations") {
        // A prefix stands for all names that begin with it.
        if name == "org.systemd.property." {
            continue; // It has an effect with systemd only: tests/suite/systemd.
        }
        if name == "rt." {
            name.push_str("init");
        }
        let bundle = idle().set("/annotations", json!({ &name: "nonsense" }));
        bundle.run().assert_refused(&name);
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(features["annotations"]["rt.version"], version);
}
