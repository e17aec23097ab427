//! `rt network`, and what `rt list` and `rt state` show of a network.

use serde_json::{Value, json};

use super::host::{Host, annotate, annotation, container_reaches};
use crate::harness::{Bundle, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        without_a_network_there_is_one_line,
        the_table_has_a_line_for_each_container,
        the_json_has_everything,
        a_container_below_another_root_names_it,
        a_bridge_of_the_host_is_shown_as_such,
        a_lease_without_a_container_is_gone,
        an_unknown_format_is_refused,
        a_user_without_permission_gets_one_line,
        the_list_has_addresses_only_if_a_container_has_a_network,
        the_state_has_what_was_assigned,
    ]
}

/// The words of each line that `rt VERB` prints.
fn rows(host: &Host, verb: &str) -> Vec<Vec<String>> {
    let shown = host.runtime().call(&[verb]).run().assert_ok().stdout;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    shown.lines().map(words).collect()
}

fn json_of(host: &Host) -> Value {
    let call = host.runtime().call(&["network", "--format", "json"]);
    serde_json::from_str(&call.run().assert_ok().stdout).unwrap()
}

fn on_bridge(host: &Host, id: &str) -> Bundle {
    let network = [("bridge", "br0"), ("subnet", "10.88.0.1/24")];
    host.bundle(&network).with_id(id)
}

fn without_a_network_there_is_one_line() {
    let host = Host::new();
    let shown = host.runtime().call(&["network"]).run().assert_ok();
    let line = "no container has a network of rt; the annotation rt.network.bridge gives it one\n";
    assert_eq!((&*shown.stdout, &*shown.stderr), (line, ""));
    assert_eq!(json_of(&host), json!([]));
    host.assert_clean();
}

