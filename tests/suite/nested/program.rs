//! The file of an `rt` that runs in a container: no container in it may write to that file (CVE-2019-5736).

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, Runtime, trials};

use super::{inner, outer, outer_of_root, with_capability};

pub(super) fn tests() -> Vec<Test> {
    trials![
        rt_in_the_image_is_not_writable_from_a_container_in_it,
        rt_on_a_readonly_bind_mount_is_not_writable_from_a_container_in_it,
        rt_on_an_overlay_is_not_writable_from_a_container_in_it,
        rt_on_a_tmpfs_is_not_writable_from_a_container_in_it,
    ]
}

/// Creates a container with the `rt` at `program`. Its init still executes `rt`, and can be seen from the outer
/// container and from the host.
fn check(bundle: Bundle, program: &str) {
    // An attacker with more rights than any container of the example.
    let bundle = with_capability(inner(bundle, "bundle", &["true"]), "CAP_SYS_PTRACE");
    let script = format!(
        "set -e; busybox cp /bin/rt /run/rt-copy; {program} create --pid-file /run/pid -b /bundle c1
         exe=/proc/$(cat /run/pid)/exe; readlink $exe; before=$(stat -L -c %s $exe)
         if (echo > $exe) 2> /run/refusal; then echo written; fi
         cat /run/refusal; [ $before = $(stat -L -c %s $exe) ]
         echo ready; exec sleep 1000"
    );
    let bundle = bundle.sh(&script);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let said = container.wait_for("ready");
    assert!(!said.contains("written"), "{said}");
    // ETXTBSY alone would protect the file only as long as a process executes it.
    let is_copy = said.contains("/memfd:rt") && said.contains("Text file busy");
    assert!(is_copy || said.contains("Read-only file system"), "{said}");
    container.end();
    before.assert_unchanged(&bundle);
}

fn of_both() -> [Bundle; 2] {
    [outer(&Runtime::new()), outer_of_root(&Runtime::new())]
}

fn rt_in_the_image_is_not_writable_from_a_container_in_it() {
    for bundle in of_both() {
        check(bundle.writable(), "/bin/rt");
    }
}

fn rt_on_a_readonly_bind_mount_is_not_writable_from_a_container_in_it() {
    for bundle in of_both() {
        let program = bundle.runtime().program();
        let bundle = bundle
            .file("mnt/rt", "")
            .bind(&program, "/mnt/rt", &["bind", "ro"]);
        check(bundle, "/mnt/rt");
    }
}

fn rt_on_an_overlay_is_not_writable_from_a_container_in_it() {
    for bundle in of_both() {
        let bundle = bundle.set("/annotations/rt.rootfs.overlay", json!("ephemeral"));
        check(bundle.writable(), "/bin/rt");
    }
}

fn rt_on_a_tmpfs_is_not_writable_from_a_container_in_it() {
    for bundle in of_both() {
        check(bundle, "/run/rt-copy");
    }
}
