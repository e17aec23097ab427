//! Images with files that attack the runtime.

use std::fs;
use std::path::Path;

use crate::runner::Test;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::harness::{Bundle, Directory, HostState, Kind, only_rt, tree, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        cve_2016_3697_ids_are_numbers,
        ids_out_of_range_are_refused,
        cve_2019_19921_links_at_proc_and_sys_are_refused,
        cve_2023_27561_a_link_to_another_directory_is_refused,
        cve_2025_31133_a_link_at_dev_null_is_no_mask,
        cve_2025_31133_a_file_at_dev_null_is_no_mask,
        links_in_dev_are_not_followed,
        links_as_mount_points_are_resolved_inside_the_root,
        links_above_mount_points_are_resolved_inside_the_root,
        links_as_working_directory_are_resolved_inside_the_root,
        devices_outside_dev_stay_inside_the_root,
        passwd_can_be_a_pipe,
        passwd_can_be_huge,
        passwd_can_be_a_directory,
        passwd_can_be_a_link_out_of_the_root,
    ]
}

/// passwd has a user whose name is a number and whose ids are 0.
fn cve_2016_3697_ids_are_numbers() {
    let passwd = "1000:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n";
    let seen = Bundle::new()
        .file("etc/passwd", passwd)
        .user(1000, 1000)
        .probe();
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(1000), &json!(1000)));
    assert_eq!(seen.env("HOME").as_deref(), Some("/"), "no entry for 1000");
}

fn ids_out_of_range_are_refused() {
    for (pointer, value) in [
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(u32::MAX)),
        ("/process/user/gid", json!(u32::MAX)),
        ("/process/user/uid", json!(1u64 << 32)),
        ("/process/user/uid", json!("0")),
        ("/process/user/additionalGids", json!([u32::MAX])),
    ] {
        let bundle = Bundle::new().set(pointer, value).args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_refused("");
        if Kind::under_test() == Kind::Rt {
            assert!(outcome.one_line().contains("process.user"), "{outcome}");
        }
        before.assert_unchanged(&bundle);
    }
}

/// Through the link, proc would be mounted where another container can exchange it.
fn cve_2019_19921_links_at_proc_and_sys_are_refused() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new()
            .folder("evil")
            .symlink(name, "/evil")
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle
            .run()
            .assert_refused("must be mounted on ordinary directory");
        before.assert_unchanged(&bundle);
    }
}

fn cve_2023_27561_a_link_to_another_directory_is_refused() {
    for target in ["evil", "../../../../../../../../tmp", "/proc/../evil", "."] {
        let bundle = Bundle::new()
            .folder("evil")
            .symlink("proc", target)
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused("proc");
        before.assert_unchanged(&bundle);
    }
}

/// Without a mount on /dev, so that /dev/null, which covers masked files, comes from the image.
fn hostile_dev() -> Bundle {
    ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"]
        .iter()
        .fold(Bundle::new(), |bundle, place| bundle.without_mount(place))
        .file("etc/secret", "secret")
        .set("/linux/maskedPaths", json!(["/etc/secret"]))
        .args(&["/probe", "stat", "/etc/secret"])
}

#[track_caller]
fn assert_masked_or_refused(bundle: &Bundle) {
    let outcome = bundle.run();
    let masked = outcome.stdout.contains("\"major\":1,\"minor\":3");
    assert!(outcome.code() != 0 || masked, "{outcome}");
}

fn cve_2025_31133_a_link_at_dev_null_is_no_mask() {
    only_rt("Debian's runc is vulnerable");
    for target in ["/proc/sys/kernel/core_pattern", "/etc/passwd", "zero"] {
        assert_masked_or_refused(&hostile_dev().symlink("dev/null", target));
    }
}

fn cve_2025_31133_a_file_at_dev_null_is_no_mask() {
    assert_masked_or_refused(&hostile_dev().file("dev/null", "no device"));
    assert_masked_or_refused(&hostile_dev().folder("dev/null"));
}

/// A file and a directory on the host, as targets of links.
fn host() -> Directory {
    let directory = Directory::new();
    fs::write(directory.join("file"), "of the host").unwrap();
    fs::create_dir(directory.join("folder")).unwrap();
    directory
}

