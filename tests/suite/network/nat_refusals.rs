//! What `rt.network.masquerade` and `rt.network.publish` refuse, with one line, and without
//! leaving anything behind.

use std::net::{TcpListener, UdpSocket};

use super::host::{Host, Kept, annotate};
use super::reach::within;
use crate::harness::{Bundle, HostState, trials, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_wrong_value_is_refused_with_its_place,
        a_port_of_another_container_is_refused_with_its_id,
        a_port_of_a_process_is_refused_with_its_name,
        of_two_creates_at_a_time_one_has_the_port,
        the_port_of_a_container_that_is_gone_is_free,
        an_address_that_the_host_has_not_is_refused,
        a_port_of_a_family_that_the_container_lacks_is_refused,
        publish_needs_forwarding,
        a_sysctl_that_is_read_only_is_refused,
        without_nft_the_package_is_named,
        a_failure_of_nft_leaves_nothing,
        check_finds_a_taken_port,
    ]
}

/// The command fails with one line, which contains the texts, and leaves nothing behind.
#[track_caller]
fn assert_refused(host: &Host, bundle: &Bundle, texts: &[&str]) {
    let (before, state) = (host.leftovers(), HostState::of(bundle));
    let outcome = bundle.call("create", &[]).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    let line = outcome.one_line();
    for text in texts {
        assert!(line.contains(text), "no {text:?} in {line}");
    }
    assert_eq!(host.leftovers(), before, "left behind: {line}");
    state.assert_unchanged(bundle);
}

