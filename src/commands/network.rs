//! `rt network`: the bridges with containers of `rt`, their leases, ports and traffic.

use anyhow::Result;
use clap::{ArgMatches, Command};
use serde::Serialize;

use super::table::columns;
use super::{Globals, choices, print};
use crate::container;
use crate::decisions::word;
use crate::network::{self, Bridge, Lease, Port, Traffic};

const EMPTY: &str =
    "no container has a network of rt; the annotation rt.network.bridge gives it one\n";

pub(super) fn define(command: Command) -> Command {
    command
        .about("List the bridges, addresses, ports and traffic of containers")
        .after_help("Example: rt network --format json")
        .arg(choices::format())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let format = matches.get_one::<String>("format").map(String::as_str);
    let bridges = network::bridges()?;
    let text = match format {
        Some("table") if bridges.is_empty() => EMPTY.to_owned(),
        Some("table") => bridges
            .iter()
            .map(|bridge| table(globals, bridge))
            .collect(),
        Some("json") => {
            let entries: Vec<BridgeEntry> = bridges.iter().map(BridgeEntry::new).collect();
            format!("{}\n", serde_json::to_string(&entries)?)
        }
        other => return Err(choices::unknown_format(other.unwrap_or_default())),
    };
    print(&text)?;
    Ok(0)
}

/// The status of the container that holds the lease, or `gone`: then the next container of the
/// bridge gets the lease.
fn status(lease: &Lease) -> String {
    match container::status(&lease.root, &lease.id) {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "gone".to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

/// A bridge in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BridgeEntry<'a> {
    bridge: &'a str,
    made_by_rt: bool,
    subnets: Vec<String>,
    containers: Vec<LeaseEntry<'a>>,
}

/// A lease in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LeaseEntry<'a> {
    id: &'a str,
    root: String,
    status: String,
    interface: &'a str,
    host_interface: &'a str,
    mac: &'a str,
    addresses: Vec<String>,
    gateways: Vec<String>,
    masquerade: bool,
    ports: Vec<String>,
    /// Bytes; absent without a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
}

impl<'a> BridgeEntry<'a> {
    fn new(bridge: &'a Bridge) -> BridgeEntry<'a> {
        BridgeEntry {
            bridge: &bridge.name,
            made_by_rt: bridge.made_by_rt,
            subnets: texts(&bridge.subnets),
            containers: bridge.leases.iter().map(LeaseEntry::new).collect(),
        }
    }
}

impl<'a> LeaseEntry<'a> {
    fn new((lease, traffic): &'a (Lease, Option<Traffic>)) -> LeaseEntry<'a> {
        LeaseEntry {
            id: &lease.id,
            root: lease.root.display().to_string(),
            status: status(lease),
            interface: &lease.interface,
            host_interface: &lease.host_interface,
            mac: &lease.mac,
            addresses: texts(&lease.addresses),
            gateways: texts(&lease.gateways),
            masquerade: lease.masquerade,
            ports: lease.ports.iter().map(Port::text).collect(),
            received: traffic.map(|traffic| traffic.received),
            sent: traffic.map(|traffic| traffic.sent),
        }
    }
}

/// A line for the bridge, and below it one for each lease.
fn table(globals: &Globals, bridge: &Bridge) -> String {
    let maker = if bridge.made_by_rt {
        "made by rt"
    } else {
        "not made by rt"
    };
    let header = [
        "  ID",
        "STATUS",
        "INTERFACE",
        "ADDRESS",
        "PORTS",
        "RECEIVED",
        "SENT",
    ];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    let leases = bridge.leases.iter();
    lines.extend(leases.map(|(lease, traffic)| line(globals, lease, *traffic)));
    let subnets = texts(&bridge.subnets).join(", ");
    format!("{} ({maker}): {subnets}\n{}", bridge.name, columns(&lines))
}

fn line(globals: &Globals, lease: &Lease, traffic: Option<Traffic>) -> Vec<String> {
    let id = if lease.root == globals.root {
        format!("  {}", lease.id)
    } else {
        format!("  {} (--root {})", lease.id, word(lease.root.display()))
    };
    let or_none = |texts: Vec<String>| {
        Some(texts.join(","))
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "-".to_owned())
    };
    let shown = |count: fn(Traffic) -> u64| {
        let count = traffic.map(count);
        count.map_or_else(|| "-".to_owned(), bytes)
    };
    vec![
        id,
        status(lease),
        lease.interface.clone(),
        or_none(texts(&lease.addresses)),
        or_none(lease.ports.iter().map(Port::text).collect()),
        shown(|traffic| traffic.received),
        shown(|traffic| traffic.sent),
    ]
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// A number of bytes with a unit of 1000, as the traffic of links is usually counted.
fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut tenths, mut unit) = (count / 100, 0);
    while tenths >= 10_000 {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_950, "1.9 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
