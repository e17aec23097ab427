//! The requests about links, addresses and routes that a network needs.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use ipnet::IpNet;
use libc::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_BROADCAST, IFA_F_NODAD, IFA_FLAGS, IFA_LOCAL, IFF_UP,
    IFLA_ADDRESS, IFLA_EXT_MASK, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, NLM_F_CREATE, NLM_F_EXCL,
    RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_TABLE, RTM_DELLINK,
    RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_SETLINK,
    RTN_UNICAST, RTPROT_STATIC,
};
use nix::errno::Errno;

use super::netlink::{Answer, Message, Netlink, attribute, find, number};

/// `VETH_INFO_PEER` (linux/veth.h).
const VETH_INFO_PEER: u16 = 1;
/// `IFLA_BR_FORWARD_DELAY` (linux/if_link.h).
const FORWARD_DELAY: u16 = 1;
/// `RTEXT_FILTER_SKIP_STATS` (linux/rtnetlink.h).
pub(super) const SKIP_STATISTICS: u32 = 1 << 3;

/// A request for something new.
pub(super) const CREATE: u16 = (NLM_F_CREATE | NLM_F_EXCL) as u16;

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// `bridge`, `veth`; empty for hardware.
    pub(super) kind: String,
    pub(super) mtu: u32,
    pub(super) mac: Vec<u8>,
}

/// A new link pair.
pub(super) struct Pair<'a> {
    pub(super) host_interface: &'a str,
    pub(super) interface: &'a str,
    pub(super) mac: [u8; 6],
    pub(super) mtu: Option<u32>,
    /// Explains the host's end to those who look at it.
    pub(super) alias: &'a str,
    pub(super) bridge: u32,
}

/// `struct ifinfomsg`: the index 0 stands for the link that an attribute names.
pub(super) fn interface_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes()); // Which flags to change.
    header
}

const UP: u32 = IFF_UP as u32;

impl Netlink {
    /// The link with this name.
    pub(super) fn link(&self, name: &str, what: &str) -> Result<Option<Link>> {
        self.read_link(name, link_of, what)
    }

    /// What `read` makes of the kernel's answer about the link with this name.
    pub(super) fn read_link<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Answer) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>> {
        let message = Message::new(RTM_GETLINK, 0, &interface_header(0, 0), what)
            .text(IFLA_IFNAME, name)
            .number(IFLA_EXT_MASK, SKIP_STATISTICS)
            .tolerate(Errno::ENODEV);
        let Some(answer) = self.get(&message)? else {
            return Ok(None);
        };
        let link = read(&answer).ok_or(Errno::EBADMSG);
        link.map(Some).with_context(|| what.to_owned())
    }

    /// The addresses of a link that others on it can reach, with their prefixes.
    pub(super) fn addresses(&self, index: u32, what: &str) -> Result<Vec<IpNet>> {
        // `struct ifaddrmsg`.
        let message = Message::new(RTM_GETADDR, 0, &[0; 8], what);
        let address_of = |answer: &Answer| {
            let [_, length, _, scope, owner @ ..] = answer.header::<8>()?;
            let is_own = u32::from_ne_bytes(owner) == index && scope == RT_SCOPE_UNIVERSE;
            let local = answer.attribute(8, IFA_LOCAL);
            let address = local.or_else(|| answer.attribute(8, IFA_ADDRESS))?;
            is_own.then(|| net(address, length))?
        };
        let answers = self.dump(&message)?;
        Ok(answers.iter().filter_map(address_of).collect())
    }

    /// The destinations of the main table, without the default routes.
    pub(super) fn routes(&self, what: &str) -> Result<Vec<IpNet>> {
        // `struct rtmsg`.
        let message = Message::new(RTM_GETROUTE, 0, &[0; 12], what);
        let destination_of = |answer: &Answer| {
            let [_, length, _, _, table, ..] = answer.header::<12>()?;
            let table = (answer.attribute(12, RTA_TABLE).and_then(number)).unwrap_or(table.into());
            let is_main = table == u32::from(RT_TABLE_MAIN);
            is_main.then(|| net(answer.attribute(12, RTA_DST)?, length))?
        };
        let answers = self.dump(&message)?;
        Ok(answers.iter().filter_map(destination_of).collect())
    }

    /// Makes a bridge that is down. Its MAC address does not follow those of its ports.
    pub(super) fn make_bridge(&self, name: &str, mac: [u8; 6], what: &str) -> Result<()> {
        let data = attribute(FORWARD_DELAY, &0_u32.to_ne_bytes());
        let message = Message::new(RTM_NEWLINK, CREATE, &interface_header(0, 0), what)
            .text(IFLA_IFNAME, name)
            .attribute(IFLA_ADDRESS, &mac)
            .nested(
                IFLA_LINKINFO,
                &[
                    attribute(IFLA_INFO_KIND, b"bridge"),
                    attribute(IFLA_INFO_DATA, &data),
                ],
            );
        self.change(&[message])
    }

    /// Gives a bridge its addresses and brings it up.
    pub(super) fn raise_bridge(&self, index: u32, subnets: &[IpNet], what: &str) -> Result<()> {
        let mut messages: Vec<Message> = (subnets.iter())
            .map(|subnet| new_address(index, *subnet, what).tolerate(Errno::EEXIST))
            .collect();
        messages.push(up(index, what));
        self.change(&messages)
    }

    /// Makes a link pair: one end up and a port of the bridge, the other in the network
    /// namespace `namespace`.
    pub(super) fn make_pair(&self, pair: &Pair, namespace: BorrowedFd, what: &str) -> Result<()> {
        let mtu = pair.mtu.map(|mtu| attribute(IFLA_MTU, &mtu.to_ne_bytes()));
        let mtu = mtu.unwrap_or_default();
        let name = [pair.interface.as_bytes(), &[0]].concat();
        let peer = [
            interface_header(0, 0).to_vec(),
            attribute(IFLA_IFNAME, &name),
            attribute(IFLA_ADDRESS, &pair.mac),
            mtu.clone(),
            attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes()),
        ];
        let make = Message::new(RTM_NEWLINK, CREATE, &interface_header(0, 0), what)
            .text(IFLA_IFNAME, pair.host_interface)
            .nested(
                IFLA_LINKINFO,
                &[
                    attribute(IFLA_INFO_KIND, b"veth"),
                    attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer.concat())),
                ],
            )
            .bytes(&mtu);
        let connect = Message::new(RTM_SETLINK, 0, &interface_header(0, UP), what)
            .text(IFLA_IFNAME, pair.host_interface)
            .attribute(IFLA_IFALIAS, pair.alias.as_bytes())
            .number(IFLA_MASTER, pair.bridge);
        self.change(&[make, connect])
    }

    /// In the container's network namespace: brings up its link, with addresses and default
    /// routes.
    pub(super) fn raise_interface(
        &self,
        index: u32,
        (addresses, gateways): (&[IpNet], &[IpAddr]),
        what: &str,
    ) -> Result<()> {
        let mut messages = vec![up(index, what)];
        messages.extend((addresses.iter()).map(|address| new_address(index, *address, what)));
        messages.extend((gateways.iter()).map(|gateway| default_route(index, *gateway, what)));
        self.change(&messages)
    }

    /// Deletes links by name. Those that are gone are no error.
    pub(super) fn delete_links(&self, names: &[&str]) -> Result<()> {
        let delete = |name: &&str| {
            let what = format!("delete the link {name}");
            Message::new(RTM_DELLINK, 0, &interface_header(0, 0), what)
                .text(IFLA_IFNAME, name)
                .tolerate(Errno::ENODEV)
        };
        self.change(&names.iter().map(delete).collect::<Vec<_>>())
    }

    /// Whether this process may change links. The kernel checks the right first, and then finds
    /// that the request names no link.
    pub(super) fn may_change_links(&self) -> bool {
        let message = Message::new(RTM_DELLINK, 0, &interface_header(0, 0), "delete no link");
        match self.change(&[message]) {
            Ok(()) => true,
            Err(error) => error.downcast_ref() != Some(&Errno::EPERM),
        }
    }
}

