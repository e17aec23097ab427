//! Bind mounts of files and directories, with and without the mounts below them.

use std::fs;
use std::os::unix::fs::symlink;

use crate::runner::Test;
use nix::mount::{MsFlags, mount};

use crate::harness::{Bundle, Directory, HostState, only_rt, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_directory_is_bound,
        a_file_is_bound,
        a_readonly_bind_refuses_writes,
        a_readonly_bind_leaves_the_source_writable,
        a_bind_keeps_the_flags_of_its_source,
        rbind_includes_mounts_below,
        bind_excludes_mounts_below,
        recursive_options_apply_to_mounts_below,
        a_relative_source_starts_at_the_bundle,
        a_source_that_is_a_link_is_followed,
        a_missing_destination_is_created,
        a_missing_destination_file_is_created,
        a_bind_needs_no_type,
        a_file_system_option_on_a_bind_mount_is_a_warning,
        an_unknown_option_of_a_bind_mount_is_named,
        a_missing_source_is_refused,
        later_mounts_cover_earlier_ones,
    ]
}

/// A directory of the host with one file.
fn source() -> Directory {
    let directory = Directory::new();
    fs::write(directory.join("file"), "from outside").unwrap();
    directory
}

fn a_directory_is_bound() {
    let source = source();
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["rbind", "rw"]);
    let bundle = bundle.sh("cat /mnt/file && echo inside > /mnt/new");
    assert_eq!(bundle.run().assert_ok().stdout, "from outside");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "inside\n");
}

fn a_file_is_bound() {
    let source = source();
    let bundle =
        Bundle::new()
            .file("etc/hosts", "")
            .bind(&source.join("file"), "/etc/hosts", &["bind"]);
    assert_eq!(
        bundle
            .args(&["/bin/cat", "/etc/hosts"])
            .run()
            .assert_ok()
            .stdout,
        "from outside"
    );
}

fn a_readonly_bind_refuses_writes() {
    for option in ["bind", "rbind"] {
        let source = source();
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(source.path(), "/mnt", &[option, "ro"]);
        let output = bundle
            .args(&["/probe", "write", "/mnt/file", "x"])
            .run()
            .stdout;
        assert_eq!(output, "EROFS\n", "{option}");
    }
}

fn a_readonly_bind_leaves_the_source_writable() {
    let source = source();
    let bundle = Bundle::new().folder("mnt").folder("other");
    let bundle = bundle.bind(source.path(), "/mnt", &["bind", "ro"]).bind(
        source.path(),
        "/other",
        &["bind"],
    );
    let output = bundle
        .sh("/probe write /mnt/file x; /probe write /other/file x")
        .run()
        .stdout;
    assert_eq!(output, "EROFS\nok\n");
}

/// Otherwise `ro` on a bind mount of a nosuid, nodev file system would clear those flags.
fn a_bind_keeps_the_flags_of_its_source() {
    only_rt("runc's remount clears flags that config.json does not name");
    let source = source();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        source.path(),
        Some("tmpfs"),
        flags,
        None::<&str>,
    )
    .unwrap();
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["bind", "ro"]);
    bundle
        .probe()
        .mount("/mnt")
        .assert_options(&["ro", "nosuid", "nodev", "noexec"]);
}

/// A directory with a tmpfs mounted on `below`.
fn nested() -> Directory {
    let source = source();
    fs::create_dir(source.join("below")).unwrap();
    mount(
        Some("deep"),
        &source.join("below"),
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    fs::write(source.join("below/deep"), "deep").unwrap();
    source
}

fn rbind_includes_mounts_below() {
    let source = nested();
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["rbind"]);
    let before = HostState::of(&bundle);
    assert_eq!(bundle.probe().mount("/mnt/below").source(), "deep");
    before.assert_unchanged(&bundle);
}

fn bind_excludes_mounts_below() {
    let source = nested();
    let seen = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["bind"])
        .probe();
    assert!(seen.has_mount("/mnt") && !seen.has_mount("/mnt/below"));
}

/// `ro` applies to the mount itself, `rro` to all mounts below it too.
fn recursive_options_apply_to_mounts_below() {
    let source = nested();
    let seen = |option: &str| {
        let bundle = Bundle::new()
            .folder("mnt")
            .bind(source.path(), "/mnt", &["rbind", option]);
        let below = bundle.probe().mount("/mnt/below").options();
        below.contains(&"ro".to_owned())
    };
    assert!(!seen("ro") && seen("rro"));
}