fn the_table_has_a_line_for_each_container() {
    let host = Host::new();
    let bundles = [
        on_bridge(&host, "network-b"),
        on_bridge(&host, "network-a"),
        on_bridge(&host, "network-c").args(&["/bin/true"]),
    ];
    let running = bundles[0].run_detached();
    let created = bundles[1].create();
    let stopped = bundles[2].run_detached();
    stopped.wait_stopped();
    assert!(host.reaches("10.88.0.2"));
    let rows = rows(&host, "network");
    assert_eq!(rows[0].join(" "), "br0 (made by rt): 10.88.0.1/24");
    let header = "ID STATUS INTERFACE ADDRESS PORTS RECEIVED SENT";
    assert_eq!(rows[1].join(" "), header);
    for (row, start) in rows[2..].iter().zip([
        "network-a created eth0 10.88.0.3/24 -",
        "network-b running eth0 10.88.0.2/24 -",
        "network-c stopped eth0 10.88.0.4/24 -",
    ]) {
        assert_eq!(row[..5].join(" "), start);
    }
    assert_eq!(rows.len(), 5);
    for container in [running, created, stopped] {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
}

/// Traffic is seen from the container: it receives what the host sends.
fn the_json_has_everything() {
    let host = Host::new();
    let bundle = annotate(on_bridge(&host, "network-json"), &[("interface", "net0")]);
    let container = bundle.run_detached();
    host.sh("busybox ping -c 1 -s 5000 -W 5 10.88.0.2");
    let shown = json_of(&host);
    assert_eq!(shown[0]["bridge"], "br0");
    assert_eq!(shown[0]["madeByRt"], true);
    assert_eq!(shown[0]["subnets"], json!(["10.88.0.1/24"]));
    let entry = &shown[0]["containers"][0];
    for (key, value) in [
        ("id", json!("network-json")),
        ("root", json!(host.runtime().root())),
        ("status", json!("running")),
        ("interface", json!("net0")),
        ("mac", json!(annotation(&container, "mac"))),
        ("addresses", json!(["10.88.0.2/24"])),
        ("gateways", json!(["10.88.0.1"])),
        ("masquerade", json!(false)),
        ("ports", json!([])),
    ] {
        assert_eq!(entry[key], value, "{key} in {entry}");
    }
    let interface = entry["hostInterface"].as_str().unwrap();
    assert!(host.links().iter().any(|link| link == interface));
    let before = [&entry["received"], &entry["sent"]].map(|count| count.as_u64().unwrap());
    assert!(before[0] > 5000 && before[1] > 5000, "{entry}");
    // The only answer to this datagram is that nobody listens.
    host.sh("bash -c 'dd if=/dev/zero bs=8000 count=1 2>/dev/null > /dev/udp/10.88.0.2/9'");
    let entry = &json_of(&host)[0]["containers"][0];
    let received = entry["received"].as_u64().unwrap() - before[0];
    let sent = entry["sent"].as_u64().unwrap() - before[1];
    assert!(received > sent + 5000, "received {received}, sent {sent}");
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn a_container_below_another_root_names_it() {
    let host = Host::new();
    let bundle = on_bridge(&host, "network-root");
    let container = bundle.create();
    let program = host.runtime().program();
    let shown = host.sh(&format!("{} --root /run/other network", program.display()));
    let name = format!("network-root (--root {})", host.runtime().root().display());
    assert!(shown.contains(&name), "{shown}");
    assert!(shown.contains(" created "), "{shown}");
    container.delete_force().assert_ok();
}

fn a_bridge_of_the_host_is_shown_as_such() {
    let host = Host::new();
    host.sh("ip link add br1 type bridge && ip addr add 10.9.0.1/24 dev br1 && ip link set br1 up");
    let bundles = [
        on_bridge(&host, "network-made"),
        host.bundle(&[("bridge", "br1")]),
    ];
    let containers = bundles.each_ref().map(Bundle::create);
    let shown = rows(&host, "network");
    assert_eq!(shown[0].join(" "), "br0 (made by rt): 10.88.0.1/24");
    assert_eq!(shown[3].join(" "), "br1 (not made by rt): 10.9.0.1/24");
    assert_eq!(json_of(&host)[1]["madeByRt"], false);
    for container in containers {
        container.delete_force().assert_ok();
    }
}

fn a_lease_without_a_container_is_gone() {
    let host = Host::new();
    let bundle = on_bridge(&host, "network-gone");
    let container = bundle.create();
    let pid = container.pid();
    let directory = host.runtime().root().join("network-gone");
    host.sh(&format!("kill -9 {pid}; rm -r {}", directory.display()));
    let shown = rows(&host, "network");
    assert_eq!(shown[2][..2], ["network-gone", "gone"]);
    container.delete_force().assert_ok();
    assert_eq!(json_of(&host), json!([]));
}

fn an_unknown_format_is_refused() {
    let host = Host::new();
    let outcome = host.runtime().call(&["network", "-f", "jso"]).run();
    let line = "rt network: invalid format option: jso: did you mean json?";
    assert_eq!(outcome.one_line(), line);
    assert_eq!((outcome.code(), &*outcome.stdout), (1, ""));
}

fn a_user_without_permission_gets_one_line() {
    let host = Host::new();
    let bundle = on_bridge(&host, "network-user");
    let container = bundle.create();
    let program = host.runtime().program();
    let command = format!(
        "cd /; setpriv --reuid=65534 --regid=65534 --clear-groups {} network",
        program.display()
    );
    let outcome = host.try_sh(&command);
    let line = "rt network: /run/rt/network: permission denied (EACCES): run rt as root";
    assert_eq!(outcome.one_line(), line);
    assert_eq!(outcome.code(), 1);
    container.delete_force().assert_ok();
}

fn the_list_has_addresses_only_if_a_container_has_a_network() {
    let host = Host::new();
    let bundles = [
        host.bundle(&[]).with_id("list-other"),
        host.on_bridge().with_id("list-web"),
    ];
    let other = bundles[0].create();
    let last = |rows: &[Vec<String>]| {
        let last = rows.iter().map(|row| row.last().unwrap().clone());
        last.collect::<Vec<_>>()
    };
    assert_eq!(last(&rows(&host, "list")), ["OWNER", "root"]);
    let web = bundles[1].create();
    let addresses = "10.88.0.2,fd00:88::2";
    assert_eq!(last(&rows(&host, "list")), ["ADDRESS", "-", addresses]);
    let json = host
        .runtime()
        .call(&["list", "-f", "json"])
        .run()
        .assert_ok();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let assigned = "10.88.0.2/24,fd00:88::2/64";
    assert_eq!(json[1]["annotations"]["rt.network.address"], assigned);
    assert_eq!(json[0].get("annotations"), None);
    web.delete_force().assert_ok();
    assert_eq!(last(&rows(&host, "list")), ["OWNER", "root"]);
    other.delete_force().assert_ok();
}

fn the_state_has_what_was_assigned() {
    let host = Host::new();
    let bundle = host.on_bridge();
    let container = bundle.run_detached();
    assert_eq!(
        annotation(&container, "address"),
        "10.88.0.2/24,fd00:88::2/64"
    );
    assert_eq!(annotation(&container, "gateway"), "10.88.0.1,fd00:88::1");
    assert_eq!(annotation(&container, "interface"), "eth0");
    assert!(container_reaches(&container, "10.88.0.1"));
    container.delete_force().assert_ok();
}