#[track_caller]
fn assert_untouched(host: &Directory) {
    let expected = ["file 100644 ", "folder 40755 "].map(str::to_owned);
    assert_eq!(tree(host.path()).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(
        fs::read_to_string(host.join("file")).unwrap(),
        "of the host"
    );
}

/// Each name that the runtime creates in /dev is a link to a file on the host.
fn links_in_dev_are_not_followed() {
    let host = host();
    let file = host.join("file");
    let file = file.to_str().unwrap();
    for name in [
        "null", "tty", "fd", "stdin", "ptmx", "console", "shm", "pts", "mqueue",
    ] {
        let bundle = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"]
            .iter()
            .fold(Bundle::new(), |bundle, place| bundle.without_mount(place))
            .symlink(&format!("dev/{name}"), file)
            .args(&["/bin/true"]);
        bundle.run();
        assert_untouched(&host);
    }
}

fn links_as_mount_points_are_resolved_inside_the_root() {
    let host = host();
    let source = Directory::new();
    fs::write(source.join("own"), "own").unwrap();
    let (file, folder) = (host.join("file"), host.join("folder"));
    let bundle = Bundle::new()
        .symlink("etc/hosts", file.to_str().unwrap())
        .symlink("mnt", folder.to_str().unwrap())
        .bind(&source.join("own"), "/etc/hosts", &["bind"])
        .bind(source.path(), "/mnt", &["bind"])
        .args(&["/bin/cat", "/etc/hosts", "/mnt/own"]);
    let outcome = bundle.run();
    assert!(
        outcome.code() != 0 || outcome.stdout == "ownown",
        "{outcome}"
    );
    assert_untouched(&host);
}

fn links_above_mount_points_are_resolved_inside_the_root() {
    let host = host();
    let up = format!(
        "../../../../../../../../../..{}",
        host.join("folder").display()
    );
    for target in [host.join("folder").to_str().unwrap(), &up] {
        let tmpfs = json!({ "destination": "/link/a/b", "type": "tmpfs", "source": "tmpfs" });
        let bundle = Bundle::new()
            .symlink("link", target)
            .mount(tmpfs)
            .args(&["/bin/true"]);
        bundle.run();
        assert_untouched(&host);
    }
}

fn links_as_working_directory_are_resolved_inside_the_root() {
    let host = host();
    let target = format!("{}/new", host.join("folder").display());
    let bundle = Bundle::new()
        .writable()
        .symlink("link", &target)
        .set("/process/cwd", json!("/link"));
    bundle.args(&["/bin/true"]).run();
    assert_untouched(&host);
}

fn devices_outside_dev_stay_inside_the_root() {
    for path in [
        "/dev/../../../../../../../tmp/suite-device",
        "/etc/suite-device",
        "/dev/../suite-device",
    ] {
        let device = json!({ "path": path, "type": "c", "major": 1, "minor": 3 });
        let bundle = Bundle::new()
            .set("/linux/devices", json!([device]))
            .args(&["/bin/true"]);
        bundle.run();
        for outside in [
            "/tmp/suite-device",
            "/etc/suite-device",
            "/suite-device",
            "/dev/suite-device",
        ] {
            assert!(!Path::new(outside).exists(), "{path} made {outside}");
        }
    }
}

/// Opening it for reading blocks until a writer comes.
fn passwd_can_be_a_pipe() {
    only_rt("Debian's runc blocks");
    let bundle = Bundle::new();
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    mkfifo(&passwd, Mode::from_bits_truncate(0o644)).unwrap();
    assert_eq!(
        bundle.user(1000, 1000).probe().env("HOME").as_deref(),
        Some("/")
    );
}

fn passwd_can_be_huge() {
    only_rt("Debian's runc reads it all and fails");
    let bundle = Bundle::new();
    let passwd = fs::OpenOptions::new()
        .write(true)
        .open(bundle.rootfs().join("etc/passwd"))
        .unwrap();
    passwd.set_len(1 << 30).unwrap();
    bundle
        .set("/linux/resources/memory", json!({ "limit": 32 << 20 }))
        .user(4321, 0)
        .probe();
}

fn passwd_can_be_a_directory() {
    only_rt("Debian's runc fails to read it");
    let bundle = Bundle::new();
    fs::remove_file(bundle.rootfs().join("etc/passwd")).unwrap();
    assert_eq!(
        bundle
            .folder("etc/passwd")
            .user(1000, 1000)
            .probe()
            .env("HOME")
            .as_deref(),
        Some("/")
    );
}

fn passwd_can_be_a_link_out_of_the_root() {
    let host = Directory::new();
    fs::write(host.join("passwd"), "w:x:1000:1000::/of/the/host:/bin/sh\n").unwrap();
    let bundle = Bundle::new().symlink("etc/passwd", host.join("passwd").to_str().unwrap());
    assert_eq!(
        bundle.user(1000, 1000).probe().env("HOME").as_deref(),
        Some("/")
    );
}
