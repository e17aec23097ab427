//! Devices of the host in the container's network namespace (`linux.netDevices`).

use serde_json::{Value, json};

use super::host::{Host, Kept, annotate};
use super::links::link_in;
use crate::harness::{Bundle, Holder, only_rt, trials, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_device_keeps_its_attributes_and_global_addresses,
        the_process_finds_the_device_up,
        a_device_gets_another_name,
        the_kernel_numbers_a_template,
        two_devices_change_their_names,
        a_device_moves_into_a_joined_namespace_and_stays_there,
        a_device_moves_into_a_user_namespace,
        a_device_that_cannot_be_moved_is_refused,
        a_name_that_is_taken_is_refused,
        the_namespace_must_not_be_the_hosts,
        a_caller_without_rights_is_refused,
        it_works_beside_a_bridge,
    ]
}

/// A link pair whose end `eth7` has whatever a device can have.
pub(super) const UPLINK: &str = "
ip link add eth7 address 02:00:00:00:00:07 mtu 1400 type veth peer name peer7
ip link set eth7 alias 'uplink of web' txqueuelen 77
ip link property add dev eth7 altname port-seven
ip addr add 10.7.0.1/24 brd + dev eth7
ip addr add 10.7.0.9/24 dev eth7 label eth7:b
ip addr add 10.7.1.1 peer 10.7.1.2 dev eth7 metric 50
ip addr add fd00:7::1/64 dev eth7 nodad
ip addr add fd00:7::2/64 dev eth7 nodad noprefixroute
ip link set eth7 up
ip link set peer7 up
ip route add 10.77.0.0/16 via 10.7.0.254 dev eth7
ip route add 10.78.0.0/16 via 10.7.0.254 dev eth7 table 100 metric 9 mtu 1300
ip -6 route add fd00:77::/64 via fd00:7::fe dev eth7 metric 300
";

/// A host with a link pair.
pub(super) fn with_uplink() -> Host {
    let host = without_devices();
    host.sh(UPLINK);
    host
}

fn without_devices() -> Host {
    only_rt("runc has linux.netDevices since 1.4");
    Host::new()
}

pub(super) fn bundle(host: &Host, devices: Value) -> Bundle {
    host.bundle(&[]).set("/linux/netDevices", devices)
}

/// What `ip` shows of a device of the host.
fn link_of(host: &Host, name: &str) -> Value {
    link_in(host, host.pid(), name)
}

/// The addresses that the specification keeps, as `ip` shows them.
fn kept(link: &Value) -> Vec<Value> {
    let mut addresses = link["addr_info"].as_array().unwrap().clone();
    addresses.retain(|address| address["scope"] == "global" && address["dynamic"] != true);
    addresses
}

fn a_device_keeps_its_attributes_and_global_addresses() {
    let host = with_uplink();
    host.sh("ip addr add 169.254.7.7/16 dev eth7 scope link");
    host.sh("ip addr add 10.7.2.1/24 dev eth7 valid_lft 600 preferred_lft 600");
    let before = link_of(&host, "eth7");
    let container = Kept::create(bundle(&host, json!({"eth7": {}})));
    assert_eq!(host.links(), ["peer7"]);
    let inside = link_in(&host, container.pid(), "eth7");
    for key in [
        "mtu",
        "address",
        "ifalias",
        "altnames",
        "txqlen",
        "group",
        "link_type",
    ] {
        assert!(!before[key].is_null(), "{key} in {before}");
        assert_eq!(inside[key], before[key], "{key}");
    }
    assert_eq!(kept(&before).len(), 5, "{before}");
    assert_eq!(kept(&inside), kept(&before));
    for gone in ["169.254.7.7", "10.7.2.1"] {
        assert!(before.to_string().contains(gone), "{before}");
        assert!(!inside.to_string().contains(gone), "{inside}");
    }
    container.delete_force().assert_ok();
    // The kernel destroys virtual devices with their namespace.
    wait_until("the device is gone", || host.links().is_empty());
}

