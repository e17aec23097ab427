//! Users, groups and user namespaces.

use std::fs;

use super::RunAs::{Both, User};
use super::{IMAGE, Podman, Test};

pub(super) const TESTS: &[Test] = &[
    ("user", Both, user),
    ("user_absent", Both, user_absent),
    ("groups", Both, groups),
    ("groups_kept", Both, groups_kept),
    ("uid_map", Both, uid_map),
    ("uid_map_and_exec", Both, uid_map_and_exec),
    ("userns_auto", Both, userns_auto),
    ("userns_keep_id", User, userns_keep_id),
    ("userns_keep_id_exec", User, userns_keep_id_exec),
    ("userns_no_map", User, userns_no_map),
    ("userns_container", Both, userns_container),
    ("passwd_entry", User, passwd_entry),
    ("unshare", User, unshare),
];

fn user(p: &Podman) {
    let output = p.sh(
        &["--user", "user"],
        "id; echo $HOME; touch /tmp/x; stat -c %U /tmp/x",
    );
    assert!(
        output.starts_with("uid=1000(user) gid=1000(user) groups="),
        "{output}"
    );
    assert!(
        output.contains("2000(extra)") && output.ends_with("/home/user\nuser"),
        "{output}"
    );
    let output = p.sh(&["--user", "1234:4321"], "id");
    assert_eq!(output, "uid=1234(1234) gid=4321(4321) groups=4321(4321)");
    let output = p.sh(&["--user", "user:extra"], "id -g");
    assert_eq!(output, "2000");
}

fn user_absent(p: &Podman) {
    let output = p.call(&["run", "--rm", "--user", "absent", IMAGE, "true"]);
    assert!([125, 126].contains(&output.status), "{output:?}");
    assert!(
        output.stderr.contains("no matching entries in passwd"),
        "{output:?}"
    );
}

fn groups(p: &Podman) {
    let output = p.sh(&["--group-add", "extra", "--group-add", "777"], "id -G");
    let mut groups: Vec<&str> = output.split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, ["0", "2000", "777"]);
}

/// `--group-add keep-groups` asks by an annotation to keep the caller's supplementary groups. A rootless container
/// maps none of them, so the test checks that a file of the group is readable.
fn groups_kept(p: &Podman) {
    match p.user() {
        Some(user) => {
            let files = p.files("groups_kept");
            let file = files.join("of_the_group");
            fs::write(&file, "readable").unwrap();
            std::os::unix::fs::chown(&file, Some(0), Some(user.second_gid())).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
            fs::set_permissions(&file, mode).unwrap();
            let volume = format!("{}:/data", files.display());
            p.run(&["-v", &volume], "cat /data/*").fails(1);
            let options = ["-v", &volume, "--group-add", "keep-groups"];
            assert_eq!(p.sh(&options, "cat /data/*"), "readable");
            let c = p.start("groups_kept", &options, "sleep 1000");
            assert_eq!(
                c.sh(&[], "cat /proc/1/status | grep Groups"),
                c.sh(&[], "grep Groups /proc/1/status")
            );
        }
        None => {
            let args = [
                "run",
                "--rm",
                "--group-add",
                "keep-groups",
                IMAGE,
                "id",
                "-G",
            ];
            let inner = p.command(&args);
            let mut other = std::process::Command::new("setpriv");
            other.args(["--groups", "0,3456"]);
            other.arg(inner.get_program()).args(inner.get_args());
            for (name, value) in inner.get_envs() {
                other.env(name, value.unwrap());
            }
            assert_eq!(crate::command::run(&mut other).ok(), "0 3456");
        }
    }
}

/// Parses /proc/PID/uid_map.
fn parse_id_map(text: &str) -> Vec<Vec<u32>> {
    let fields = |line: &str| {
        line.split_whitespace()
            .map(|w| w.parse().unwrap())
            .collect()
    };
    text.lines().map(fields).collect()
}

fn uid_map(p: &Podman) {
    let output = p.sh(
        &["--uidmap", "0:2000:900", "--gidmap", "0:3000:800"],
        "cat /proc/self/uid_map; cat /proc/self/gid_map",
    );
    let map = parse_id_map(&output);
    assert_eq!((map[0][2], map[1][2]), (900, 800), "{output}");
    if p.user().is_none() {
        assert_eq!((map[0][1], map[1][1]), (2000, 3000), "{output}");
    }
    let options = ["--uidmap", "0:2000:900", "--user", "user"];
    assert!(
        p.run(&options, "true")
            .fails(126)
            .contains("doesn't map UID 1000")
    );
}

