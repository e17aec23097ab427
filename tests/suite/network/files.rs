//! The container's own /etc/resolv.conf and /etc/hosts: content, and the mounts they are.

use std::fs;

use serde_json::json;

use super::host::{Host, IMAGE, annotate};
use crate::harness::{Bundle, Outcome, needs_strace, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_servers_are_those_of_the_host,
        without_a_server_that_can_be_reached_the_images_file_stays,
        given_servers_and_entries_are_written,
        none_and_false_leave_the_images_files,
        the_name_is_the_host_name_or_the_id,
        both_files_are_mounts_of_the_containers_own,
        a_mount_of_the_configuration_replaces_a_file,
        a_link_in_the_image_stays_inside,
        missing_files_are_created_as_mount_points,
        a_root_that_cannot_be_written_is_one_line,
        roots_of_all_kinds_have_the_files,
        more_mounts_than_descriptors_leave_room_for_the_files,
        without_mount_setattr_the_mounts_are_the_same,
        exec_and_hooks_see_the_files,
        invalid_values_are_refused,
        a_container_without_mounts_of_its_own_is_refused,
        check_shows_the_files,
    ]
}

/// Prints both files.
const SHOW: &str = "cat /etc/resolv.conf /etc/hosts";

/// The first line of the resolv.conf that is written.
const HEADER: &str = "# Written by rt for this container (rt.network.dns).\n";

/// What every hosts file begins with.
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// A host whose /etc/resolv.conf has this content.
fn host_with(resolv_conf: &str) -> Host {
    let host = Host::new();
    let file = host.runtime().home().join("resolv.conf");
    fs::write(&file, resolv_conf).unwrap();
    host.sh(&format!("mount --bind {} /etc/resolv.conf", file.display()));
    host
}

/// A host with an ordinary name server.
fn ordinary() -> Host {
    host_with("nameserver 192.0.2.1\n")
}

/// A bundle on a bridge with one subnet.
fn on_bridge(host: &Host, annotations: &[(&str, &str)]) -> Bundle {
    let bundle = host.bundle(&[("bridge", "br0"), ("subnet", "10.88.0.1/24")]);
    annotate(bundle, annotations).hostname("web")
}

fn run(bundle: &Bundle) -> Outcome {
    bundle.run().assert_ok()
}

fn the_servers_are_those_of_the_host() {
    let host = host_with(
        "# a comment\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1\n\
         nameserver 2001:db8::53\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2\n",
    );
    let shown = run(&on_bridge(&host, &[]).sh("cat /etc/resolv.conf"));
    let expected = "nameserver 192.0.2.1\nnameserver 2001:db8::53\nsearch a.example b.example\noptions ndots:2\n";
    assert_eq!(shown.stdout, format!("{HEADER}{expected}"));
    assert_eq!(shown.stderr, "");
    host.assert_clean();
}

/// The second file is that of systemd-resolved.
fn without_a_server_that_can_be_reached_the_images_file_stays() {
    let host = host_with("nameserver 127.0.0.53\noptions edns0\n");
    let bundle = on_bridge(&host, &[]).sh("cat /etc/resolv.conf");
    let outcome = run(&bundle);
    assert_eq!(outcome.stdout, IMAGE);
    let warning = "annotations: rt.network.dns: not set, and /etc/resolv.conf of the host names no server that a container can reach: its /etc/resolv.conf stays that of the image";
    assert!(outcome.one_line().contains(warning), "{outcome}");
    let stub = "mkdir -p /run/systemd/resolve; echo nameserver 192.0.2.7 > /run/systemd/resolve/resolv.conf";
    host.sh(stub);
    let shown = run(&on_bridge(&host, &[]).sh("cat /etc/resolv.conf"));
    assert_eq!(shown.stdout, format!("{HEADER}nameserver 192.0.2.7\n"));
    assert_eq!(shown.stderr, "");
}

fn given_servers_and_entries_are_written() {
    let host = ordinary();
    let given = [
        ("dns", "10.88.0.1, fd00::53,example.org"),
        ("hosts", "db:10.0.0.9,db:fd00::9, cache.local:[fd00::a]"),
    ];
    let shown = run(&on_bridge(&host, &given).sh(SHOW)).stdout;
    let resolv_conf = "nameserver 10.88.0.1\nnameserver fd00::53\nsearch example.org\n";
    let hosts = "10.88.0.2\tweb\n10.0.0.9\tdb\nfd00::9\tdb\nfd00::a\tcache.local\n";
    assert_eq!(shown, format!("{HEADER}{resolv_conf}{LOCAL}{hosts}"));
}