fn the_process_finds_the_device_up() {
    let host = with_uplink();
    host.sh("ip addr add 10.7.0.2/24 dev peer7");
    let bundle = bundle(&host, json!({"eth7": {}})).sh("ip address show dev eth7; ip route");
    let said = bundle.run().assert_ok().stdout;
    for text in [
        "LOWER_UP",
        "10.7.0.1/24",
        "fd00:7::1/64",
        "10.7.0.0/24 dev eth7",
    ] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert!(
        !said.contains("10.77.0.0"),
        "routes of the host stay there: {said}"
    );
    wait_until("the device is gone", || host.links().is_empty());
    host.sh(UPLINK);
    host.sh("ip addr add 10.7.0.2/24 dev peer7");
    let running = Kept::run(self::bundle(&host, json!({"eth7": {}})));
    assert!(host.reaches("10.7.0.1"));
    running.delete_force().assert_ok();
}

fn a_device_gets_another_name() {
    let host = with_uplink();
    let before = link_of(&host, "eth7");
    let container = Kept::create(bundle(&host, json!({"eth7": {"name": "lan"}})));
    let inside = link_in(&host, container.pid(), "lan");
    let text = |addresses: &[Value]| json!(addresses).to_string();
    // Labels follow the name, as with ip-link(8).
    let expected = text(&kept(&before)).replace("\"eth7", "\"lan");
    assert_eq!(text(&kept(&inside)), expected);
    assert!(expected.contains("\"lan:b\""), "{expected}");
    container.start().assert_ok();
    container.delete_force().assert_ok();
}

fn the_kernel_numbers_a_template() {
    let host = with_uplink();
    host.sh("ip link add eth8 type veth peer name eth9");
    let devices =
        json!({"eth7": {"name": "net%d"}, "eth8": {"name": "net0"}, "eth9": {"name": "net%d"}});
    let container = Kept::create(bundle(&host, devices));
    for (name, address) in [("net1", Some("fd00:7::1")), ("net0", None), ("net2", None)] {
        let inside = link_in(&host, container.pid(), name);
        assert!(inside["flags"].to_string().contains("\"UP\""), "{inside}");
        let first = address.map(|address| inside.to_string().contains(address));
        assert_ne!(first, Some(false), "{inside}");
    }
    let labels = link_in(&host, container.pid(), "net1").to_string();
    assert!(labels.contains("\"net1:b\""), "{labels}");
    container.delete_force().assert_ok();
}

fn two_devices_change_their_names() {
    let host = with_uplink();
    let devices = json!({"eth7": {"name": "peer7"}, "peer7": {"name": "eth7"}});
    let container = Kept::create(bundle(&host, devices));
    assert_eq!(link_in(&host, container.pid(), "peer7")["mtu"], 1400);
    assert!(
        link_in(&host, container.pid(), "peer7")
            .to_string()
            .contains("10.7.0.1")
    );
    assert_eq!(link_in(&host, container.pid(), "eth7")["operstate"], "UP");
    assert!(host.links().is_empty());
    container.delete_force().assert_ok();
}

/// config-linux.md, "Namespace Lifecycle and Container Termination".
fn a_device_moves_into_a_joined_namespace_and_stays_there() {
    let host = with_uplink();
    let pod = Holder::new(&["--net"]);
    host.sh_in(pod.pid(), "ip link add eth7 type veth peer name other");
    let bundle = bundle(&host, json!({"eth7": {"name": "lan"}}));
    let bundle = bundle.namespace("network", Some(&pod.path("net")));
    let container = bundle.run_detached();
    let inside = link_in(&host, pod.pid(), "lan");
    assert!(inside.to_string().contains("10.7.0.1"), "{inside}");
    container.delete_force().assert_ok();
    assert_eq!(link_in(&host, pod.pid(), "lan"), inside);
    assert_eq!(host.links(), ["peer7"]);
}

fn a_device_moves_into_a_user_namespace() {
    let host = with_uplink();
    host.sh("ip addr add 10.7.0.2/24 dev peer7");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = bundle(&host, json!({"eth7": {"name": "lan%d"}}))
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    let container = bundle.run_detached();
    let inside = link_in(&host, container.pid(), "lan0");
    assert_eq!(kept(&inside).len(), 5, "{inside}");
    assert!(host.reaches("10.7.0.1"));
    container.delete_force().assert_ok();
}

fn addresses(host: &Host) -> String {
    host.sh("ip -o -4 address")
}