fn a_relative_source_starts_at_the_bundle() {
    let bundle = Bundle::new()
        .folder("mnt")
        .bind("beside".as_ref(), "/mnt", &["bind"]);
    fs::create_dir(bundle.path().join("beside")).unwrap();
    fs::write(bundle.path().join("beside/file"), "beside").unwrap();
    let elsewhere = Directory::new();
    let bundle = bundle.args(&["/bin/cat", "/mnt/file"]);
    let call = bundle
        .call("run", &[])
        .with(|command| command.current_dir(elsewhere.path()));
    assert_eq!(call.run().assert_ok().stdout, "beside");
}

fn a_source_that_is_a_link_is_followed() {
    let source = source();
    symlink(source.join("file"), source.join("link")).unwrap();
    let bundle = Bundle::new()
        .file("mnt", "")
        .bind(&source.join("link"), "/mnt", &["bind"]);
    assert_eq!(
        bundle.args(&["/bin/cat", "/mnt"]).run().assert_ok().stdout,
        "from outside"
    );
}

fn a_missing_destination_is_created() {
    let source = source();
    let bundle = Bundle::new().bind(source.path(), "/not/yet/there", &["bind"]);
    assert_eq!(
        bundle
            .args(&["/bin/cat", "/not/yet/there/file"])
            .run()
            .assert_ok()
            .stdout,
        "from outside"
    );
}

fn a_missing_destination_file_is_created() {
    let source = source();
    let bundle = Bundle::new().bind(&source.join("file"), "/not/yet/file", &["bind"]);
    let bundle = bundle.args(&["/bin/cat", "/not/yet/file"]);
    assert_eq!(bundle.run().assert_ok().stdout, "from outside");
    assert!(bundle.rootfs().join("not/yet/file").is_file());
}

fn a_bind_needs_no_type() {
    let source = source();
    let mount =
        serde_json::json!({ "destination": "/mnt", "source": source.path(), "options": ["bind"] });
    let bundle = Bundle::new().folder("mnt").mount(mount);
    assert_eq!(
        bundle
            .args(&["/bin/cat", "/mnt/file"])
            .run()
            .assert_ok()
            .stdout,
        "from outside"
    );
}

fn an_unknown_option_of_a_bind_mount_is_named() {
    only_rt("runc refuses it from 1.2 on; the kernel ignores it");
    let source = source();
    for option in ["RO", "mode=700"] {
        let bundle = Bundle::new().bind(source.path(), "/tmp", &["rbind", option]);
        let why = "bind mounts cannot have any filesystem-specific options applied";
        bundle.assert_refused(&[&format!("mounts[7].options: {option}: {why}")]);
    }
}

fn a_missing_source_is_refused() {
    let bundle = Bundle::new()
        .folder("mnt")
        .bind("/no/such/source".as_ref(), "/mnt", &["bind"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("/no/such/source");
    before.assert_unchanged(&bundle);
}

/// Mounts are made in the order of config.json, so the second hides the first.
fn later_mounts_cover_earlier_ones() {
    let (one, two) = (source(), Directory::new());
    fs::write(two.join("file"), "second").unwrap();
    let bundle = Bundle::new().folder("mnt");
    let bundle = bundle
        .bind(one.path(), "/mnt", &["bind"])
        .bind(two.path(), "/mnt", &["bind"]);
    assert_eq!(
        bundle
            .args(&["/bin/cat", "/mnt/file"])
            .run()
            .assert_ok()
            .stdout,
        "second"
    );
}

/// mount(8) ignores such an option without a warning.
fn a_file_system_option_on_a_bind_mount_is_a_warning() {
    only_rt("other runtimes do not warn");
    let source = Directory::new();
    let bundle = Bundle::new()
        .folder("mnt")
        .bind(source.path(), "/mnt", &["bind", "sync"])
        .args(&["/bin/true"]);
    assert_eq!(
        bundle.run().assert_ok().stderr,
        "rt: warning: mounts: /mnt: sync is an option of a file system, not of a bind mount: left out\n"
    );
}
