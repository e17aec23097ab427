//! Bridges, link pairs, addresses and routes.

use serde_json::{Value, json};

use super::host::{Host, addresses, annotate, annotation, container_reaches};
use crate::harness::{HostState, trials, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        three_containers_reach_each_other_and_the_host,
        the_container_has_its_addresses_before_it_starts,
        a_container_with_ipv6_only_has_no_ipv4,
        settings_of_the_link_are_applied,
        a_bridge_of_the_host_is_used_and_kept,
        the_bridge_takes_no_routes_from_containers,
        the_bridge_keeps_its_mac_address,
        a_network_works_in_a_user_namespace,
        hooks_see_the_addresses_and_the_link,
        the_end_of_init_leaves_nothing_after_delete,
        run_leaves_nothing,
        the_example_shows_its_addresses,
        the_plan_names_the_network,
    ]
}

/// A link in the network namespace of a process, as ip(8) shows it.
pub(super) fn link_in(host: &Host, pid: i32, name: &str) -> Value {
    let shown = host.sh(&format!(
        "nsenter --net=/proc/{pid}/ns/net ip -json -d address show {name}"
    ));
    let mut shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
    shown.remove(0)
}

fn three_containers_reach_each_other_and_the_host() {
    let host = Host::new();
    let bundles = [host.on_bridge(), host.on_bridge(), host.on_bridge()];
    let state = HostState::of(&bundles[0]);
    let containers = bundles.each_ref().map(|bundle| bundle.run_detached());
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        for address in addresses(&containers[to]) {
            assert!(
                container_reaches(&containers[from], &address),
                "{from} to {address}"
            );
            assert!(host.reaches(&address), "{address}");
        }
    }
    for address in ["10.88.0.1", "fd00:88::1"] {
        assert!(container_reaches(&containers[0], address), "{address}");
    }
    for container in containers {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
    state.assert_unchanged(&bundles[0]);
}