fn none_and_false_leave_the_images_files() {
    let host = ordinary();
    let given = [("dns", "none"), ("hosts", "false")];
    let bundle = on_bridge(&host, &given).sh("cat /etc/resolv.conf /etc/hosts; mount");
    let shown = run(&bundle).stdout;
    assert!(shown.starts_with(&IMAGE.repeat(2)), "{shown}");
    assert!(!shown.contains(" on /etc"), "{shown}");
}

fn the_name_is_the_host_name_or_the_id() {
    let host = ordinary();
    let last = |bundle: Bundle| {
        let shown = run(&bundle.sh("tail -n 1 /etc/hosts")).stdout;
        shown.trim_end().to_owned()
    };
    let full = on_bridge(&host, &[]).hostname("web.example.org");
    assert_eq!(last(full), "10.88.0.2\tweb.example.org web");
    let nameless = on_bridge(&host, &[]).remove("/hostname");
    let id = nameless.id().to_owned();
    assert_eq!(last(nameless), format!("10.88.0.2\t{id}"));
    let both = host.on_bridge().hostname("web").sh("tail -n 2 /etc/hosts");
    let expected = "10.88.0.2\tweb\nfd00:88::2\tweb\n";
    assert_eq!(run(&both).stdout, expected);
}

/// They are writable, and nothing of the host or of another container is behind them.
fn both_files_are_mounts_of_the_containers_own() {
    let host = ordinary();
    let bundles = [on_bridge(&host, &[]), on_bridge(&host, &[])];
    let seen = bundles.each_ref().map(|bundle| {
        let container = bundle.run_detached();
        let script = "echo changed > /etc/hosts; stat -c '%u:%g %a' /etc/hosts; cat /etc/hosts";
        let said = container.call("exec", &["sh", "-c", script]).assert_ok();
        assert_eq!(said.stdout, "0:0 644\nchanged\n");
        let too_much = "! head -c 4000000 /dev/zero > /etc/hosts && stat -c %s /etc/hosts";
        let said = container.call("exec", &["sh", "-c", too_much]).assert_ok();
        assert!(
            said.stdout.trim().parse::<u32>().unwrap() < 1 << 20,
            "{said}"
        );
        container.call("exec", &["cat", "/proc/self/mountinfo"])
    });
    let mut devices = Vec::new();
    for outcome in &seen {
        for file in ["resolv.conf", "hosts"] {
            let place = format!(" /{file} /etc/{file} rw,nosuid,nodev,noexec,relatime ");
            let lines: Vec<&str> = (outcome.stdout.lines())
                .filter(|line| line.contains(&place))
                .collect();
            assert_eq!(lines.len(), 1, "{place} in {}", outcome.stdout);
            devices.push(lines[0].split(' ').nth(2).unwrap().to_owned());
        }
    }
    assert_eq!(devices[0], devices[1]);
    assert_ne!(devices[1], devices[2]);
    for bundle in &bundles {
        let image = fs::read_to_string(bundle.rootfs().join("etc/hosts")).unwrap();
        assert_eq!(image, IMAGE);
        bundle.container().delete_force().assert_ok();
    }
    assert!(!host.sh("cat /proc/self/mountinfo").contains("/etc/hosts"));
    host.assert_clean();
}

fn a_mount_of_the_configuration_replaces_a_file() {
    let host = ordinary();
    let own = host.runtime().home().join("own");
    fs::write(&own, "own\n").unwrap();
    let bound = |annotations| {
        let bundle = on_bridge(&host, annotations).bind(&own, "/etc/resolv.conf", &["rbind", "ro"]);
        run(&bundle
            .sh("cat /etc/resolv.conf; tail -n 1 /etc/hosts; grep -c resolv /proc/self/mounts"))
    };
    let outcome = bound(&[]);
    assert_eq!(outcome.stdout, "own\n10.88.0.2\tweb\n1\n");
    assert_eq!(outcome.stderr, "");
    let outcome = bound(&[("dns", "192.0.2.9")]);
    assert_eq!(outcome.stdout, "own\n10.88.0.2\tweb\n1\n");
    let warning = outcome.one_line();
    assert!(
        warning.contains("annotations: rt.network.dns: no effect: mounts["),
        "{warning}"
    );
    assert!(warning.contains("] is on /etc/resolv.conf"), "{warning}");
}

