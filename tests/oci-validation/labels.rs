//! config.md, "Linux Process", and config-linux.md, "Mount Label": labels of SELinux on a host without SELinux.

use serde_json::json;

use crate::common::assert_error;
use crate::harness::{Bundle, Kind, skip, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_process_label_without_selinux_is_an_error,
        a_mount_label_without_selinux_is_an_error,
    ]
}

const LABEL: &str = "system_u:system_r:svirt_lxc_net_t:s0:c124,c675";

fn needs_no_selinux() {
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        skip("SELinux is on here");
    }
}

/// runtime.md, "Create": "If the runtime cannot apply a property as specified in the configuration, it MUST generate an
/// error", for `process.selinuxLabel`.
fn a_process_label_without_selinux_is_an_error() {
    needs_no_selinux();
    assert_error(Bundle::new().set("/process/selinuxLabel", json!(LABEL)));
}

/// The same for `linux.mountLabel`.
fn a_mount_label_without_selinux_is_an_error() {
    violates(Kind::Crun, "ignores it");
    needs_no_selinux();
    assert_error(Bundle::new().set("/linux/mountLabel", json!(LABEL)));
}
