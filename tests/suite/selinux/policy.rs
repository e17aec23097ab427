//! The policy of the tests, and the labels of files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::harness::{needs, skip};

const DIRECTORY: &str = "/sys/fs/selinux";

/// Whether the kernel has SELinux on, with a policy or without.
pub(super) fn is_on() -> bool {
    Path::new(DIRECTORY).join("enforce").exists()
}

/// Loads the policy, unless another test has done it. The kernel cannot unload it.
pub(super) fn require_policy() {
    if !is_on() {
        skip("the security module is not on here");
    }
    needs("setfattr", "attr");
    let current = fs::read_to_string("/proc/self/attr/current").unwrap();
    match current.trim_end_matches('\0') {
        "kernel" => load(),
        "system_u:system_r:kernel_t:s0" => {}
        _ => skip("SELinux has another policy here"),
    }
}

fn load() {
    needs("secilc", "secilc");
    let files = std::env::temp_dir().join(format!("rt-selinux-{}", std::process::id()));
    fs::create_dir_all(&files).unwrap();
    let source = files.join("policy.cil");
    fs::write(&source, include_str!("policy.cil")).unwrap();
    let binary = files.join("policy");
    let mut compiler = Command::new("secilc");
    compiler.arg("--output").arg(&binary);
    let compiler = compiler.args(["--filecontext", "/dev/null"]).arg(source);
    assert!(compiler.status().unwrap().success(), "secilc");
    // The kernel takes the policy in one write(2).
    let load = fs::File::options()
        .write(true)
        .open(format!("{DIRECTORY}/load"));
    let policy = fs::read(binary).unwrap();
    let written = load.unwrap().write(&policy).unwrap();
    assert_eq!(written, policy.len());
    fs::write(format!("{DIRECTORY}/enforce"), "1").unwrap();
    fs::remove_dir_all(files).unwrap();
}

/// The label of a file.
#[track_caller]
pub(super) fn label(path: &Path) -> String {
    let mut get = Command::new("getfattr");
    get.args([
        "--no-dereference",
        "--only-values",
        "--name",
        "security.selinux",
    ]);
    let outcome = get.arg(path).output().unwrap();
    assert!(outcome.status.success(), "{path:?}: {outcome:?}");
    let label = String::from_utf8(outcome.stdout).unwrap();
    label.trim_end_matches('\0').to_owned()
}

pub(super) fn set_label(path: &Path, label: &str) {
    let mut set = Command::new("setfattr");
    set.args(["--name", "security.selinux", "--value", label]);
    assert!(set.arg(path).status().unwrap().success(), "{path:?}");
}