fn a_link_in_the_image_stays_inside() {
    let host = ordinary();
    let outside = host.runtime().home().join("outside");
    fs::write(&outside, "outside\n").unwrap();
    for target in [
        "../run/systemd/resolve/stub-resolv.conf".to_owned(),
        format!("../../../../..{}", outside.display()),
        outside.display().to_string(),
    ] {
        let bundle = on_bridge(&host, &[]).sh("cat /etc/resolv.conf; echo mine > /etc/resolv.conf");
        let link = bundle.rootfs().join("etc/resolv.conf");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let shown = run(&bundle).stdout;
        assert_eq!(shown, format!("{HEADER}nameserver 192.0.2.1\n"), "{target}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "outside\n");
        assert!(link.is_symlink(), "{target}");
    }
    let bundle = on_bridge(&host, &[]);
    let link = bundle.rootfs().join("etc/hosts");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/proc/1/environ", &link).unwrap();
    let text = "annotations: rt.network.hosts: mount a file of its own on /etc/hosts: cannot be mounted because it is inside /proc";
    assert_eq!(bundle.run().assert_refused(text).code(), 1);
    host.assert_clean();
}

fn missing_files_are_created_as_mount_points() {
    let host = ordinary();
    let bundle = on_bridge(&host, &[]).sh("tail -n 1 /etc/hosts");
    for file in ["hosts", "resolv.conf"] {
        fs::remove_file(bundle.rootfs().join("etc").join(file)).unwrap();
    }
    let rootfs = bundle.rootfs();
    assert_eq!(run(&bundle).stdout, "10.88.0.2\tweb\n");
    assert_eq!(fs::read_to_string(rootfs.join("etc/hosts")).unwrap(), "");
}

fn a_root_that_cannot_be_written_is_one_line() {
    let host = ordinary();
    let bundle = on_bridge(&host, &[]).sh("tail -n 1 /etc/hosts");
    let rootfs = bundle.rootfs();
    let path = rootfs.display();
    host.sh(&format!(
        "mount --bind {path} {path} && mount -o remount,bind,ro {path}"
    ));
    assert_eq!(bundle.run().assert_ok().stdout, "10.88.0.2\tweb\n");
    host.sh(&format!("umount {path}"));
    fs::remove_file(rootfs.join("etc/hosts")).unwrap();
    host.sh(&format!(
        "mount --bind {path} {path} && mount -o remount,bind,ro {path}"
    ));
    let outcome = bundle.run();
    let line = format!(
        "rt run: {}: annotations: rt.network.hosts: mount a file of its own on /etc/hosts: make the mount point: read-only file system (EROFS; {path} is on a read-only file system)",
        bundle.id()
    );
    assert_eq!(outcome.one_line(), line);
    host.assert_clean();
    let without = annotate(bundle, &[("hosts", "false")]).sh("echo ran");
    assert_eq!(run(&without).stdout, "ran\n");
}

fn roots_of_all_kinds_have_the_files() {
    let host = ordinary();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let plain = || {
        on_bridge(&host, &[])
            .sh("tail -n 1 /etc/hosts; echo x > /etc/hosts; stat -c %u:%g /etc/hosts")
    };
    let in_user_namespace = |bundle: Bundle| {
        let bundle = bundle.namespace("user", None);
        bundle
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
    };
    let overlay = |bundle: Bundle| bundle.set("/annotations/rt.rootfs.overlay", json!("ephemeral"));
    let hook = json!([{ "path": "/bin/true" }]);
    for (name, bundle, flags) in [
        ("plain", plain(), &[] as &[&str]),
        ("writable", plain().writable(), &[]),
        ("no-pivot", plain(), &["--no-pivot"]),
        ("user namespace", in_user_namespace(plain()), &[]),
        ("overlay", overlay(plain()), &[]),
        ("both", overlay(in_user_namespace(plain())), &[]),
        ("hook", plain().set("/hooks/createRuntime", hook), &[]),
        (
            "shared",
            plain().set("/linux/rootfsPropagation", json!("rshared")),
            &[],
        ),
    ] {
        let outcome = bundle.call("run", flags).run().assert_ok();
        assert_eq!(outcome.stdout, "10.88.0.2\tweb\n0:0\n", "{name}");
        assert_eq!(outcome.stderr, "", "{name}");
        let image = fs::read_to_string(bundle.rootfs().join("etc/hosts")).unwrap();
        assert_eq!(image, IMAGE, "{name}");
    }
    host.assert_clean();
}

/// So many that they are parked in a socket.
fn more_mounts_than_descriptors_leave_room_for_the_files() {
    let host = ordinary();
    let source = host.runtime().home().join("source");
    fs::create_dir(&source).unwrap();
    let bundle = on_bridge(&host, &[]).writable().sh("tail -n 1 /etc/hosts");
    let bundle = bundle.set("/process/rlimits", json!([]));
    let bundle = (0..300).fold(bundle, |bundle, number| {
        bundle.bind(&source, &format!("/many/{number}"), &["bind"])
    });
    let limited = ["prlimit", "--nofile=256:256"];
    let outcome = bundle.call_through(&limited, "run", &[]).run().assert_ok();
    assert_eq!(outcome.stdout, "10.88.0.2\tweb\n");
}

fn without_mount_setattr_the_mounts_are_the_same() {
    let host = ordinary();
    needs_strace();
    let bundle = on_bridge(&host, &[]).sh("grep /etc/ /proc/self/mounts");
    let now = bundle.run().assert_ok().stdout;
    assert_eq!(now.lines().count(), 2, "{now}");
    let inject = "inject=mount_setattr:error=ENOSYS";
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", inject];
    let old = bundle.call_through(&strace, "run", &[]).run().assert_ok();
    assert_eq!(old.stdout, now);
}

fn exec_and_hooks_see_the_files() {
    let host = ordinary();
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "tail -n 1 /etc/hosts > /tmp/seen"], "env": ["PATH=/bin"] }]);
    let bundle = on_bridge(&host, &[])
        .writable()
        .set("/hooks/startContainer", hook);
    let container = bundle.run_detached();
    let shown = container.call("exec", &["cat", "/tmp/seen"]).assert_ok();
    assert_eq!(shown.stdout, "10.88.0.2\tweb\n");
    let shown = container.call("exec", &["sh", "-c", "tail -n 1 /etc/hosts"]);
    assert_eq!(shown.assert_ok().stdout, "10.88.0.2\tweb\n");
    container.delete_force().assert_ok();
}