/// `create` and `check` say the same, and the host keeps its devices.
#[track_caller]
fn assert_refused(host: &Host, bundle: &Bundle, text: &str) {
    let before = addresses(host);
    let check = ["check", "--bundle", bundle.path().to_str().unwrap()];
    for call in [bundle.call("create", &[]), bundle.runtime().call(&check)] {
        let outcome = call.run().assert_refused(text);
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
    assert_eq!(addresses(host), before);
}

fn a_device_that_cannot_be_moved_is_refused() {
    let host = with_uplink();
    host.sh("ip link add br7 type bridge");
    for (name, text) in [
        (
            "eth9",
            "linux.netDevices.eth9: the host has no such network device",
        ),
        (
            "lo",
            "linux.netDevices.lo: every network namespace has its own lo, which the kernel does not move",
        ),
        (
            "port-seven",
            "linux.netDevices.port-seven: this is another name of eth7; use eth7",
        ),
        (
            "a-name-of-16-byt",
            "linux.netDevices.a-name-of-16-byt: the name of an interface has 1 to 15 bytes",
        ),
    ] {
        assert_refused(&host, &bundle(&host, json!({"eth7": {}, name: {}})), text);
    }
    let bridge = bundle(&host, json!({"br7": {}, "eth7": {}}));
    let text = "linux.netDevices.br7: the kernel does not move network devices of this kind";
    bridge.call("create", &[]).run().assert_refused(text);
    // Before Linux 6.15, only the move itself shows it.
    if kernel() >= (6, 15) {
        assert_refused(&host, &bridge, text);
    }
}

/// The version of the kernel.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers =
        (release.split(|c: char| !c.is_ascii_digit())).map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn a_name_that_is_taken_is_refused() {
    let host = with_uplink();
    let pod = Holder::new(&["--net"]);
    host.sh_in(pod.pid(), "ip link add lan type veth peer name eth7");
    let joining = |devices| bundle(&host, devices).namespace("network", Some(&pod.path("net")));
    assert_refused(
        &host,
        &joining(json!({"eth7": {"name": "lan"}})),
        r#"linux.netDevices.eth7.name: "lan": the container's network namespace has a device with this name; choose another"#,
    );
    assert_refused(
        &host,
        &joining(json!({"eth7": {}})),
        "linux.netDevices.eth7: the container's network namespace has a device with this name; choose another",
    );
    // "unless the user has provided a template by appending %d to the new name".
    let container = Kept::create(joining(json!({"eth7": {"name": "lan%d"}})));
    assert_eq!(link_in(&host, pod.pid(), "lan0")["mtu"], 1400);
    container.delete_force().assert_ok();
}

fn the_namespace_must_not_be_the_hosts() {
    let host = with_uplink();
    let devices = || bundle(&host, json!({"eth7": {"name": "lan"}}));
    assert_refused(
        &host,
        &devices().without_namespace("network"),
        r#"linux.netDevices.eth7: the container shares the host's network; add {"type": "network"} to linux.namespaces"#,
    );
    assert_refused(
        &host,
        &devices().namespace("network", Some(&host.holder().path("net"))),
        "linux.netDevices.eth7: the container joins the host's network namespace; remove linux.namespaces[",
    );
}

fn a_caller_without_rights_is_refused() {
    let text = "linux.netDevices.eth7: needs CAP_NET_ADMIN on the host; run rt as root";
    let host = with_uplink();
    let bundle = bundle(&host, json!({"eth7": {}}));
    let before = addresses(&host);
    let without = bundle.call_through(&["setpriv", "--bounding-set=-net_admin"], "create", &[]);
    without.run().assert_refused(text);
    // Root of a user namespace that does not own the host's network.
    let check = ["check", "--bundle", bundle.path().to_str().unwrap()];
    let unshare = ["unshare", "--user", "--map-root-user"];
    bundle
        .runtime()
        .call_through(&unshare, &check)
        .run()
        .assert_refused(text);
    assert_eq!(addresses(&host), before);
}

fn it_works_beside_a_bridge() {
    let host = with_uplink();
    let devices = |devices| host.on_bridge().set("/linux/netDevices", devices);
    assert_refused(
        &host,
        &devices(json!({"eth7": {"name": "eth0"}})),
        r#"linux.netDevices.eth7.name: "eth0": the link of the annotation rt.network.bridge has this name; choose another"#,
    );
    let template = devices(json!({"eth7": {"name": "eth%d"}}));
    let container = Kept::create(annotate(template, &[("interface", "eth0")]));
    assert!(
        link_in(&host, container.pid(), "eth0")
            .to_string()
            .contains("10.88.0.2")
    );
    assert!(
        link_in(&host, container.pid(), "eth1")
            .to_string()
            .contains("10.7.0.1")
    );
    container.delete_force().assert_ok();
    wait_until("the devices are gone", || host.links().is_empty());
}
