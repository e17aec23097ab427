//! What `rt create` and `rt check` refuse, in one line and without a trace.

use serde_json::json;

use super::host::{Host, annotate};
use crate::harness::{Bundle, Runtime, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        invalid_values_are_refused,
        keys_without_a_bridge_are_refused,
        the_container_needs_a_network_namespace_of_its_own,
        other_links_with_the_name_of_the_bridge_are_refused,
        subnets_that_overlap_a_route_are_refused,
        subnets_that_the_bridge_does_not_have_are_refused,
        a_bridge_without_subnet_is_refused,
        fixed_addresses_are_checked,
        a_caller_without_permission_is_refused,
        the_id_network_is_reserved_in_the_default_root,
        a_directory_that_others_can_write_is_refused,
    ]
}

/// `create` and `check` say the same, and nothing is left.
#[track_caller]
fn assert_refused(host: &Host, bundle: &Bundle, text: &str) {
    assert_refused_at(host, bundle, "", text);
}

/// The same; the error names the place, too.
#[track_caller]
fn assert_refused_at(host: &Host, bundle: &Bundle, place: &str, text: &str) {
    let before = host.leftovers();
    let check = ["check", "--bundle", bundle.path().to_str().unwrap()];
    for call in [bundle.call("create", &[]), bundle.runtime().call(&check)] {
        call.run().assert_refused(text).assert_refused(place);
    }
    assert_eq!(host.leftovers(), before);
}

/// Key, value, and the reason in the error.
const INVALID: &[(&str, &str, &str)] = &[
    (
        "bridge",
        "",
        "the name of an interface has 1 to 15 characters",
    ),
    (
        "bridge",
        "a-bridge-with-16",
        "the name of an interface has 1 to 15 characters",
    ),
    ("bridge", "a/b", "use letters, digits, _, - and ."),
    ("bridge", "..", "use letters, digits, _, - and ."),
    ("bridge", "br%d", "use letters, digits, _, - and ."),
    (
        "bridge",
        "all",
        "the kernel uses this name for something else",
    ),
    (
        "interface",
        "lo",
        "the kernel uses this name for something else",
    ),
    ("interface", "a b", "use letters, digits, _, - and ."),
    (
        "subnet",
        "10.88.0.0",
        "the prefix length is missing; write 10.88.0.0/16",
    ),
    (
        "subnet",
        "10.88.0.0/33",
        "want an address and a prefix length",
    ),
    ("subnet", "10.88.0.0/32", "leaves no address for containers"),
    ("subnet", "fd00::1/128", "leaves no address for containers"),
    ("subnet", "10.88.0.255/24", "it is the broadcast address"),
    ("subnet", "127.0.0.0/8", "it is a loopback address"),
    ("subnet", "169.254.0.0/16", "it is a link-local address"),
    ("subnet", "224.0.0.0/8", "it is a multicast address"),
    ("subnet", "fe80::/64", "it is a link-local address"),
    (
        "subnet",
        "10.1.0.0/16,10.2.0.0/16",
        "another one of this address family is there",
    ),
    ("subnet", "10.1.0.0/16,", "an element of the list is empty"),
    ("address", "10.88.0.5", "the prefix length is missing"),
    (
        "address",
        "auto,10.88.0.5/24",
        "want an address and a prefix length",
    ),
    (
        "address",
        "10.88.0.5/24,10.88.0.5/24",
        "the address is there twice",
    ),
    (
        "address",
        "10.88.0.0/24",
        "it is the network's own address or its broadcast address",
    ),
    (
        "address",
        "10.88.0.255/24",
        "it is the network's own address or its broadcast address",
    ),
    (
        "gateway",
        "10.88.0.1,10.88.0.2",
        "another one of this address family is there",
    ),
    (
        "gateway",
        "router",
        "want \"none\", or at most one IPv4 and one IPv6 address",
    ),
    ("mtu", "67", "want a number of bytes from 68 to 65535"),
    ("mtu", "65536", "want a number of bytes from 68 to 65535"),
    ("mtu", "1279", "IPv6 needs at least 1280"),
    ("mac", "02:00:00:00:00", "want six bytes in hexadecimal"),
    ("mac", "00:00:00:00:00:00", "no interface can have it"),
    ("mac", "01:00:00:00:00:01", "it is a multicast address"),
];

