//! config-linux.md, "Namespaces", "User namespace mappings" and "Offset for Time Namespace".

use serde_json::json;

use crate::common::{FIRST, Known, assert_error, expect_known, mapped, sleeper};
use crate::harness::{Bundle, Holder, Kind, namespace_of, skip, test, trials, violates};
use crate::runner::Test;
/// What a test does for one of them.
type Check = fn(&Type);

pub(crate) fn tests() -> Vec<Test> {
    let checks: [(&str, Check); 4] = [
        ("new", a_new_one_is_made),
        ("joined", the_one_at_the_path_is_joined),
        ("inherited", without_an_entry_it_is_inherited),
        ("mismatched", a_path_of_another_type_is_an_error),
    ];
    let of_check = |(name, check): (&'static str, Check)| {
        TYPES.iter().map(move |kind| {
            let full = format!("{name}::{}", kind.name);
            test(format!("namespaces::{full}"), move || {
                expect_known(&full, RUNC, CRUN);
                check(kind);
            })
        })
    };
    let others = trials![
        a_relative_path_is_an_error,
        a_duplicate_is_an_error,
        an_id_of_the_host_is_seen_by_its_id_in_the_container,
        the_mappings_are_those_of_the_config,
        the_clocks_have_their_offsets,
        offsets_without_a_time_namespace_are_an_error,
    ];
    checks
        .into_iter()
        .flat_map(of_check)
        .chain(others)
        .collect()
}

const RUNC: Known = &[
    ("new::time", "Debian's is older than time namespaces"),
    ("joined::time", "Debian's is older than time namespaces"),
    (
        "joined::user",
        "wants mappings for a namespace that has some",
    ),
];
const CRUN: Known = &[
    ("inherited::mount", "makes one of its own"),
    ("new::time", "Debian's loses its own process"),
    ("joined::time", "Debian's loses its own process"),
];

/// A type of namespace.
struct Type {
    /// In the configuration.
    name: &'static str,
    /// In /proc/PID/ns.
    file: &'static str,
    /// The options of unshare(1) for a process in a new one.
    unshare: &'static [&'static str],
}

const TYPES: [Type; 8] = [
    Type {
        name: "pid",
        file: "pid",
        unshare: &["--pid", "--fork"],
    },
    Type {
        name: "network",
        file: "net",
        unshare: &["--net"],
    },
    Type {
        name: "mount",
        file: "mnt",
        unshare: &["--mount"],
    },
    Type {
        name: "ipc",
        file: "ipc",
        unshare: &["--ipc"],
    },
    Type {
        name: "uts",
        file: "uts",
        unshare: &["--uts"],
    },
    Type {
        name: "user",
        file: "user",
        unshare: &["--user"],
    },
    Type {
        name: "cgroup",
        file: "cgroup",
        unshare: &["--cgroup"],
    },
    Type {
        name: "time",
        file: "time",
        unshare: &["--time", "--fork"],
    },
];

/// The namespace of the process of a created container.
#[track_caller]
fn seen(bundle: &Bundle, kind: &Type) -> String {
    let container = bundle.create();
    let seen = namespace_of(&container.pid().to_string(), kind.file);
    container.end();
    seen
}

/// "If path is not specified, the runtime MUST create a new container namespace of type type."
fn a_new_one_is_made(kind: &Type) {
    let bundle = match kind.name {
        "user" => mapped(sleeper()),
        name => sleeper().namespace(name, None),
    };
    let (one, other) = (seen(&bundle, kind), seen(&bundle, kind));
    assert_ne!(one, namespace_of("self", kind.file));
    assert!(one.starts_with(kind.file), "{one}");
    // The second container has one of its own, though the kernel may use the number again.
    assert_ne!(other, namespace_of("self", kind.file));
}

/// "The runtime MUST place the container process in the namespace associated with that path."
fn the_one_at_the_path_is_joined(kind: &Type) {
    if kind.name == "mount" {
        skip(
            "the specification leaves open what root.path and mounts mean in a mount namespace that is joined",
        );
    }
    let holder = match kind.name {
        "user" => {
            let ids = format!("0 {FIRST} 65536");
            Holder::with_maps(kind.unshare, &ids, &ids)
        }
        _ => Holder::new(kind.unshare),
    };
    let bundle = sleeper().namespace(kind.name, Some(&holder.path(kind.file)));
    assert_eq!(seen(&bundle, kind), holder.namespace(kind.file));
}