fn uid_map_and_exec(p: &Podman) {
    let options = ["--uidmap", "0:4000:5000", "--gidmap", "0:4000:5000"];
    let c = p.start("uid_map_and_exec", &options, "touch /tmp/x; sleep 1000");
    assert_eq!(
        c.sh(&[], "id -u; cat /proc/self/uid_map"),
        c.sh(&[], "id -u; cat /proc/1/uid_map")
    );
    assert_eq!(
        c.sh(&["--user", "user"], "id -u; stat -c %u /tmp/x"),
        "1000\n0"
    );
    let outside = fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
    assert!(!outside.contains("Uid:\t0\t"), "{outside}");
}

fn userns_auto(p: &Podman) {
    let c = p.start(
        "userns_auto_1",
        &["--userns", "auto:size=3000"],
        "sleep 1000",
    );
    let d = p.start("userns_auto_2", &["--userns", "auto"], "sleep 1000");
    let map = |c: &super::Container| {
        parse_id_map(&fs::read_to_string(format!("/proc/{}/uid_map", c.pid())).unwrap())
    };
    let (first, second) = (map(&c), map(&d));
    assert_eq!(first.iter().map(|line| line[2]).sum::<u32>(), 3000);
    assert!(
        first.iter().all(|one| second
            .iter()
            .all(|other| { one[1] + one[2] <= other[1] || other[1] + other[2] <= one[1] })),
        "{first:?} {second:?}"
    );
    assert_eq!(c.sh(&[], "touch /x; stat -c %u /x"), "0");
}

fn userns_keep_id(p: &Podman) {
    let (uid, gid) = (p.user().unwrap().uid, p.user().unwrap().gid);
    let files = p.files("keep_id");
    let volume = format!("{}:/data", files.display());
    let output = p.sh(&["--userns", "keep-id", "-v", &volume], "id -u; id -g; echo x >/data/mine; stat -c %u /data/mine /etc/passwd; touch /etc/y 2>&1; true");
    let wanted = format!("{uid}\n{gid}\n{uid}\n");
    assert!(output.starts_with(&wanted), "{output}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(files.join("mine")).unwrap().uid(), uid);
    assert_eq!(
        p.sh(&["--userns", "keep-id", "--user", "root"], "id -u"),
        "0"
    );
}

fn userns_keep_id_exec(p: &Podman) {
    let uid = p.user().unwrap().uid.to_string();
    let c = p.start("keep_id_exec", &["--userns", "keep-id"], "sleep 1000");
    assert_eq!(c.sh(&[], "id -u"), uid);
    assert_eq!(
        c.sh(&["--user", "0"], "id -u; touch /etc/x; stat -c %u /etc/x"),
        "0\n0"
    );
}

fn userns_no_map(p: &Podman) {
    let output = p.sh(&["--userns", "nomap"], "cat /proc/self/uid_map; id -u");
    let uid = p.user().unwrap().uid;
    assert!(output.ends_with("\n0"), "{output}");
    assert!(!output.contains(&format!(" {uid} ")), "{output}");
}

fn userns_container(p: &Podman) {
    let options = ["--uidmap", "0:4000:5000", "--gidmap", "0:4000:5000"];
    let c = p.start("userns_of", &options, "sleep 1000");
    let place = format!("container:{}", c.name);
    let other = p.start("userns_of_2", &["--userns", &place], "sleep 1000");
    let userns_of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(userns_of(c.pid()), userns_of(other.pid()));
    assert_eq!(other.sh(&[], "id -u"), "0");
}

fn passwd_entry(p: &Podman) {
    let output = p.sh(
        &["--userns", "keep-id"],
        "tail -n 1 /etc/passwd; echo $HOME",
    );
    let user = p.user().unwrap();
    assert!(
        output.contains(&format!(":{}:{}:", user.uid, user.gid)),
        "{output}"
    );
}

fn unshare(p: &Podman) {
    let uid = p.user().unwrap().uid;
    let map = parse_id_map(&p.ok(&["unshare", "cat", "/proc/self/uid_map"]));
    assert_eq!(map[0], [0, uid, 1]);
    // Rootless Podman calls the runtime as root of a user namespace.
    p.ok(&["unshare", p.runtime_path(), "--version"]);
}