fn invalid_values_are_refused() {
    let host = Host::new();
    for (key, value, reason) in INVALID {
        let bundle = annotate(host.on_bridge(), &[(key, value)]);
        let place = format!("annotations: rt.network.{key}: ");
        assert_refused_at(&host, &bundle, &place, reason);
    }
}

fn keys_without_a_bridge_are_refused() {
    let host = Host::new();
    for key in [
        "subnet",
        "address",
        "gateway",
        "interface",
        "mtu",
        "mac",
        "masquerade",
        "publish",
        "dns",
        "hosts",
    ] {
        let expected = format!(
            r#"annotations: rt.network.{key}: "x": has no effect without rt.network.bridge; set rt.network.bridge"#
        );
        assert_refused(&host, &host.bundle(&[(key, "x")]), &expected);
    }
}

fn the_container_needs_a_network_namespace_of_its_own() {
    let host = Host::new();
    let shared = host.on_bridge().without_namespace("network");
    assert_refused(
        &host,
        &shared,
        r#"annotations: rt.network.bridge: "br0": the container shares the host's network; add {"type": "network"} to linux.namespaces"#,
    );
    let path = host.holder().path("net");
    let joined = host.on_bridge().namespace("network", Some(&path));
    assert_refused(
        &host,
        &joined,
        "joins a network namespace that has its own links; remove linux.namespaces[",
    );
}

fn other_links_with_the_name_of_the_bridge_are_refused() {
    let host = Host::new();
    host.sh("ip link add br0 type veth peer name other");
    assert_refused(
        &host,
        &host.on_bridge(),
        r#"annotations: rt.network.bridge: "br0": the host has an interface of the kind veth with this name; use another name"#,
    );
}

fn subnets_that_overlap_a_route_are_refused() {
    let host = Host::new();
    host.sh("ip link add lan0 type veth peer name lan1 && ip link set lan0 up");
    host.sh("ip route add default dev lan0 && ip route add 10.0.0.0/8 dev lan0");
    assert_refused(
        &host,
        &host.on_bridge(),
        r#"annotations: rt.network.subnet: "10.88.0.1/24": it overlaps the host's route to 10.0.0.0/8; use another subnet"#,
    );
    host.sh("ip route del 10.0.0.0/8 && ip route add 10.88.0.128/25 dev lan0");
    assert_refused(
        &host,
        &host.on_bridge(),
        "it overlaps the host's route to 10.88.0.128/25",
    );
    // The default route is no obstacle.
    host.sh("ip route del 10.88.0.128/25");
    host.on_bridge().create().delete_force().assert_ok();
}

fn subnets_that_the_bridge_does_not_have_are_refused() {
    let host = Host::new();
    let first = host.on_bridge();
    let container = first.create();
    let other = host.bundle(&[("bridge", "br0"), ("subnet", "10.89.0.0/24")]);
    assert_refused(
        &host,
        &other,
        r#"annotations: rt.network.subnet: "10.89.0.1/24": the bridge br0 has 10.88.0.1/24, fd00:88::1/64; use that, or another bridge"#,
    );
    container.delete_force().assert_ok();
    host.sh("ip link add br0 type bridge && ip addr add 10.9.0.1/24 dev br0 && ip link set br0 up");
    assert_refused(
        &host,
        &other,
        "the bridge br0 has 10.9.0.1/24; use that, or another bridge",
    );
    host.sh("ip addr flush dev br0");
    assert_refused(
        &host,
        &other,
        "the bridge has no address, and rt did not make it",
    );
}