fn the_container_has_its_addresses_before_it_starts() {
    let host = Host::new();
    let bundle = host
        .on_bridge()
        .sh("ip -o address show dev eth0; ip route; ip -6 route");
    let container = bundle.create();
    let link = link_in(&host, container.pid(), "eth0");
    assert_eq!(link["operstate"], "UP");
    container.start().assert_ok();
    container.wait_stopped();
    let said = container.stdout();
    for line in [
        "10.88.0.2/24",
        "fd00:88::2/64",
        "default via 10.88.0.1",
        "default via fd00:88::1",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    container.delete().assert_ok();
    host.assert_clean();
}

fn a_container_with_ipv6_only_has_no_ipv4() {
    let host = Host::new();
    let bundle = host.bundle(&[("bridge", "br6"), ("subnet", "fd00:6::/127")]);
    let container = bundle.run_detached();
    // RFC 6164: both addresses of the subnet are usable.
    assert_eq!(annotation(&container, "address"), "fd00:6::1/127");
    assert_eq!(annotation(&container, "gateway"), "fd00:6::");
    assert!(host.reaches("fd00:6::1"));
    let link = link_in(&host, container.pid(), "eth0");
    let families = link["addr_info"].as_array().unwrap().iter();
    assert!(
        families
            .into_iter()
            .all(|address| address["family"] == "inet6"),
        "{link}"
    );
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn settings_of_the_link_are_applied() {
    let host = Host::new();
    let bundle = host.bundle(&[
        ("bridge", "br0"),
        ("subnet", "10.88.0.7/24"),
        ("address", "10.88.0.50/24,10.88.0.51/24"),
        ("gateway", "10.88.0.9"),
        ("interface", "lan"),
        ("mtu", "1400"),
        ("mac", "02:00:00:00:00:2A"),
    ]);
    let container = bundle.create();
    let link = link_in(&host, container.pid(), "lan");
    assert_eq!(link["mtu"], 1400);
    assert_eq!(link["address"], "02:00:00:00:00:2a");
    let addresses: Vec<_> = link["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["local"].clone())
        .collect();
    assert_eq!(addresses[..2], [json!("10.88.0.50"), json!("10.88.0.51")]);
    let routes = host.sh(&format!(
        "nsenter --net=/proc/{}/ns/net ip route",
        container.pid()
    ));
    assert!(routes.contains("default via 10.88.0.9 dev lan"), "{routes}");
    for (key, value) in [
        ("interface", "lan"),
        ("mac", "02:00:00:00:00:2a"),
        ("gateway", "10.88.0.9"),
        ("address", "10.88.0.50/24,10.88.0.51/24"),
    ] {
        assert_eq!(annotation(&container, key), value);
    }
    let bridge = host.sh("ip -o address show dev br0");
    assert!(bridge.contains("10.88.0.7/24 brd 10.88.0.255"), "{bridge}");
    let named = host.sh("ip link show type veth");
    assert!(
        named.contains(&format!("alias rt: {}", container.id())),
        "{named}"
    );
    container.delete_force().assert_ok();

    let without = host.bundle(&[
        ("bridge", "br0"),
        ("subnet", "10.88.0.0/24"),
        ("gateway", "none"),
    ]);
    let container = without.create();
    let routes = host.sh(&format!(
        "nsenter --net=/proc/{}/ns/net ip route",
        container.pid()
    ));
    assert!(!routes.contains("default"), "{routes}");
    assert_eq!(annotation(&container, "gateway"), "none");
    container.delete_force().assert_ok();
    host.assert_clean();
}

/// Its addresses and its MTU count, and `rt` leaves it as it is.
fn a_bridge_of_the_host_is_used_and_kept() {
    let host = Host::new();
    host.sh("ip link add lan0 mtu 1300 type bridge && ip addr add 10.9.0.254/24 dev lan0 && ip link set lan0 up");
    let before = host.sh("ip -o address show dev lan0 scope global");
    let bundle = host.bundle(&[("bridge", "lan0")]);
    let container = bundle.run_detached();
    assert_eq!(annotation(&container, "address"), "10.9.0.1/24");
    assert_eq!(annotation(&container, "gateway"), "10.9.0.254");
    assert_eq!(link_in(&host, container.pid(), "eth0")["mtu"], 1300);
    assert!(container_reaches(&container, "10.9.0.254"));
    container.delete_force().assert_ok();
    assert_eq!(host.links(), ["lan0"]);
    assert_eq!(host.sh("ip -o address show dev lan0 scope global"), before);
    assert_eq!(host.sh("ls /run/rt 2>/dev/null || true"), "");
}

/// A container could otherwise name itself the router of the host.
fn the_bridge_takes_no_routes_from_containers() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.create();
    let accepted = host.sh("cat /proc/sys/net/ipv6/conf/br0/accept_ra");
    assert_eq!(accepted.trim(), "0");
    container.delete_force().assert_ok();
}

/// Without an address of its own, a bridge has the lowest of its ports.
fn the_bridge_keeps_its_mac_address() {
    let host = Host::new();
    let mac = || host.sh("cat /sys/class/net/br0/address || ip link show br0 | grep ether");
    let mac = || {
        let shown: Value = serde_json::from_str(&host.sh("ip -json link show br0"))
            .unwrap_or_else(|_| json!(mac()));
        shown[0]["address"].clone()
    };
    let first = host.on_bridge();
    let container = first.create();
    let before = mac();
    let others = [host.on_bridge(), host.on_bridge(), host.on_bridge()];
    for bundle in &others {
        drop(bundle.create());
    }
    container.delete_force().assert_ok();
    assert_eq!(mac(), before);
    for bundle in &others {
        bundle.container().delete_force().assert_ok();
    }
    host.assert_clean();
}

fn a_network_works_in_a_user_namespace() {
    let host = Host::new();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = host
        .on_bridge()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    let container = bundle.run_detached();
    for address in addresses(&container) {
        assert!(host.reaches(&address), "{address}");
    }
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn hooks_see_the_addresses_and_the_link() {
    let host = Host::new();
    let seen = host.runtime().home().join("seen");
    let bundle = host.on_bridge();
    let script = format!(
        "cat > {0}; ip -o link show master br0 >> {0}",
        seen.display()
    );
    let bundle = bundle.set(
        "/hooks/createRuntime",
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }]),
    );
    let container = bundle.create();
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(
        seen.contains(r#""rt.network.address":"10.88.0.2/24,fd00:88::2/64""#),
        "{seen}"
    );
    assert!(
        seen.contains("veth") || seen.contains("master br0"),
        "{seen}"
    );
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn the_end_of_init_leaves_nothing_after_delete() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.run_detached();
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    // The kernel removes the link pair with the container's network namespace.
    wait_until("the link is gone", || host.links() == ["br0"]);
    container.delete().assert_ok();
    host.assert_clean();
}

fn run_leaves_nothing() {
    let host = Host::new();
    host.on_bridge().args(&["/bin/true"]).run().assert_ok();
    host.assert_clean();
    // A command that fails after the link is there.
    host.on_bridge()
        .args(&["/no/such/program"])
        .run()
        .assert_refused("/no/such/program");
    host.assert_clean();
}

fn the_example_shows_its_addresses() {
    let host = Host::new();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bridge");
    let run = host
        .runtime()
        .call(&["run", example.to_str().unwrap()])
        .run();
    let said = run.assert_ok().stdout;
    for text in [
        "10.88.0.2/24 fd00:88::2/64",
        "default via 10.88.0.1 dev eth0",
    ] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    host.assert_clean();
}

fn the_plan_names_the_network() {
    let host = Host::new();
    let bundle = annotate(
        host.on_bridge(),
        &[("mtu", "1400"), ("address", "10.88.0.9/24")],
    );
    bundle.write();
    let check = [
        "check",
        "--plan",
        "--bundle",
        bundle.path().to_str().unwrap(),
    ];
    let plan = bundle.runtime().call(&check).run().assert_ok().stdout;
    let expected = "network
  bridge br0: 10.88.0.1/24, fd00:88::1/64, made if absent
  link pair: eth0 in the container, a port of the bridge on the host
  addresses of eth0: 10.88.0.9/24
  default routes: by the addresses of the bridge
  MTU 1400
";
    assert!(plan.contains(expected), "{plan}");
}
