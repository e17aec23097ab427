//! The annotation `rt.rootfs.overlay` with a directory: the changes of a container are kept.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{
    Bundle, Directory, HostState, Outcome, Runtime, killed_everywhere, on_overlay, only_rt, skip,
    tree, trials,
};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        changes_are_there_in_the_next_run,
        a_deleted_file_is_hidden_and_stays_below,
        new_directories_have_the_attributes_of_the_root,
        in_a_user_namespace_the_upper_layer_belongs_to_its_root,
        a_failed_run_removes_what_it_made,
        a_failed_run_keeps_what_was_there,
        two_running_containers_cannot_share_an_upper_layer,
        a_user_namespace_does_not_share_an_upper_layer_either,
        many_runs_in_a_row_use_the_same_upper_layer,
        directories_that_cannot_be_an_upper_layer_are_refused,
        an_upper_layer_on_an_overlay_is_refused,
        the_example_counts_its_runs,
        a_killed_create_leaves_no_directory,
        a_killed_create_keeps_earlier_changes,
    ]
}

const POINTER: &str = "/annotations/rt.rootfs.overlay";

fn kept() -> Bundle {
    only_rt("the annotation is rt's own");
    Bundle::new().writable().set(POINTER, json!("changes"))
}

fn changes(bundle: &Bundle) -> PathBuf {
    bundle.path().join("changes")
}

fn in_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn changes_are_there_in_the_next_run() {
    let bundle = kept().sh("echo run >> /log; cat /log");
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "run\n");
    assert_eq!(bundle.run().assert_ok().stdout, "run\nrun\n");
    before.assert_unchanged(&bundle);
    let log = fs::read_to_string(changes(&bundle).join("upper/log")).unwrap();
    assert_eq!(log, "run\nrun\n");
}

fn a_deleted_file_is_hidden_and_stays_below() {
    let bundle = kept()
        .file("etc/old", "old")
        .sh("rm -f /etc/old; ls /etc/old");
    for _ in 0..2 {
        let output = bundle.run();
        assert!(
            output
                .stderr
                .contains("/etc/old: No such file or directory"),
            "{output}"
        );
    }
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("etc/old")).unwrap(),
        "old"
    );
    let whiteout = fs::symlink_metadata(changes(&bundle).join("upper/etc/old")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
}