fn a_bridge_without_subnet_is_refused() {
    let host = Host::new();
    assert_refused(
        &host,
        &host.bundle(&[("bridge", "br0")]),
        r#"annotations: rt.network.bridge: "br0": the host has no such bridge; set rt.network.subnet, such as "10.88.0.0/16", and rt makes it"#,
    );
}

fn fixed_addresses_are_checked() {
    let host = Host::new();
    for (key, value, reason) in [
        (
            "address",
            "10.89.0.5/24",
            "it is in no subnet of the bridge (10.88.0.0/24, fd00:88::/64); choose one in it",
        ),
        (
            "address",
            "10.88.0.5/25",
            "the bridge has the prefix length 24; write 10.88.0.5/24",
        ),
        ("address", "10.88.0.1/24", "it is the bridge's own address"),
        ("gateway", "10.89.0.1", "it is in no subnet of the bridge"),
    ] {
        assert_refused(&host, &annotate(host.on_bridge(), &[(key, value)]), reason);
    }
    let same = [("address", "10.88.0.9/24"), ("gateway", "10.88.0.9")];
    assert_refused(
        &host,
        &annotate(host.on_bridge(), &same),
        "it is the gateway's address",
    );
    let family = [("address", "10.88.0.9/24"), ("gateway", "fd00:88::1")];
    assert_refused(
        &host,
        &annotate(host.on_bridge(), &family),
        "the container has no address of this family",
    );
    let mtu = [
        ("mtu", "1000"),
        ("bridge", "br4"),
        ("subnet", "10.4.0.0/24"),
    ];
    let small = annotate(host.on_bridge(), &mtu);
    small.create().delete_force().assert_ok();
}

fn a_caller_without_permission_is_refused() {
    only_rt("the annotations rt.network.* are its own");
    let reason = "needs CAP_NET_ADMIN on the host; run rt as root, or join a network namespace that pasta(1) or slirp4netns(1) serves";
    let host = Host::new();
    let bundle = host.on_bridge();
    let without = bundle.call_through(&["setpriv", "--bounding-set=-net_admin"], "create", &[]);
    without.run().assert_refused(reason);
    // Root of a user namespace that does not own the host's network.
    let bundle = host.on_bridge();
    bundle.write();
    let unshare = ["unshare", "--user", "--map-root-user"];
    let check = ["check", "--bundle", bundle.path().to_str().unwrap()];
    let inside = bundle.runtime().call_through(&unshare, &check);
    inside.run().assert_refused(reason);
    host.assert_clean();
}

fn the_id_network_is_reserved_in_the_default_root() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.create();
    let program = bundle.runtime().program();
    let rt = |arguments: &str| host.try_sh(&format!("{} {arguments}", program.display()));
    let before = host.leftovers();
    host.sh("mkdir -p /run/link && ln -s /run/rt /run/link/rt");
    for root in ["", "--root /run/rt", "--root /run/link/rt"] {
        rt(&format!("{root} delete network")).assert_refused("container does not exist");
        rt(&format!("{root} delete --force network")).assert_ok();
        rt(&format!("{root} state network")).assert_refused("container does not exist");
        rt(&format!(
            "{root} create --bundle {} network",
            bundle.path().display()
        ))
        .assert_refused("/run/rt/network holds the records of rt's networks; use another ID");
        assert!(
            !rt(&format!("{root} list --quiet"))
                .stdout
                .contains("network")
        );
    }
    assert_eq!(host.leftovers(), before);
    container.delete_force().assert_ok();
    host.assert_clean();
    // Below another root it is an id like any other.
    let other = Bundle::with_runtime(&Runtime::new()).with_id("network");
    other.create().delete_force().assert_ok();
}

fn a_directory_that_others_can_write_is_refused() {
    let host = Host::new();
    host.sh("mkdir -p /run/rt/network && chmod 777 /run/rt/network");
    let bundle = host.on_bridge().set("/process/cwd", json!("/"));
    bundle.call("create", &[]).run().assert_refused(
        "/run/rt/network: other users can write to it; remove it once no container uses a network",
    );
    assert_eq!(host.links(), [""; 0]);
}
