//! config.md, "Linux mount options" and "POSIX-platform Mounts": mounts with an id mapping.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::common::{FIRST, assert_error, mapped, needs_kernel};
use crate::harness::{Bundle, Directory, Kind, test, violates};
use crate::runner::Test;

/// What a test does for one of them.
type Check = fn(&str);

/// Each test for both options.
pub(crate) fn tests() -> Vec<Test> {
    let checks: [(&str, Check); 4] = [
        ("a_mapping_is_applied", a_mapping_is_applied),
        (
            "the_mappings_of_the_mount_are_used",
            the_mappings_of_the_mount_are_used,
        ),
        (
            "without_mappings_those_of_the_user_namespace_are_used",
            those_of_the_user_namespace,
        ),
        (
            "without_any_mappings_it_is_an_error",
            without_any_mappings_it_is_an_error,
        ),
    ];
    let options = ["idmap", "ridmap"];
    let of_option = |option: &'static str| {
        checks.map(|(name, check)| test(format!("{option}::{name}"), move || check(option)))
    };
    options.into_iter().flat_map(of_option).collect()
}

/// A tmpfs with another one below it. Each holds a file of 7:8.
fn volume() -> Directory {
    needs_kernel(6, 3, "an id-mapped mount of a tmpfs");
    let volume = Directory::new();
    for place in [volume.path(), &volume.join("below")] {
        let none = None::<&str>;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::write(place.join("file"), "").unwrap();
        chown(place.join("file"), Some(7), Some(8)).unwrap();
        fs::create_dir_all(volume.join("below")).unwrap();
    }
    volume
}

fn mount_of(volume: &Path, option: &str) -> Value {
    json!({"destination": "/tmp", "type": "bind", "source": volume, "options": ["rbind", option]})
}

/// The owners of files.
#[track_caller]
fn owners(bundle: Bundle, files: &str) -> String {
    bundle
        .sh(&format!("stat -c %u:%g {files}"))
        .run()
        .assert_ok()
        .stdout
}

fn older() {
    violates(Kind::Runc, "Debian's is older than these mounts");
}

fn has_no(option: &str) {
    if option == "ridmap" {
        violates(Kind::Crun, "Debian's is older than this option");
    }
}

fn with_mappings(volume: &Path, option: &str, first: u32) -> Bundle {
    let mut mount = mount_of(volume, option);
    let mappings = json!([{"containerID": 0, "hostID": first, "size": 1000}]);
    mount["uidMappings"] = mappings.clone();
    mount["gidMappings"] = mappings;
    Bundle::new().mount(mount)
}

/// "Indicates that the mount MUST have an idmapping applied", with ridmap "recursively".
fn a_mapping_is_applied(option: &str) {
    older();
    has_no(option);
    let volume = volume();
    let seen = |file: &str| owners(with_mappings(volume.path(), option, 3000), file);
    assert_eq!(seen("/tmp/file"), "3007:3008\n");
    if option == "ridmap" {
        assert_eq!(seen("/tmp/below/file"), "3007:3008\n");
    }
}

/// "If uidMappings or gidMappings are specified for the mount, the runtime MUST use those values for the mount's
/// mapping."
fn the_mappings_of_the_mount_are_used(option: &str) {
    older();
    let volume = volume();
    let bundle = with_mappings(volume.path(), option, FIRST + 500);
    let config = bundle.config().clone();
    let bundle = mapped(Bundle::new().with_config(config));
    assert_eq!(owners(bundle, "/tmp/file"), "507:508\n");
}

/// "If they are not specified, the runtime MAY use the container's user namespace mapping, otherwise an error MUST be
/// returned."
fn those_of_the_user_namespace(option: &str) {
    older();
    has_no(option);
    let volume = volume();
    let bundle = mapped(Bundle::new()).mount(mount_of(volume.path(), option));
    let bundle = bundle.sh("stat -c %u:%g /tmp/file");
    let outcome = bundle.run();
    if outcome.code() == 0 {
        assert_eq!(outcome.stdout, "7:8\n");
    } else {
        assert_eq!(outcome.stdout, "");
    }
}

/// "If there are no uidMappings and gidMappings specified and the container isn't using user namespaces, an error MUST be
/// returned."
fn without_any_mappings_it_is_an_error(option: &str) {
    older();
    has_no(option);
    let volume = volume();
    assert_error(Bundle::new().mount(mount_of(volume.path(), option)));
}