fn invalid_values_are_refused() {
    let host = ordinary();
    for (key, value, reason) in [
        (
            "dns",
            "8.8.8",
            "\"8.8.8\" is neither an IP address nor a search domain",
        ),
        (
            "dns",
            "none,192.0.2.1",
            "\"none\" has to be the only element",
        ),
        (
            "dns",
            "0.0.0.0",
            "\"0.0.0.0\" is not the address of a server",
        ),
        ("dns", "", "an element of the list is empty"),
        (
            "hosts",
            "yes",
            "\"yes\" is neither \"true\", \"false\" nor NAME:ADDRESS",
        ),
        (
            "hosts",
            "db:somewhere",
            "\"somewhere\" is not an IP address",
        ),
        ("hosts", "d b:10.0.0.9", "\"d b\" is not a host name"),
    ] {
        let bundle = on_bridge(&host, &[(key, value)]);
        let outcome = bundle.call("create", &[]).run();
        let line = format!(
            "rt create: {}: annotations: rt.network.{key}: {value:?}: {reason}",
            bundle.id()
        );
        assert_eq!(outcome.one_line(), line);
        assert_eq!(outcome.code(), 1);
    }
    host.assert_clean();
}

fn a_container_without_mounts_of_its_own_is_refused() {
    let host = ordinary();
    let bundle = on_bridge(&host, &[])
        .without_namespace("mount")
        .set("/mounts", json!([]))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .writable();
    let text = "annotations: rt.network.dns: needs a new mount namespace in linux.namespaces";
    bundle.call("create", &[]).run().assert_refused(text);
    host.assert_clean();
}

fn check_shows_the_files() {
    let host = ordinary();
    let bundle = on_bridge(&host, &[("hosts", "db:10.0.0.9")]);
    bundle.write();
    let directory = bundle.path().to_str().unwrap();
    let check = ["check", "--plan", "--bundle", directory];
    let shown = bundle.runtime().call(&check).run().assert_ok().stdout;
    for line in [
        "/etc/resolv.conf: servers 192.0.2.1; search none; options none",
        "/etc/hosts: localhost, web with its addresses; further: db 10.0.0.9",
        "annotations: rt.network.dns a file of its own on /etc/resolv.conf: nosuid, nodev, noexec",
    ] {
        assert!(
            shown.lines().any(|shown| shown.trim() == line),
            "{line} in {shown}"
        );
    }
    host.assert_clean();
}
