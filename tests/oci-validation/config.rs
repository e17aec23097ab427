//! config.md: requirements for the configuration as a whole, the root, and names.

use crate::runner::Test;
use serde_json::{Value, json};

use crate::common::{Known, assert_error, assert_error_with_its_args, expect_known};
use crate::harness::{Bundle, Kind, test, trials, violates};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_versions_of_the_specification_are_accepted,
        a_version_that_is_not_semantic_is_an_error,
        unknown_properties_are_ignored,
        unknown_annotations_are_ignored,
        annotation_values_other_than_strings_are_errors,
        the_root_path_may_be_relative_or_absolute,
        a_missing_root_directory_is_an_error,
        a_readonly_root_is_read_only,
        console_size_without_a_terminal_is_ignored,
        the_hostname_is_set,
        the_domainname_is_set,
        a_hostname_needs_no_domainname,
    ]
    .into_iter()
    .chain(invalid_values())
    .collect()
}

/// "ociVersion (string, REQUIRED) MUST be in SemVer v2.0.0 format", and is of a known version.
fn the_versions_of_the_specification_are_accepted() {
    violates(Kind::Crun, "takes versions of 1.0 alone");
    for version in ["1.0.0", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0+build.5"] {
        let bundle = Bundle::new()
            .set("/ociVersion", json!(version))
            .sh("exit 7");
        bundle.run().assert_code(7);
    }
}

fn a_version_that_is_not_semantic_is_an_error() {
    violates(Kind::Runc, "does not read the version");
    violates(Kind::Crun, "checks only how the version starts");
    for version in [
        "",
        "1",
        "1.0",
        "1.0.x",
        "one",
        "1.0.0-01",
        "01.0.0",
        "1.0.0-",
        "1.0.0-a..b",
    ] {
        assert_error(Bundle::new().set("/ociVersion", json!(version)));
    }
}

/// "Runtimes MAY log unknown properties but MUST otherwise ignore them."
fn unknown_properties_are_ignored() {
    let bundle = Bundle::new()
        .set("/colour", json!({"red": 1}))
        .set("/process/colour", json!(["blue"]))
        .set("/linux/colour", json!("green"))
        .set("/mounts/0/colour", json!(7))
        .set("/linux/resources/colour", json!(true));
    bundle.sh("exit 0").run().assert_ok();
}

/// "Runtimes MUST handle unknown annotation keys like any other unknown property."
fn unknown_annotations_are_ignored() {
    let annotations = json!({"org.example.unheard-of": "x", "a": ""});
    let bundle = Bundle::new().set("/annotations", annotations);
    bundle.sh("exit 0").run().assert_ok();
}

/// Annotations: "Values MUST be strings."
fn annotation_values_other_than_strings_are_errors() {
    assert_error(Bundle::new().set("/annotations", json!({"org.example.number": 1})));
}

/// path: "A directory MUST exist at the path declared by the field."
fn a_missing_root_directory_is_an_error() {
    assert_error(Bundle::new().set("/root/path", json!("missing")));
}

fn the_root_path_may_be_relative_or_absolute() {
    let bundle = Bundle::new().sh("exit 2");
    bundle.run().assert_code(2);
    let absolute = bundle.rootfs();
    bundle
        .set("/root/path", json!(absolute))
        .run()
        .assert_code(2);
}

/// "If true then the root filesystem MUST be read-only inside the container"
fn a_readonly_root_is_read_only() {
    let readonly = Bundle::new().sh("touch /file");
    assert_ne!(readonly.run().code(), 0);
    assert!(!readonly.rootfs().join("file").exists());
    let writable = Bundle::new().writable().sh("touch /file");
    writable.run().assert_ok();
    assert!(writable.rootfs().join("file").exists());
}

/// "Runtimes MUST ignore consoleSize if terminal is false or unset."
fn console_size_without_a_terminal_is_ignored() {
    let size = json!({"height": 5, "width": 7});
    let bundle = Bundle::new().set("/process/consoleSize", size);
    bundle.sh("exit 0").run().assert_ok();
}

