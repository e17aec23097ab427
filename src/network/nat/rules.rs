//! The rules of a bridge, as text for nft(8).
//!
//! There is one table for each bridge. Its rules are the same for all containers; what belongs to
//! one container are elements of sets and maps. So a container is added and removed by key, and
//! `add` may be repeated: nft(8) leaves what is there, or makes it again after somebody has
//! flushed the rules. One text is one transaction.

use std::fmt::Write;

use anyhow::Result;
use ipnet::IpNet;

use super::family::Family;
use super::netfilter::{self, Netfilter};
use super::publish::Port;
use crate::network::lease::Lease;

/// The transaction that adds the container to its table.
pub(super) fn add(lease: &Lease, subnets: &[IpNet]) -> String {
    let mut text = declare(&lease.bridge);
    rules(&mut text, &lease.bridge, subnets);
    elements(&mut text, "add", lease);
    text
}

/// The transaction that removes the container from its table. To add an element before it is
/// deleted makes sure that it is there.
pub(super) fn remove(lease: &Lease) -> String {
    let mut text = declare(&lease.bridge);
    elements(&mut text, "add", lease);
    elements(&mut text, "delete", lease);
    text
}

/// The transaction that removes the table.
pub(super) fn remove_table(bridge: &str) -> String {
    let table = table(bridge);
    format!("add table {table}\ndelete table {table}\n")
}

/// Whether there is a table of the bridge.
///
/// # Errors
/// When the kernel refuses the question.
pub(super) fn has_table(bridge: &str, netfilter: &Netfilter) -> Result<bool> {
    netfilter.has_table(netfilter::Family::Inet, &name(bridge))
}

fn table(bridge: &str) -> String {
    format!("inet {}", name(bridge))
}

fn name(bridge: &str) -> String {
    format!("rt-{bridge}")
}

/// The maps and sets, and the chains. The priorities are the names `raw`, `dstnat`, `filter` and
/// `srcnat` of nft(8) as numbers, because not every version accepts each of them for each hook.
const DECLARATIONS: [&str; 12] = [
    "map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service ; }",
    "map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service ; }",
    "map addressed4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }",
    "map addressed6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service ; }",
    "set masqueraded4 { type ipv4_addr ; }",
    "set masqueraded6 { type ipv6_addr ; }",
    "chain guard { type filter hook prerouting priority -300 ; }",
    "chain prerouting { type nat hook prerouting priority -100 ; }",
    "chain output { type nat hook output priority -100 ; }",
    "chain publish",
    "chain forward { type filter hook forward priority 0 ; }",
    "chain postrouting { type nat hook postrouting priority 100 ; }",
];

fn declare(bridge: &str) -> String {
    let table = table(bridge);
    let mut text = format!("add table {table}\n");
    for declaration in DECLARATIONS {
        let (kind, rest) = declaration.split_once(' ').unwrap_or((declaration, ""));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add {kind} {table} {rest}");
    }
    text
}

/// Chain and rule. `BRIDGE` stands for the name of the bridge.
const RULES: [(&str, &str); 14] = [
    // `route_localnet` lets packets to 127.0.0.0/8 in from the bridge: replies, of which the
    // address is translated after this chain. All others are not for a container
    // (CVE-2020-8558).
    ("guard", r#"iifname "BRIDGE" ip daddr 127.0.0.0/8 drop"#),
    ("guard", r#"iifname "BRIDGE" ip saddr 127.0.0.0/8 drop"#),
    // A port that is published at 127.0.0.1 is for the host only. Its own packets go through
    // `output`; here are those of a neighbour that sends to 127.0.0.1.
    ("prerouting", "ip daddr 127.0.0.0/8 return"),
    ("prerouting", "fib daddr type local jump publish"),
    ("output", "fib daddr type local jump publish"),
    (
        "publish",
        "dnat ip to ip daddr . meta l4proto . th dport map @addressed4",
    ),
    (
        "publish",
        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @addressed6",
    ),
    ("publish", "dnat ip to meta l4proto . th dport map @ports4"),
    // A packet from ::1 cannot leave the host.
    (
        "publish",
        "ip6 daddr != ::1 dnat ip6 to meta l4proto . th dport map @ports6",
    ),
    // The host forwards. Without these two rules a neighbour that sends packets for the
    // container's own address to the host would reach ports that are not published.
    (
        "forward",
        r#"iifname != "BRIDGE" ct state new ct status & dnat == 0 ip daddr @masqueraded4 drop"#,
    ),
    (
        "forward",
        r#"iifname != "BRIDGE" ct state new ct status & dnat == 0 ip6 daddr @masqueraded6 drop"#,
    ),
    // The container would answer to its own loopback interface.
    (
        "postrouting",
        r#"oifname "BRIDGE" ip saddr 127.0.0.0/8 masquerade"#,
    ),
    (
        "postrouting",
        r#"oifname != "BRIDGE" ip saddr @masqueraded4 masquerade"#,
    ),
    (
        "postrouting",
        r#"oifname != "BRIDGE" ip6 saddr @masqueraded6 masquerade"#,
    ),
];

/// Rules have no keys, so all are replaced.
fn rules(text: &mut String, bridge: &str, subnets: &[IpNet]) {
    let table = table(bridge);
    let _ = writeln!(text, "flush table {table}");
    for (chain, rule) in RULES {
        let rule = rule.replace("BRIDGE", bridge);
        let _ = writeln!(text, "add rule {table} {chain} {rule}");
    }
    // Containers of the bridge that call a published port: the called one would answer directly,
    // from an address that was not called. `iifname` is not known here for a packet that has
    // not left the bridge (`bridge-nf-call-iptables`).
    for subnet in subnets.iter().map(IpNet::trunc) {
        let family = if subnet.addr().is_ipv4() { "ip" } else { "ip6" };
        let _ = writeln!(
            text,
            r#"add rule {table} postrouting oifname "{bridge}" {family} saddr {subnet} ct status dnat masquerade"#
        );
    }
}

/// Adds or deletes what belongs to one container.
fn elements(text: &mut String, verb: &str, lease: &Lease) {
    let table = table(&lease.bridge);
    let mut element = |set: &str, element: &str| {
        let _ = writeln!(text, "{verb} element {table} {set} {{ {element} }}");
    };
    for family in Family::of(lease) {
        let digit = family.digit();
        let masqueraded = family.addresses(lease).filter(|_| lease.masquerade);
        for address in masqueraded {
            element(&format!("masqueraded{digit}"), &address.to_string());
        }
        let Some(address) = family.addresses(lease).next() else {
            continue;
        };
        for port in lease.ports.iter().filter(|port| family.has(port)) {
            let ((map, key), to) = (key(port), port.container_port);
            element(
                &format!("{map}{digit}"),
                &format!("{key} : {address} . {to}"),
            );
        }
    }
}

/// The map of a port, without the digit of the family, and its key there.
fn key(port: &Port) -> (&'static str, String) {
    let (protocol, number) = (port.protocol, port.host_port);
    match port.specific_address() {
        Some(address) => ("addressed", format!("{address} . {protocol} . {number}")),
        None => ("ports", format!("{protocol} . {number}")),
    }
}