/// "If a namespace type is not specified in the namespaces array, the container MUST inherit the runtime namespace of that
/// type."
fn without_an_entry_it_is_inherited(kind: &Type) {
    let bundle = match kind.name {
        "uts" => sleeper().without_namespace("uts").remove("/hostname"),
        "network" => sleeper()
            .without_namespace("network")
            .without_mount("/sys")
            .without_mount("/sys/fs/cgroup"),
        "ipc" => sleeper()
            .without_namespace("ipc")
            .without_mount("/dev/mqueue"),
        "mount" => sleeper()
            .without_namespace("mount")
            .writable()
            .set("/mounts", json!([]))
            .remove("/linux/maskedPaths")
            .remove("/linux/readonlyPaths"),
        name => sleeper().without_namespace(name),
    };
    if kind.name == "mount" {
        // Runtimes look for their own descriptors in /proc, and none may be mounted on the host.
        let (proc, none) = (bundle.rootfs().join("proc"), None::<&str>);
        nix::mount::mount(
            Some("proc"),
            &proc,
            Some("proc"),
            nix::mount::MsFlags::empty(),
            none,
        )
        .unwrap();
    }
    assert_eq!(seen(&bundle, kind), namespace_of("self", kind.file));
}

/// "The runtime MUST generate an error if path is not associated with a namespace of type type."
fn a_path_of_another_type_is_an_error(kind: &Type) {
    let other = if kind.name == "ipc" { "uts" } else { "ipc" };
    let path = format!("/proc/self/ns/{other}");
    assert_error(Bundle::new().namespace(kind.name, Some(&path)));
}

/// path: "This value MUST be an absolute path in the runtime mount namespace."
fn a_relative_path_is_an_error() {
    assert_error(Bundle::new().namespace("network", Some("proc/self/ns/net")));
}

/// "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error."
fn a_duplicate_is_an_error() {
    violates(Kind::Crun, "has no such check");
    assert_error(Bundle::new().set("/linux/namespaces/-", json!({"type": "uts"})));
}

/// "hostID (uint32, REQUIRED) - is the starting uid/gid on the host to be mapped to containerID."
fn an_id_of_the_host_is_seen_by_its_id_in_the_container() {
    let volume = crate::harness::Directory::new();
    std::fs::write(volume.join("file"), "").unwrap();
    std::os::unix::fs::chown(volume.join("file"), Some(FIRST + 12), Some(FIRST + 13)).unwrap();
    let bundle = mapped(Bundle::new()).bind(volume.path(), "/tmp", &["bind"]);
    let outcome = bundle.sh("stat -c %u:%g /tmp/file").run().assert_ok();
    assert_eq!(outcome.stdout, "12:13\n");
}

/// "containerID … is the starting uid/gid in the container", "size … is the number of ids to be mapped."
fn the_mappings_are_those_of_the_config() {
    let entry = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
    let bundle = Bundle::new()
        .namespace("user", None)
        .set(
            "/linux/uidMappings",
            json!([entry(0, 100_000, 10), entry(20, 200_000, 5)]),
        )
        .set("/linux/gidMappings", json!([entry(0, 300_000, 30)]));
    let seen = bundle.probe();
    let numbers = |map: &str| {
        let lines = seen[map]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap());
        let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(numbers("uid_map"), ["0 100000 10", "20 200000 5"]);
    assert_eq!(numbers("gid_map"), ["0 300000 30"]);
}

/// "timeOffsets (object, OPTIONAL) sets the offset for Time Namespace."
fn the_clocks_have_their_offsets() {
    older_than_time();
    let offsets =
        json!({"monotonic": {"secs": 172_800}, "boottime": {"secs": 604_800, "nanosecs": 5}});
    let bundle = Bundle::new()
        .namespace("time", None)
        .set("/linux/timeOffsets", offsets);
    let bundle = bundle.sh("cat /proc/self/timens_offsets");
    let outcome = bundle.run().assert_ok();
    let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        ["monotonic", "172800", "0", "boottime", "604800", "5"]
    );
}

fn offsets_without_a_time_namespace_are_an_error() {
    older_than_time();
    let offsets = json!({"monotonic": {"secs": 100}});
    assert_error(Bundle::new().set("/linux/timeOffsets", offsets));
}

fn older_than_time() {
    violates(Kind::Runc, "Debian's is older than time namespaces");
    violates(Kind::Crun, "Debian's is older than time namespaces");
}