/// "hostname (string, OPTIONAL) specifies the container's hostname as seen by processes running inside the container."
fn the_hostname_is_set() {
    assert_eq!(
        Bundle::new().hostname("validation").probe()["hostname"],
        "validation"
    );
}

/// "domainname (string, OPTIONAL) specifies the container's domainname as seen by processes running inside the
/// container."
fn the_domainname_is_set() {
    violates(Kind::Runc, "Debian's is older than this property");
    let bundle = Bundle::new().set("/domainname", json!("example.org"));
    assert_eq!(bundle.probe()["domainname"], "example.org");
}

fn a_hostname_needs_no_domainname() {
    assert_eq!(Bundle::new().hostname("a.b-c").probe()["hostname"], "a.b-c");
}

/// "Runtimes MUST generate an error when invalid or unsupported values are encountered."
fn invalid_values() -> Vec<Test> {
    let values = [
        ("annotations", json!(["a=b"])),
        ("root", json!("rootfs")),
        ("root.path", json!(5)),
        ("hostname", json!(["a"])),
        ("process", json!(true)),
        ("process.args", json!("sh")),
        ("process.env", json!({"A": "b"})),
        ("process.cwd", json!(0)),
        ("process.user.uid", json!("root")),
        ("process.user.gid", json!(-1)),
        ("process.terminal", json!("no")),
        ("process.noNewPrivileges", json!(1)),
        ("process.oomScoreAdj", json!(100_000)),
        (
            "process.ioPriority",
            json!({"class": "IOPRIO_CLASS_UNHEARD_OF", "priority": 1}),
        ),
        ("mounts", json!({"destination": "/tmp"})),
        ("mounts.0.options", json!("ro")),
        ("hooks", json!([])),
        ("linux.namespaces", json!([{"type": "unheard-of"}])),
        (
            "linux.devices",
            json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]),
        ),
        ("linux.rootfsPropagation", json!("unheard-of")),
        ("linux.sysctl", json!({"net.ipv4.ip_forward": ["1"]})),
        ("linux.maskedPaths", json!("/proc/kcore")),
        ("linux.personality", json!({"domain": "UNHEARD_OF"})),
        ("linux.resources.pids.limit", json!("many")),
        (
            "linux.resources.devices",
            json!([{"allow": true, "type": "x", "access": "r"}]),
        ),
        (
            "linux.seccomp",
            json!({"defaultAction": "SCMP_ACT_UNHEARD_OF"}),
        ),
    ];
    let test_of = |(place, value): (&'static str, Value)| {
        test(format!("config::invalid::{place}"), move || {
            expect_known(place, RUNC, CRUN);
            let pointer = format!("/{}", place.replace('.', "/"));
            let bundle = Bundle::new()
                .sh("echo executed")
                .set(&pointer, value.clone());
            assert_error_with_its_args(&bundle);
        })
    };
    values.into_iter().map(test_of).collect()
}

/// What runc accepts.
const RUNC: Known = &[
    ("process.ioPriority", "Debian's is older than this property"),
    ("linux.personality", "Debian's is older than this property"),
];

/// What crun accepts.
const CRUN: Known = &[
    ("annotations", "ignores a value of another type"),
    ("hostname", "ignores a value of another type"),
    ("process.env", "ignores a value of another type"),
    ("process.user.uid", "takes 0 for a value of another type"),
    (
        "process.terminal",
        "takes false for a value of another type",
    ),
    (
        "process.noNewPrivileges",
        "takes false for a value of another type",
    ),
    ("process.ioPriority", "Debian's is older than this property"),
    ("mounts.0.options", "ignores a value of another type"),
    ("hooks", "ignores a value of another type"),
    ("linux.devices", "makes a device of some type"),
    (
        "linux.rootfsPropagation",
        "takes an unknown value for the default",
    ),
    ("linux.maskedPaths", "ignores a value of another type"),
    (
        "linux.resources.pids.limit",
        "takes 0 for a value of another type",
    ),
    ("linux.resources.devices", "leaves its cgroups behind"),
];
