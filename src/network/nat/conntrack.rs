//! The kernel's memory of connections.
//!
//! Rules decide about the first packet of a connection only. For UDP, a caller that keeps sending
//! keeps its connection, so it would not notice that a port is published, or has moved to
//! another container; and the next container with the same address would get its packets.

use std::net::IpAddr;

use anyhow::Result;
use netlink_packet_core::NLA_F_NESTED;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::family::Family;
use super::netfilter::none_if_absent;
use super::publish::{Port, Protocol};
use crate::network::lease::Lease;
use crate::network::netlink::{Answer, Message, Netlink, attribute, find};

/// The size of `struct nfgenmsg`.
const HEADER: usize = 4;

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte, with `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;

// Attributes of linux/netfilter/nfnetlink_conntrack.h, without `CTA_`.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

// What a filter compares, without `CTA_FILTER_FLAG_CTA_`. Linux 5.8 has filters.
const IP_SRC: u32 = 1 << 0;
const WITH_PROTO_NUM: u32 = 1 << 3;
const WITH_DST_PORT: u32 = 1 << 5;

/// Connections deleted by one request.
const BATCH: usize = 500;

/// Forgets the connections of a container that ends.
///
/// # Errors
/// When the kernel refuses it.
pub(super) fn forget(lease: &Lease) -> Result<()> {
    let netlink = Netlink::open_for(SockProtocol::NetlinkNetFilter)?;
    for family in Family::of(lease) {
        for address in family.addresses(lease) {
            let source = nested(
                TUPLE_IP,
                &[attribute(source_kind(family), &octets(address))],
            );
            for direction in [TUPLE_ORIG, TUPLE_REPLY] {
                delete(&netlink, family, (direction, IP_SRC, &source), |_| true)?;
            }
        }
    }
    Ok(())
}

/// Forgets the connections to the UDP ports of a new container that go elsewhere: to a
/// process of the host that has ended. Those that are translated are not for the host.
///
/// # Errors
/// When the kernel refuses it.
pub(super) fn forget_former(ports: &[Port], lease: &Lease) -> Result<()> {
    let mut ports = ports
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
        .peekable();
    if ports.peek().is_none() {
        return Ok(());
    }
    let netlink = Netlink::open_for(SockProtocol::NetlinkNetFilter)?;
    for port in ports {
        // The protocol's number is small.
        let members = [
            attribute(PROTO_NUM, &[libc::IPPROTO_UDP as u8]),
            attribute(PROTO_DST_PORT, &port.host_port.to_be_bytes()),
        ];
        let to_port = nested(TUPLE_PROTO, &members);
        for family in Family::of(lease)
            .into_iter()
            .filter(|family| family.has(port))
        {
            let filter = (TUPLE_ORIG, WITH_PROTO_NUM | WITH_DST_PORT, &*to_port);
            delete(&netlink, family, filter, |answer| {
                !is_translated(answer, family)
            })?;
        }
    }
    Ok(())
}

/// Deletes the connections of which the tuple of one direction has what is compared.
fn delete(
    netlink: &Netlink,
    family: Family,
    (direction, compared, tuple): (u16, u32, &[u8]),
    is_chosen: impl Fn(&Answer) -> bool,
) -> Result<()> {
    // `CTA_FILTER_ORIG_FLAGS` and `CTA_FILTER_REPLY_FLAGS` have the numbers of the tuples.
    let flags = nested(FILTER, &[attribute(direction, &compared.to_ne_bytes())]);
    let list = message(GET, family)
        .bytes(&flags)
        .bytes(&nested(direction, &[tuple.to_vec()]));
    let answers = none_if_absent(netlink.dump(&list))?.unwrap_or_default();
    let named = |answer: &Answer| {
        let original = answer.attribute(HEADER, TUPLE_ORIG)?;
        let message = message(DELETE, family)
            .attribute(TUPLE_ORIG | NLA_F_NESTED, original)
            .attribute(ID, answer.attribute(HEADER, ID)?);
        Some(message.tolerate(Errno::ENOENT))
    };
    let chosen = answers.iter().filter(|answer| is_chosen(answer));
    let messages: Vec<Message> = chosen.filter_map(named).collect();
    messages
        .chunks(BATCH)
        .try_for_each(|batch| netlink.change(batch))
}

/// Whether the answers come from another address than was asked, or go to another.
fn is_translated(answer: &Answer, family: Family) -> bool {
    let addresses = |direction| {
        let ip = find(answer.attribute(HEADER, direction)?, TUPLE_IP)?;
        let source = source_kind(family);
        Some((find(ip, source)?, find(ip, source + 1)?))
    };
    match (addresses(TUPLE_ORIG), addresses(TUPLE_REPLY)) {
        (Some((from, to)), Some((answering, answered))) => (from, to) != (answered, answering),
        _ => false,
    }
}

/// `CTA_IP_V4_SRC` or `CTA_IP_V6_SRC`. The destination has the next number.
fn source_kind(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 3,
    }
}

fn message(kind: u16, family: Family) -> Message {
    let number = match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    // Both are small.
    Message::new(kind, 0, &[number as u8, 0, 0, 0], "forget connections")
}

fn nested(kind: u16, members: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &members.concat())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
