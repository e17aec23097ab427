//! config.md, "Mounts".

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::common::{assert_error, tmpfs};
use crate::harness::{Bundle, Directory, Kind, trials, violates};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        they_are_made_in_the_listed_order,
        a_relative_destination_is_below_the_root,
        a_relative_source_is_below_the_bundle,
        the_type_and_the_source_are_those_of_the_config,
        file_system_options_are_passed_on,
        uid_mappings_without_gid_mappings_are_an_error,
        gid_mappings_without_uid_mappings_are_an_error,
    ]
}

/// "The runtime MUST mount entries in the listed order."
fn they_are_made_in_the_listed_order() {
    let bundle = Bundle::new()
        .mount(tmpfs("/tmp", &[]))
        .mount(tmpfs("/tmp/inner", &[]));
    assert!(bundle.probe().has_mount("/tmp/inner"));
    let bundle = Bundle::new()
        .folder("tmp/inner")
        .mount(tmpfs("/tmp/inner", &[]))
        .mount(tmpfs("/tmp", &[]));
    bundle.sh("test ! -e /tmp/inner").run().assert_ok();
}

/// "a relative path … MUST be interpreted as relative to '/'"
fn a_relative_destination_is_below_the_root() {
    let bundle = Bundle::new().mount(tmpfs("tmp", &[]));
    assert!(bundle.probe().has_mount("/tmp"));
}

/// source: "Path values for bind mounts are either absolute or relative to the bundle."
fn a_relative_source_is_below_the_bundle() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.path().join("volume")).unwrap();
    fs::write(bundle.path().join("volume/file"), "of the bundle").unwrap();
    let bundle = bundle.bind("volume".as_ref(), "/tmp", &["bind"]);
    let outcome = bundle.sh("cat /tmp/file").run().assert_ok();
    assert_eq!(outcome.stdout, "of the bundle");
}

/// "destination (string, REQUIRED) Destination of mount point: path inside container", with `type` and `source`.
fn the_type_and_the_source_are_those_of_the_config() {
    let mount = json!({"destination": "/tmp", "type": "tmpfs", "source": "named"});
    let seen = Bundle::new().mount(mount).probe().mount("/tmp");
    assert_eq!((seen.kind(), seen.source()), ("tmpfs", "named"));
    let mount = json!({"destination": "/tmp", "type": "ramfs", "source": "ramfs"});
    let seen = Bundle::new().mount(mount).probe().mount("/tmp");
    assert_eq!(seen.kind(), "ramfs");
}

/// "If a runtime doesn't recognise an option, it SHOULD be passed to the filesystem", as mount(8) does.
fn file_system_options_are_passed_on() {
    let bundle = Bundle::new().mount(tmpfs("/tmp", &["size=1m", "mode=0711", "nr_inodes=100"]));
    let seen = bundle.probe().mount("/tmp");
    seen.assert_options(&["size=1024k", "mode=711", "nr_inodes=100"]);
}

const MAPPINGS: &str = r#"[{"containerID": 0, "hostID": 1000, "size": 10}]"#;

/// A bind mount with one of the two kinds of mappings.
fn half_mapped(member: &str) -> (Directory, Bundle) {
    let source = Directory::new();
    let mut mount = json!({
        "destination": "/tmp", "type": "bind", "source": source.path(), "options": ["bind"],
    });
    mount[member] = serde_json::from_str::<Value>(MAPPINGS).unwrap();
    (source, Bundle::new().mount(mount))
}

/// uidMappings: "If specified, it MUST be specified along with gidMappings."
fn uid_mappings_without_gid_mappings_are_an_error() {
    let (_source, bundle) = half_mapped("uidMappings");
    violates(
        Kind::Runc,
        "Debian's is older than this property and ignores it",
    );
    assert_error(bundle);
}

/// gidMappings: "If specified, it MUST be specified along with uidMappings."
fn gid_mappings_without_uid_mappings_are_an_error() {
    let (_source, bundle) = half_mapped("gidMappings");
    violates(
        Kind::Runc,
        "Debian's is older than this property and ignores it",
    );
    assert_error(bundle);
}
