//! config-linux.md: sysctls, paths that are masked or read-only, propagation of the root, and the personality.

use std::fs;

use serde_json::json;

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        sysctls_are_set,
        masked_files_cannot_be_read,
        masked_directories_are_empty,
        a_masked_path_that_is_absent_is_ignored,
        a_relative_masked_path_is_an_error,
        readonly_files_cannot_be_written,
        readonly_directories_cannot_be_written,
        a_readonly_path_that_is_absent_is_ignored,
        a_relative_readonly_path_is_an_error,
        a_shared_root_is_shared,
        a_slave_root_is_a_slave,
        a_private_root_is_private,
        an_unbindable_root_is_unbindable,
        the_personality_has_the_domain,
        only_standard_streams_are_open,
    ]
}

/// "sysctl (object, OPTIONAL) allows kernel parameters to be modified at runtime for the container."
fn sysctls_are_set() {
    let sysctls = json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "17"});
    let own = fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap();
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max";
    let outcome = Bundle::new()
        .set("/linux/sysctl", sysctls)
        .sh(script)
        .run()
        .assert_ok();
    assert_eq!(outcome.stdout, "1\n1\n17\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap(),
        own
    );
}

fn masking(paths: &[&str]) -> Bundle {
    Bundle::new()
        .file("secret/file", "content")
        .file("secret/inner/file", "content")
        .set("/linux/maskedPaths", json!(paths))
}

/// "maskedPaths (array of strings, OPTIONAL) will mask over the provided paths inside the container so that they cannot be
/// read."
fn masked_files_cannot_be_read() {
    let bundle =
        masking(&["/secret/file", "/secret/inner/file"]).sh("cat /secret/file /secret/inner/file");
    assert_eq!(bundle.run().stdout, "");
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("secret/file")).unwrap(),
        "content"
    );
}

fn masked_directories_are_empty() {
    let bundle = masking(&["/secret/inner"])
        .sh("ls -A /secret/inner; cat /secret/inner/file; cat /secret/file");
    assert_eq!(bundle.run().stdout, "content");
}

fn a_masked_path_that_is_absent_is_ignored() {
    masking(&["/secret/absent", "/proc/absent"])
        .sh("exit 0")
        .run()
        .assert_ok();
}

/// "The values MUST be absolute paths in the container namespace."
fn a_relative_masked_path_is_an_error() {
    violates(Kind::Runc, "takes it as relative to the root");
    violates(Kind::Crun, "takes it as relative to the root");
    assert_error(masking(&["secret/file"]));
}

fn protecting(paths: &[&str]) -> Bundle {
    Bundle::new()
        .writable()
        .file("kept/file", "content")
        .file("kept/inner/file", "content")
        .set("/linux/readonlyPaths", json!(paths))
}

/// "readonlyPaths (array of strings, OPTIONAL) will set the provided paths as readonly inside the container."
fn readonly_files_cannot_be_written() {
    let bundle = protecting(&["/kept/file"]).sh("echo a >/kept/inner/file; echo a >/kept/file");
    assert_ne!(bundle.run().code(), 0);
    let read = |path: &str| fs::read_to_string(bundle.rootfs().join(path)).unwrap();
    assert_eq!(
        (read("kept/file").as_str(), read("kept/inner/file").as_str()),
        ("content", "a\n")
    );
}

fn readonly_directories_cannot_be_written() {
    let script = "echo a >/kept/inner/file; touch /kept/new; rm /kept/file; mkdir /kept/inner/new; cat /kept/inner/file";
    let bundle = protecting(&["/kept"]).sh(script);
    assert_eq!(bundle.run().assert_ok().stdout, "content");
    let names = fs::read_dir(bundle.rootfs().join("kept")).unwrap().count();
    assert_eq!(names, 2, "file and inner");
}

fn a_readonly_path_that_is_absent_is_ignored() {
    protecting(&["/kept/absent", "/proc/absent"])
        .sh("exit 0")
        .run()
        .assert_ok();
}

/// "The values MUST be absolute paths in the container namespace."
fn a_relative_readonly_path_is_an_error() {
    violates(Kind::Runc, "takes it as relative to the root");
    violates(Kind::Crun, "takes it as relative to the root");
    assert_error(protecting(&["kept/file"]));
}

/// "rootfsPropagation (string, OPTIONAL) sets the rootfs's mount propagation": how mountinfo's text of `/` begins.
#[track_caller]
fn propagation(value: &str) -> String {
    let bundle = Bundle::new().set("/linux/rootfsPropagation", json!(value));
    bundle.probe().mount("/").propagation()
}

fn a_shared_root_is_shared() {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = table
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    if !root.is_some_and(|line| line.contains(" shared:")) {
        violates(
            Kind::Runc,
            "makes it private again, because the host's root is",
        );
    }
    assert!(propagation("shared").starts_with("shared:"));
}

fn a_slave_root_is_a_slave() {
    let seen = propagation("slave");
    // Without a peer on the host there is none to be a slave of.
    assert!(seen.is_empty() || seen.starts_with("master:"), "{seen}");
}

fn a_private_root_is_private() {
    assert_eq!(propagation("private"), "");
}

fn an_unbindable_root_is_unbindable() {
    violates(
        Kind::Runc,
        "makes it unbindable before it binds it, which fails",
    );
    assert_eq!(propagation("unbindable"), "unbindable");
}

/// "domain (string, REQUIRED) - the execution domain", in the number of personality(2).
fn the_personality_has_the_domain() {
    violates(Kind::Runc, "Debian's is older than this property");
    for (domain, number) in [("LINUX", "00000000"), ("LINUX32", "00000008")] {
        let bundle = Bundle::new().set("/linux/personality", json!({"domain": domain}));
        assert_eq!(bundle.probe()["personality"], number, "{domain}");
    }
}

/// runtime-linux.md, "File descriptors": "By default, only the stdin, stdout and stderr file descriptors are kept open for
/// the application by the runtime."
fn only_standard_streams_are_open() {
    Bundle::new().probe().assert_only_stdio();
}