/// Brings up a link.
pub(super) fn up(index: u32, what: &str) -> Message {
    Message::new(RTM_SETLINK, 0, &interface_header(index, UP), what)
}

fn new_address(index: u32, address: IpNet, what: &str) -> Message {
    // `struct ifaddrmsg`: family, prefix length, flags, scope, index.
    let mut header = [
        family(address.addr()),
        address.prefix_len(),
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let bytes = octets(address.addr());
    let message = Message::new(
        RTM_NEWADDR,
        CREATE,
        &header,
        format!("{what}: address {address}"),
    )
    .attribute(IFA_LOCAL, &bytes)
    .attribute(IFA_ADDRESS, &bytes);
    match address {
        // Two addresses leave none for broadcast (RFC 3021).
        IpNet::V4(address) if address.prefix_len() < 31 => {
            message.attribute(IFA_BROADCAST, &address.broadcast().octets())
        }
        IpNet::V4(_) => message,
        // The lease makes it unique, so it can be used at once.
        IpNet::V6(_) => message.number(IFA_FLAGS, IFA_F_NODAD).remedy(
            Errno::EACCES,
            "IPv6 is disabled; see the sysctls net.ipv6.conf.*.disable_ipv6",
        ),
    }
}

fn default_route(index: u32, gateway: IpAddr, what: &str) -> Message {
    // `struct rtmsg`: family, two prefix lengths, type of service, table, protocol, scope, type.
    let mut header = [0; 12];
    header[0] = family(gateway);
    header[4..8].copy_from_slice(&[RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST]);
    Message::new(
        RTM_NEWROUTE,
        CREATE,
        &header,
        format!("{what}: default route by {gateway}"),
    )
    .attribute(RTA_GATEWAY, &octets(gateway))
    .number(RTA_OIF, index)
}

fn link_of(answer: &Answer) -> Option<Link> {
    let header: [u8; 16] = answer.header()?;
    let information = answer.attribute(16, IFLA_LINKINFO);
    let kind = information.and_then(|members| find(members, IFLA_INFO_KIND));
    let kind = String::from_utf8_lossy(kind.unwrap_or_default());
    Some(Link {
        index: number(&header[4..8])?,
        kind: kind.trim_end_matches('\0').to_owned(),
        mtu: answer.attribute(16, IFLA_MTU).and_then(number)?,
        mac: (answer.attribute(16, IFLA_ADDRESS).unwrap_or_default()).to_vec(),
    })
}

fn family(address: IpAddr) -> u8 {
    // Both are small.
    (if address.is_ipv4() { AF_INET } else { AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The prefix of an address in a message.
pub(super) fn net(bytes: &[u8], length: u8) -> Option<IpNet> {
    let address = match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    IpNet::new(address, length).ok()
}
