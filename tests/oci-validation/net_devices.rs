//! config-linux.md, "Network Devices" and "Namespace Lifecycle and Container Termination".

use std::process::Command;

use serde_json::{Value, json};

use crate::common::assert_error;
use crate::harness::{Bundle, Holder, Kind, Runtime, needs, trials, violates};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_device_is_available_in_the_container,
        addresses_are_preserved,
        the_device_is_up,
        an_existing_name_is_an_error,
        a_template_gives_an_existing_name_a_number,
        an_absent_device_is_an_error,
        it_is_not_moved_back,
    ]
}

/// The namespace of a runtime that has the device `moved`, which is down.
fn host() -> Holder {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
    needs("ip", "iproute2");
    let make = "ip link add moved type veth peer name other && ip addr add 10.9.8.7/24 dev moved && \
                ip -6 addr add fd00::7/64 dev moved nodad && exec \"$@\"";
    Holder::start(&["unshare", "--net", "sh", "-c", make, "sh"])
}

fn with(host: &Holder, devices: Value) -> Bundle {
    let runtime = Runtime::new().within(host, &["net"]);
    Bundle::with_runtime(&runtime).set("/linux/netDevices", devices)
}

/// "netDevices (object, OPTIONAL) - A set of network devices that MUST be made available in the container."
fn the_device_is_available_in_the_container() {
    let host = host();
    let seen = with(&host, json!({"moved": {}})).probe();
    assert!(
        seen["interfaces"]["moved"].is_object(),
        "{}",
        seen["interfaces"]
    );
}

/// "The runtime MUST preserve existing network interface attributes, including all permanent IP addresses".
fn addresses_are_preserved() {
    let host = host();
    let script = "cat /proc/net/fib_trie /proc/net/if_inet6";
    let outcome = with(&host, json!({"moved": {"name": "inner"}}))
        .sh(script)
        .run()
        .assert_ok();
    assert!(outcome.stdout.contains("10.9.8.7"), "{outcome}");
    assert!(
        outcome.stdout.contains("fd000000000000000000000000000007"),
        "{outcome}"
    );
}

/// "The runtime MUST set the network device state to \"up\" after moving it to the network namespace".
fn the_device_is_up() {
    let host = host();
    let seen = with(&host, json!({"moved": {"name": "inner"}})).probe();
    assert_eq!(
        seen["interfaces"]["inner"]["up"], true,
        "{}",
        seen["interfaces"]
    );
}

/// "If a network device with the specified name already exists in the container namespace, the runtime MUST generate an
/// error".
fn an_existing_name_is_an_error() {
    let host = host();
    assert_error(with(&host, json!({"moved": {"name": "lo"}})));
}

/// "unless the user has provided a template by appending %d to the new name. In that case, the runtime MUST allow the move,
/// and the kernel will generate a unique name".
fn a_template_gives_an_existing_name_a_number() {
    let host = host();
    let seen = with(&host, json!({"moved": {"name": "lo%d"}})).probe();
    assert!(
        seen["interfaces"]["lo0"].is_object(),
        "{}",
        seen["interfaces"]
    );
}

/// "The runtime MUST check if moving the network interface to the container namespace is possible."
fn an_absent_device_is_an_error() {
    let host = host();
    assert_error(with(&host, json!({"absent": {}})));
}

/// "The runtime MUST NOT attempt to move the interface out of the namespace before deletion."
fn it_is_not_moved_back() {
    let host = host();
    let config = with(&host, json!({"moved": {}})).config().clone();
    let runtime = Runtime::new().within(&host, &["net"]);
    let bundle = Bundle::with_runtime(&runtime)
        .with_config(config)
        .args(&["/probe", "sleep"]);
    let container = bundle.create();
    container.end();
    let net = format!("--net={}", host.path("net"));
    let shown = Command::new("nsenter")
        .args([&net, "ip", "link", "show", "moved"])
        .output()
        .unwrap();
    assert!(
        !shown.status.success(),
        "it is back in the namespace of the runtime"
    );
}