fn a_wrong_value_is_refused_with_its_place() {
    let host = Host::new();
    for (key, value, reason) in [
        (
            "masquerade",
            "yes",
            r#"rt.network.masquerade: "yes" is neither"#,
        ),
        (
            "publish",
            "",
            r#"rt.network.publish: "": an element of the list is empty"#,
        ),
        ("publish", "80:80,", "an element of the list is empty"),
        (
            "publish",
            "80",
            r#"rt.network.publish: "80": not of the form"#,
        ),
        (
            "publish",
            "1:1,80:65536",
            r#""80:65536": "65536" is not a port"#,
        ),
        ("publish", "[::1]:80:80", "publish at 127.0.0.1 instead"),
        (
            "publish",
            "80:80,127.0.0.1:80:81",
            "127.0.0.1:80/tcp is published twice",
        ),
        ("publish", "80:80/sctp", r#""sctp" is neither tcp nor udp"#),
    ] {
        assert_refused(&host, &host.on_bridge_with(&[(key, value)]), &[reason]);
    }
}

fn a_port_of_another_container_is_refused_with_its_id() {
    let host = Host::with_nft();
    host.forward();
    let first = host.run_on_bridge(&[("publish", "8080:80,127.0.0.1:53:53/udp")]);
    let taken = format!("taken by the container {}", first.id());
    for (publish, port) in [
        ("8080:81", "8080/tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1:8080/tcp"),
        ("53:53/udp", "53/udp"),
        ("8079-8081:79-81", "8080/tcp"),
    ] {
        let on_another_bridge = [
            ("bridge", "br1"),
            ("subnet", "10.89.0.0/24"),
            ("publish", publish),
        ];
        for bundle in [
            host.on_bridge_with(&[("publish", publish)]),
            host.bundle(&on_another_bridge),
        ] {
            let place = format!("annotations: rt.network.publish: {port}: {taken}");
            assert_refused(&host, &bundle, &[&place]);
        }
    }
    let other_protocol = host.on_bridge_with(&[("publish", "8080:80/udp,192.0.2.9:53:53/udp")]);
    host.sh("ip addr add 192.0.2.9/32 dev lo");
    let second = Kept::run(other_protocol);
    for container in [first, second] {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
}

fn a_port_of_a_process_is_refused_with_its_name() {
    let host = Host::with_nft();
    host.forward();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let taken = format!("taken by {} (pid {})", name.trim_end(), std::process::id());
    let tcp = |address: &'static str| within(host.pid(), || TcpListener::bind(address).unwrap());
    let udp = |address: &'static str| within(host.pid(), || UdpSocket::bind(address).unwrap());
    let any = tcp("0.0.0.0:8080");
    let (local, v6) = (tcp("127.0.0.1:8081"), tcp("[::1]:8082"));
    let datagrams = udp("[::]:53");
    for (publish, port) in [
        ("8080:80", "8080/tcp"),
        ("127.0.0.1:8080:80", "127.0.0.1:8080/tcp"),
        ("8081:80", "8081/tcp"),
        ("8082:80", "8082/tcp"),
        ("[::]:8082:80", "[::]:8082/tcp"),
        ("53:53/udp", "53/udp"),
        ("127.0.0.1:53:53/udp", "127.0.0.1:53/udp"),
    ] {
        let bundle = host.on_bridge_with(&[("publish", publish)]);
        assert_refused(&host, &bundle, &[&format!("publish: {port}: {taken}")]);
    }
    drop((any, local, v6, datagrams));
    let publish = ("publish", "8080:80,8081:80,8082:80,53:53/udp");
    let container = host.run_on_bridge(&[publish]);
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn of_two_creates_at_a_time_one_has_the_port() {
    let host = Host::with_nft();
    let annotations = [("masquerade", "true"), ("publish", "8080:80")];
    let bundles: Vec<Bundle> = (0..8).map(|_| host.on_bridge_with(&annotations)).collect();
    let calls: Vec<_> = bundles
        .iter()
        .map(|bundle| bundle.call("create", &[]).start())
        .collect();
    let outcomes: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
    let made = outcomes
        .iter()
        .filter(|outcome| outcome.code() == 0)
        .count();
    assert_eq!(made, 1);
    for outcome in outcomes.iter().filter(|outcome| outcome.code() != 0) {
        assert!(
            outcome
                .one_line()
                .contains("8080/tcp: taken by the container"),
            "{outcome}"
        );
    }
    for bundle in &bundles {
        drop(bundle.container().delete_force());
    }
    host.assert_clean();
}

fn the_port_of_a_container_that_is_gone_is_free() {
    let host = Host::with_nft();
    let first = host.on_bridge_with(&[("masquerade", "true"), ("publish", "8080:80")]);
    let container = first.create();
    let (pid, id) = (container.pid(), container.id().to_owned());
    host.sh(&format!(
        "kill -9 {pid}; rm -r {}/{id}",
        host.runtime().root().display()
    ));
    crate::harness::wait_gone(pid);
    let second = host.on_bridge_with(&[("masquerade", "true"), ("publish", "8080:80")]);
    let container = second.create();
    let rules = host.sh("nft list table inet rt-br0");
    assert_eq!(rules.matches("tcp . 8080 :").count(), 2, "{rules}");
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn an_address_that_the_host_has_not_is_refused() {
    let host = Host::with_nft();
    host.forward();
    let bundle = host.on_bridge_with(&[("publish", "192.0.2.77:80:80")]);
    let place = "rt.network.publish: 192.0.2.77:80/tcp: 192.0.2.77 is not an address of the host";
    assert_refused(&host, &bundle, &[place]);
}

fn a_port_of_a_family_that_the_container_lacks_is_refused() {
    let host = Host::with_nft();
    let on = |subnet, publish| {
        let annotations = [("bridge", "br0"), ("subnet", subnet), ("publish", publish)];
        annotate(host.bundle(&annotations), &[("masquerade", "true")])
    };
    let place = "[::]:80/tcp: the container has only an IPv4 address";
    assert_refused(&host, &on("10.88.0.0/24", "[::]:80:80"), &[place]);
    let place = "127.0.0.1:80/tcp: the container has only an IPv6 address";
    assert_refused(&host, &on("fd00:88::/64", "127.0.0.1:80:80"), &[place]);
}

fn publish_needs_forwarding() {
    let host = Host::with_nft();
    for (publish, sysctl) in [
        ("8080:80", "net.ipv4.ip_forward"),
        ("[::]:8080:80", "net.ipv6.conf.all.forwarding"),
    ] {
        let bundle = host.on_bridge_with(&[("publish", publish)]);
        let remedy = format!("run sysctl -w {sysctl}=1, or set rt.network.masquerade");
        assert_refused(
            &host,
            &bundle,
            &["annotations: rt.network.publish: ", &remedy],
        );
    }
    host.sh("sysctl -qw net.ipv4.ip_forward=1");
    // Ports of IPv4 only.
    let container = host.run_on_bridge(&[("publish", "0.0.0.0:8080:80")]);
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn a_sysctl_that_is_read_only_is_refused() {
    let host = Host::with_nft();
    host.sh(
        "ip link add lan0 type bridge && ip addr add 10.9.0.1/24 dev lan0 && ip link set lan0 up
        mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys",
    );
    let bundle = host.bundle(&[("bridge", "lan0"), ("masquerade", "true")]);
    let texts = [
        "annotations: rt.network.masquerade: enable net.ipv4.ip_forward: /proc/sys is read-only here",
        "run sysctl -w net.ipv4.ip_forward=1 on the host",
    ];
    assert_refused(&host, &bundle, &texts);
}

fn without_nft_the_package_is_named() {
    let host = Host::with_nft();
    let bundle = host.on_bridge_with(&[("masquerade", "true")]);
    let before = HostState::of(&bundle);
    let programs = "/usr/sbin /usr/bin /sbin /bin";
    // Programs keep running without their directories; `sh` and `mount` are among them.
    let hide = format!(
        "mkdir -p /run/empty && cp $(command -v busybox) /run/busybox && for directory in {programs}; do
            /run/busybox test -e $directory/nft && echo $directory; done; true"
    );
    let directories = host.sh(&hide);
    let unhide: Vec<String> = (directories.split_whitespace())
        .map(|directory| {
            host.sh(&format!("cp -a {directory} /run/copy && rm /run/copy/nft && mount --bind /run/copy {directory}"));
            format!("umount {directory}")
        })
        .take(1)
        .collect();
    let outcome = bundle.call("create", &[]).run();
    host.sh(&unhide.join("; "));
    let line = outcome.one_line();
    let text = "annotations: rt.network.masquerade: nft is not installed (package nftables)";
    assert!(line.contains(text), "{line}");
    host.sh("rm -r /run/empty /run/busybox /run/copy");
    host.assert_clean();
    before.assert_unchanged(&bundle);
}

fn a_failure_of_nft_leaves_nothing() {
    let host = Host::with_nft();
    let failing = host.runtime().home().join("nft");
    std::fs::write(
        &failing,
        "#!/bin/sh\necho 'netlink: Error: no rules today' >&2\necho more >&2\nexit 1\n",
    )
    .unwrap();
    host.sh(&format!(
        "chmod 755 {0} && mount --bind {0} $(readlink -f $(command -v nft))",
        failing.display()
    ));
    let bundle = host.on_bridge_with(&[("masquerade", "true"), ("publish", "8080:80")]);
    let outcome = bundle.call("create", &[]).run();
    let line = outcome.one_line().to_owned();
    let text = "rt.network.masquerade and rt.network.publish: nft: netlink: Error: no rules today";
    assert!(line.contains(text), "{line}");
    host.sh("umount $(readlink -f $(command -v nft))");
    host.assert_clean();
    assert!(!bundle.runtime().root().join(bundle.id()).exists());
}

fn check_finds_a_taken_port() {
    let host = Host::with_nft();
    let taken = within(host.pid(), || TcpListener::bind("0.0.0.0:8080").unwrap());
    let bundle = host.on_bridge_with(&[("masquerade", "true"), ("publish", "8080:80")]);
    let check = || {
        bundle.write();
        let path = bundle.path().to_str().unwrap();
        bundle.runtime().call(&["check", "--bundle", path]).run()
    };
    check().assert_refused("rt.network.publish: 8080/tcp: taken by");
    drop(taken);
    wait_until("the port is free", || check().code() == 0);
    host.assert_clean();
}
