//! The root file system: CRIU changes to it by its directory /tmp, or by one that it makes in the root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::{Counter, in_user_namespace};
use crate::harness::{Bundle, HostState, Kind, differs, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_read_only_root_without_tmp,
        a_read_only_root_without_tmp_in_a_user_namespace,
        a_writable_root_without_tmp_stays_so,
        a_link_at_tmp_that_stays_in_the_root,
        a_link_at_tmp_that_leads_to_the_host_is_refused,
        a_file_at_tmp_of_a_read_only_root_is_refused,
        a_read_only_file_system_without_tmp_is_refused,
        mount_points_are_made_whatever_the_umask_of_the_caller,
    ]
}

fn without_tmp(bundle: Bundle) -> Bundle {
    fs::remove_dir(tmp_of(&bundle)).unwrap();
    bundle
}

fn tmp_of(bundle: &Bundle) -> PathBuf {
    bundle.rootfs().join("tmp")
}

const NEEDS_TMP: &str = "leaves it to CRIU, which needs a directory /tmp in a read-only root";

fn a_read_only_root_without_tmp() {
    differs(Kind::Runc, NEEDS_TMP);
    let mut counter = Counter::new(without_tmp(Bundle::new()));
    counter.start();
    counter.round();
    // A second time, from what the first has made.
    counter.round();
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let script = "busybox ls -A /tmp; for at in /new /tmp/new; do echo x > $at; done";
    let seen = runtime.call(&["exec", id, "/bin/sh", "-c", script]).run();
    assert_eq!(seen.stdout, "");
    assert_eq!(seen.stderr.matches("Read-only file system").count(), 2);
}

fn a_read_only_root_without_tmp_in_a_user_namespace() {
    differs(Kind::Runc, NEEDS_TMP);
    let mut counter = Counter::new(in_user_namespace(without_tmp(Bundle::new())));
    counter.start();
    counter.round();
}

fn a_writable_root_without_tmp_stays_so() {
    let mut counter = Counter::new(without_tmp(Bundle::new().writable()));
    let before = HostState::of(&counter.bundle);
    counter.start();
    counter.round();
    counter.bundle.container().delete_force().assert_ok();
    before.assert_unchanged(&counter.bundle);
}

fn a_link_at_tmp_that_stays_in_the_root() {
    let bundle = Bundle::new().folder("var/tmp").symlink("tmp", "var/tmp");
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.round();
}

/// CRIU would mount on the directory of the host, and fail.
fn a_link_at_tmp_that_leads_to_the_host_is_refused() {
    only_rt("the texts are rt's; with runc the restore fails");
    for bundle in [Bundle::new(), Bundle::new().writable()] {
        let mut counter = Counter::new(bundle.folder("var/tmp"));
        let link = |counter: &Counter| {
            fs::remove_dir(tmp_of(&counter.bundle)).unwrap();
            std::os::unix::fs::symlink("/var/tmp", tmp_of(&counter.bundle)).unwrap();
        };
        let container = counter.start();
        link(&counter);
        let refused = counter.checkpoint(&[]).assert_code(1);
        let text = "root.path: /tmp is a link that leads out of the root; CRIU cannot restore such a container";
        assert!(refused.one_line().ends_with(text), "{refused}");
        assert!(!counter.images().exists());
        assert_eq!(container.status(), "running");
        counter.wait_for_more();

        fs::remove_file(tmp_of(&counter.bundle)).unwrap();
        fs::create_dir(tmp_of(&counter.bundle)).unwrap();
        counter.checkpoint(&[]).assert_ok();
        link(&counter);
        let before = HostState::of(&counter.bundle);
        let refused = counter.restore(&[]).assert_code(1);
        let text =
            "root.path: /tmp: is a link that leads out of the root, which CRIU cannot restore";
        assert!(refused.one_line().ends_with(text), "{refused}");
        before.assert_unchanged(&counter.bundle);
    }
}

fn a_file_at_tmp_of_a_read_only_root_is_refused() {
    only_rt("the texts are rt's; with runc the restore fails");
    let mut counter = Counter::new(without_tmp(Bundle::new()).file("tmp", ""));
    counter.start();
    let refused = counter.checkpoint(&[]).assert_code(1);
    let text = "root.readonly: /tmp is no directory; CRIU cannot restore a container with such a read-only root";
    assert!(refused.one_line().ends_with(text), "{refused}");
    counter.wait_for_more();
    // CRIU makes a directory in a writable one.
    counter.bundle.container().delete_force().assert_ok();
    let mut counter = Counter::new(without_tmp(Bundle::new().writable()).file("tmp", ""));
    counter.start();
    counter.round();
}

fn a_read_only_file_system_without_tmp_is_refused() {
    only_rt("the texts are rt's; with runc the restore fails");
    let bundle = Bundle::new();
    let root = bundle.rootfs();
    let on_root = |source: Option<&Path>, flags| {
        mount(source, &root, Some("tmpfs"), flags, None::<&str>).unwrap();
    };
    on_root(Some(Path::new("tmpfs")), MsFlags::empty());
    crate::harness::fill_rootfs(&root);
    let mut counter = Counter::new(bundle);
    let remount = |readonly| {
        let flags = if readonly {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        on_root(None, flags | MsFlags::MS_REMOUNT);
    };
    fs::remove_dir(tmp_of(&counter.bundle)).unwrap();
    remount(true);
    counter.start();
    let refused = counter.checkpoint(&[]).assert_code(1);
    let text = "root.path: has no directory /tmp, and its file system is read-only; CRIU cannot restore such a container";
    assert!(refused.one_line().ends_with(text), "{refused}");
    counter.wait_for_more();

    remount(false);
    counter.checkpoint(&[]).assert_ok();
    remount(true);
    let before = HostState::of(&counter.bundle);
    let refused = counter.restore(&[]).assert_code(1);
    let text = "root.path: make /tmp, which CRIU needs in a read-only root: ";
    assert!(refused.one_line().contains(text), "{refused}");
    assert!(refused.one_line().contains("EROFS"), "{refused}");
    before.assert_unchanged(&counter.bundle);
}

fn mount_points_are_made_whatever_the_umask_of_the_caller() {
    differs(Kind::Runc, "makes them with the umask of the caller");
    let bundle = Bundle::new().bind(Path::new("/etc"), "/new/point", &["bind", "ro"]);
    let mut counter = Counter::new(bundle);
    counter.start();
    counter.checkpoint(&[]).assert_ok();
    let made = ["new/point", "new"].map(|path| counter.bundle.rootfs().join(path));
    for path in &made {
        fs::remove_dir(path).unwrap();
    }
    let through = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let call = counter.restore_call(&through, "images", &[]);
    counter.run_piped(call).assert_ok();
    counter.wait_for_more();
    for path in &made {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755, "{}", path.display());
    }
}
