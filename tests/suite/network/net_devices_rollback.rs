//! A command that fails or is killed after it has moved devices of the host (`linux.netDevices`).

use std::cell::RefCell;

use serde_json::{Value, json};

use super::host::Host;
use super::kills::{PLACES, delete, each_failure};
use super::net_devices::{UPLINK, bundle, with_uplink};
use crate::harness::{Bundle, Holder, HostState, killed_everywhere, trials, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_mount_that_fails_gives_the_devices_back,
        a_hook_that_fails_gives_the_devices_back,
        a_device_that_fails_gives_the_others_back,
        a_failed_run_in_a_joined_namespace_gives_the_devices_back,
        every_failed_request_gives_the_device_back,
        after_a_killed_create_the_device_is_on_the_host_or_gone,
    ]
}

/// Devices in every state: `eth7` up, with addresses and routes; `eth8` a port of a bridge; `eth9` down, with
/// addresses and no link-local one.
fn with_three_devices() -> Host {
    let host = with_uplink();
    host.sh("ip link add br8 type bridge && ip link set br8 up
        ip link add eth8 type veth peer name peer8
        ip link set eth8 master br8 up && ip link set peer8 up
        ip link add eth9 type veth peer name peer9
        ip link set eth9 addrgenmode none
        ip addr add 10.9.0.1/24 dev eth9 && ip addr add fd00:9::1/64 dev eth9 nodad");
    host
}

fn three() -> Value {
    json!({"eth7": {"name": "lan"}, "eth8": {"name": "eth%d"}, "eth9": {"name": "eth7"}})
}

/// All that a host has of devices, addresses and routes, once the kernel has verified new addresses and noticed
/// carriers.
pub(super) fn settled(host: &Host) -> String {
    let mut addresses = String::new();
    wait_until("the host's devices are ready", || {
        addresses = host.sh("ip -j addr");
        let links: Vec<Value> = serde_json::from_str(&addresses).unwrap();
        let is_ready = |link: &Value| {
            let flags = link["flags"].to_string();
            flags.contains("LOOPBACK") || !flags.contains("\"UP\"") || link["operstate"] == "UP"
        };
        links.iter().all(is_ready) && !addresses.contains("tentative")
    });
    let routes = host.sh("ip route show table all; ip -6 route show table all");
    let mut routes: Vec<&str> = routes.lines().map(str::trim_end).collect();
    routes.sort_unstable();
    let links = host.sh("ip -j link");
    format!("{links}{addresses}{}", routes.join("\n"))
}

/// A step of init fails after the devices were moved.
fn with_a_mount_that_fails(bundle: Bundle) -> Bundle {
    bundle.folder("data").mount(json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["size=x"]
    }))
}

fn a_mount_that_fails_gives_the_devices_back() {
    let host = with_three_devices();
    let before = settled(&host);
    let failing = with_a_mount_that_fails(bundle(&host, three()));
    let state = HostState::of(&failing);
    for verb in ["create", "run"] {
        let outcome = failing.call(verb, &[]).run().assert_refused("mounts[");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert_eq!(settled(&host), before, "after {verb}");
        state.assert_unchanged(&failing);
    }
    // They can be used again.
    bundle(&host, three()).create().delete_force().assert_ok();
}

fn a_hook_that_fails_gives_the_devices_back() {
    let host = with_three_devices();
    let before = settled(&host);
    let seen = host.runtime().home().join("seen");
    let script = format!("ip -o link show > {}; exit 7", seen.display());
    let bundle = bundle(&host, three()).set(
        "/hooks/createRuntime",
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }]),
    );
    bundle
        .call("create", &[])
        .run()
        .assert_refused("hooks.createRuntime[0]");
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(
        !seen.contains("eth7"),
        "the hook comes after the move: {seen}"
    );
    assert_eq!(settled(&host), before);
}

fn a_device_that_fails_gives_the_others_back() {
    let host = with_three_devices();
    let before = settled(&host);
    let pod = Holder::new(&["--net"]);
    host.sh_in(pod.pid(), "sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    let bundle = bundle(&host, json!({"eth8": {"name": "lan"}, "eth9": {}}))
        .namespace("network", Some(&pod.path("net")));
    bundle.call("create", &[]).run().assert_refused(
        "linux.netDevices.eth9: address fd00:9::1/64: permission denied (EACCES; IPv6 is disabled; see the sysctls",
    );
    assert_eq!(settled(&host), before);
}

fn a_failed_run_in_a_joined_namespace_gives_the_devices_back() {
    let host = with_three_devices();
    // The name of one is taken there, and the name of another comes back to a host that has it.
    let pod = Holder::new(&["--net"]);
    host.sh_in(pod.pid(), "ip link add eth8 type veth peer name other");
    host.sh("ip link add lan type veth peer name wan");
    let before = settled(&host);
    let bundle = with_a_mount_that_fails(bundle(&host, three()));
    let bundle = bundle.namespace("network", Some(&pod.path("net")));
    bundle.call("run", &[]).run().assert_refused("mounts[");
    assert_eq!(settled(&host), before);
    let left = host.sh_in(pod.pid(), "ip -o link show");
    assert_eq!(left.lines().count(), 3, "{left}");
}

fn every_failed_request_gives_the_device_back() {
    let host = with_uplink();
    let bundle = bundle(&host, json!({"eth7": {"name": "lan%d"}}));
    let before = RefCell::new(settled(&host));
    let create = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    each_failure(&bundle, &|| (), &create, |place, failed| {
        if !failed {
            bundle.container().delete_force().assert_ok();
            wait_until("the device is gone", || host.links().is_empty());
            host.sh(UPLINK);
            *before.borrow_mut() = settled(&host);
        }
        assert_eq!(settled(&host), *before.borrow(), "{place}");
    });
}

/// If nobody can give it back, the kernel destroys it with the container's namespace.
fn after_a_killed_create_the_device_is_on_the_host_or_gone() {
    let host = with_uplink();
    let bundle = bundle(&host, json!({"eth7": {"name": "lan"}}));
    let state = HostState::of(&bundle);
    let before = RefCell::new(settled(&host));
    let call = |strace: &[&str]| bundle.call_through(strace, "create", &[]);
    killed_everywhere(bundle.runtime(), PLACES, call, |place| {
        delete(&bundle, &[]).run().assert_ok();
        let is_there = || host.links() == ["peer7", "eth7"];
        wait_until(place, || host.links().is_empty() || is_there());
        if !is_there() {
            host.sh(UPLINK);
            *before.borrow_mut() = settled(&host);
        }
        assert_eq!(settled(&host), *before.borrow(), "{place}");
        let left = state.changes_since(&bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
    });
}