fn new_directories_have_the_attributes_of_the_root() {
    let bundle =
        kept()
            .set(POINTER, json!("new/below/changes"))
            .args(&["/bin/stat", "-c", "%a %u %g", "/"]);
    fs::set_permissions(bundle.rootfs(), fs::Permissions::from_mode(0o1751)).unwrap();
    chown(bundle.rootfs(), Some(3), Some(4)).unwrap();
    assert_eq!(bundle.run().assert_ok().stdout, "1751 3 4\n");
    let directory = bundle.path().join("new/below/changes");
    let attributes = |name: &str| {
        let meta = fs::metadata(directory.join(name)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(attributes("upper"), (0o1751, 3, 4));
    assert_eq!(attributes("work"), (0o700, 3, 4));
    assert_eq!(attributes(""), (0o700, 0, 0));
    assert!(!directory.join("unfinished").exists());
}

fn in_a_user_namespace_the_upper_layer_belongs_to_its_root() {
    let bundle =
        in_namespace(kept()).sh("echo run >> /log; cat /log; rm -f /etc/group; ls /etc/group");
    chown(bundle.rootfs().join("etc"), Some(100_000), Some(100_000)).unwrap();
    bundle.run();
    let output = bundle.run();
    assert_eq!(output.stdout, "run\nrun\n");
    assert!(
        output.stderr.contains("/etc/group: No such file"),
        "{output}"
    );
    for name in ["upper", "work", "upper/log"] {
        let meta = fs::metadata(changes(&bundle).join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (100_000, 100_000), "{name}");
    }
}

fn a_failed_run_removes_what_it_made() {
    let bundle = kept()
        .set(POINTER, json!("new/changes"))
        .mount(json!({"destination": "/made/here", "type": "tmpfs", "source": "tmpfs"}))
        .args(&["/no/such/program"]);
    bundle.write();
    let before = tree(bundle.path());
    bundle.assert_refused(&["process.args[0]: "]);
    assert_eq!(tree(bundle.path()), before);
    let hook = json!([{"path": "/bin/false"}]);
    let bundle = bundle
        .set("/hooks/createRuntime", hook)
        .args(&["/bin/true"]);
    bundle.write();
    let before = tree(bundle.path());
    bundle.assert_refused(&["hooks.createRuntime[0]"]);
    assert_eq!(tree(bundle.path()), before);
}

fn a_failed_run_keeps_what_was_there() {
    let bundle = kept().sh("echo kept > /file");
    bundle.run().assert_ok();
    let bundle = bundle.args(&["/no/such/program"]);
    bundle.assert_refused(&["process.args[0]: "]);
    let file = fs::read_to_string(changes(&bundle).join("upper/file")).unwrap();
    assert_eq!(file, "kept\n");
}

/// Runs another container from the bundle.
fn run_as(id: &str, bundle: &Bundle, runtime: &Runtime) -> Outcome {
    let path = bundle.path().to_str().unwrap();
    runtime.call(&["run", "--bundle", path, id]).run()
}

fn two_running_containers_cannot_share_an_upper_layer() {
    let bundle = kept().args(&["/probe", "wait-signal"]);
    let container = bundle.run_detached();
    container.wait_for("ready");
    let path = changes(&bundle).display().to_string();
    let other = format!("{}-other", bundle.id());
    let refused = run_as(&other, &bundle, bundle.runtime()).assert_refused(&format!(
        "rt run: {other}: annotations: rt.rootfs.overlay: {path}/upper: is the upper layer of the container {} (running); stop it, or name another directory",
        bundle.id()
    ));
    refused.one_line();
    // The kernel knows of those below another --root.
    let refused = run_as(&other, &bundle, &Runtime::new()).assert_refused(&format!(
        "rt run: {other}: annotations: rt.rootfs.overlay: {path}: a mounted overlay writes to it already; stop the container that uses it, or name another directory"
    ));
    refused.one_line();
    container.end();
    bundle.args(&["/bin/true"]).run().assert_ok();
}

fn a_user_namespace_does_not_share_an_upper_layer_either() {
    let bundle = in_namespace(kept()).args(&["/bin/true"]);
    let container = bundle.create();
    let other = format!("{}-other", bundle.id());
    let refused = run_as(&other, &bundle, bundle.runtime()).assert_refused(&format!(
        "is the upper layer of the container {} (created)",
        bundle.id()
    ));
    refused.one_line();
    container.end();
}

fn many_runs_in_a_row_use_the_same_upper_layer() {
    let bundle = kept().sh("echo run >> /log");
    let before = HostState::of(&bundle);
    for _ in 0..30 {
        bundle.run().assert_ok();
    }
    before.assert_unchanged(&bundle);
    let log = fs::read_to_string(changes(&bundle).join("upper/log")).unwrap();
    assert_eq!(log.lines().count(), 30);
}

fn directories_that_cannot_be_an_upper_layer_are_refused() {
    let bundle = kept().file("x", "").args(&["/bin/true"]);
    let path = bundle.path().display().to_string();
    fs::write(bundle.path().join("file"), "").unwrap();
    let mut bundle = Some(bundle);
    for (value, reason) in [
        ("", "\"\": is no directory".to_owned()),
        (
            "ephemerel",
            "\"ephemerel\": did you mean \"ephemeral\"? the directory of that name is ./ephemerel"
                .to_owned(),
        ),
        (
            "rootfs/changes",
            format!(
                "{path}/rootfs/changes: lies in the layer {path}/rootfs; name a directory outside of it, or on another file system"
            ),
        ),
        ("file", format!("{path}/file: not a directory (ENOTDIR)")),
    ] {
        let changed = bundle.take().unwrap().set(POINTER, json!(value));
        changed.write();
        let before = tree(changed.path());
        changed.assert_refused(&[&format!(": annotations: rt.rootfs.overlay: {reason}")]);
        assert_eq!(tree(changed.path()), before);
        bundle = Some(changed);
    }
    let bundle = bundle.unwrap().set(POINTER, json!("changes"));
    fs::create_dir_all(changes(&bundle).join("upper/below")).unwrap();
    bundle.set("/annotations/rt.rootfs.lower", json!("changes/upper/below")).assert_refused(&[
        &format!(": annotations: rt.rootfs.lower: {path}/changes/upper/below: lies in the upper layer {path}/changes/upper; name directories outside of each other"),
    ]);
}

fn an_upper_layer_on_an_overlay_is_refused() {
    if on_overlay(&std::env::temp_dir()) {
        skip("the host's file system is an overlay");
    }
    let bundle = kept().args(&["/bin/true"]);
    let directory = changes(&bundle);
    fs::create_dir(&directory).unwrap();
    let directory = directory.display();
    let script = format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && \
         mount -t overlay -o lowerdir=/usr,upperdir=/mnt/u,workdir=/mnt/w none {directory} && exec \"$@\""
    );
    let before = HostState::of(&bundle);
    let call = bundle.call_through(&["unshare", "-m", "sh", "-c", &script, "sh"], "run", &[]);
    let refused = call.run().assert_refused(&format!(
        "annotations: rt.rootfs.overlay: {directory}: it is an overlay itself, which cannot hold an upper layer; name a directory on ext4, xfs, btrfs or a tmpfs"
    ));
    refused.one_line();
    before.assert_unchanged(&bundle);
}

fn the_example_counts_its_runs() {
    only_rt("the annotation is rt's own");
    let (copy, runtime) = (Directory::new(), Runtime::new());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/layers");
    let copied = Command::new("cp")
        .args(["-a", "-T"])
        .args([&example, copy.path()])
        .status();
    assert!(copied.unwrap().success());
    drop(fs::remove_dir_all(copy.path().join("changes")));
    let id = format!("layers-{}", std::process::id());
    for count in 1..3 {
        let call = runtime.call(&["run", "--bundle", copy.path().to_str().unwrap(), &id]);
        let said = call.run().assert_ok().stdout;
        assert_eq!(
            said,
            format!("Hello from the top layer.\nRuns so far: {count}\n")
        );
    }
}

/// The number of system calls that are tried.
const PLACES: usize = 25;

/// Kills `rt create` at many places, deletes the container, and calls `check`.
fn kill_and_delete(bundle: &Bundle, check: impl Fn(&str)) {
    let before = HostState::of(bundle);
    let call = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    let finished = std::cell::Cell::new(false);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        let file = bundle.runtime().root().join(bundle.id()).join("state.json");
        let state = fs::read_to_string(file).unwrap_or_default();
        finished.set(!state.is_empty() && !state.contains("\"creating\":true"));
        bundle.container().delete_force().assert_ok();
        let left = before.changes_since(bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
        // Nobody has written to a container that was created and not started.
        if finished.get() {
            return drop(fs::remove_dir_all(bundle.path().join("new")));
        }
        check(place);
    });
}

fn a_killed_create_leaves_no_directory() {
    let bundle = kept()
        .set(POINTER, json!("new/changes"))
        .args(&["/bin/true"]);
    let new = bundle.path().join("new");
    kill_and_delete(&bundle, |place| {
        // Once the container could be used, its upper layer is kept.
        let kept = new.join("changes/upper").exists() && !new.join("changes/unfinished").exists();
        assert!(!new.exists() || kept, "{place} leaves {:?}", tree(&new));
        drop(fs::remove_dir_all(&new));
    });
}

fn a_killed_create_keeps_earlier_changes() {
    let bundle = kept().sh("echo kept > /file");
    bundle.run().assert_ok();
    let bundle = bundle.args(&["/bin/true"]);
    let file = changes(&bundle).join("upper/file");
    kill_and_delete(&bundle, |place| {
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept\n", "{place}");
    });
}
