//! A link of the host, with what the kernel forgets when the link changes its network namespace.
//!
//! The kernel takes along the MAC address, the MTU, the alias, other names and the rest of the link itself. It drops
//! addresses and routes, takes the link out of its bridge, and sets it down (`dev_change_net_namespace`, net/core/dev.c).

use anyhow::{Context, Result};
use libc::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_F_PERMANENT, IFA_F_TEMPORARY, IFA_FLAGS, IFA_LABEL,
    IFA_LOCAL, IFF_LOOPBACK, IFF_UP, IFLA_AF_SPEC, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_MASTER,
    RT_SCOPE_UNIVERSE, RTA_DST, RTA_ENCAP, RTA_ENCAP_TYPE, RTA_FLOW, RTA_GATEWAY, RTA_METRICS,
    RTA_OIF, RTA_PREF, RTA_PREFSRC, RTA_PRIORITY, RTA_SRC, RTA_TABLE, RTA_VIA, RTM_GETADDR,
    RTM_GETLINK, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE, RTM_SETLINK, RTN_UNICAST, RTPROT_KERNEL,
};
use netlink_packet_core::NLA_F_NESTED;
use nix::errno::Errno;

use crate::network::links::{CREATE, SKIP_STATISTICS, interface_header, net, up};
use crate::network::netlink::{Answer, Message, Netlink, attribute, find, number};
use crate::network::settings::MAX_NAME;

/// `IFLA_NETNS_IMMUTABLE` (linux/if_link.h), since Linux 6.15.
const NETNS_IMMUTABLE: u16 = 67;
/// `IFLA_INET6_ADDR_GEN_MODE` (linux/if_link.h).
const ADDRESS_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE` (linux/if_link.h): the kernel makes no link-local address.
const NO_ADDRESS: u8 = 1;
/// `RTPROT_REDIRECT`, `RTPROT_KERNEL` and `RTPROT_RA` (linux/rtnetlink.h): routes that follow from addresses, or that
/// other routers tell the host.
const AUTOMATIC: [u8; 3] = [1, RTPROT_KERNEL, 9];
/// `RTNH_F_ONLINK` (linux/rtnetlink.h): the only flag in `struct rtmsg` that is not the state of a route.
const ONLINK: u8 = 4;

/// The attributes of a route, without its state.
const ROUTE: [u16; 12] = [
    RTA_DST,
    RTA_SRC,
    RTA_GATEWAY,
    RTA_PRIORITY,
    RTA_PREFSRC,
    RTA_METRICS,
    RTA_FLOW,
    RTA_TABLE,
    RTA_VIA,
    RTA_PREF,
    RTA_ENCAP_TYPE,
    RTA_ENCAP,
];

/// A link of the host.
pub(super) struct HostLink {
    pub(super) index: u32,
    /// The one that `ip link` shows first: a link can have others.
    pub(super) name: String,
    pub(super) is_loopback: bool,
    /// Known since Linux 6.15; before, only the move says it.
    pub(super) is_immutable: bool,
    is_up: bool,
    /// The index of the bridge or bond whose port it is.
    master: Option<u32>,
    /// Whether the kernel makes no link-local address for it.
    has_no_own_address: bool,
    /// Each kind in an order in which it can be made again.
    addresses: Vec<Answer>,
    routes: Vec<Answer>,
}

impl Netlink {
    /// The link with this name, without its addresses and routes.
    pub(super) fn host_link(&self, name: &str, what: &str) -> Result<Option<HostLink>> {
        self.read_link(name, HostLink::read, what)
    }

    /// The name of the link with this index.
    pub(super) fn link_name(&self, index: u32, what: &str) -> Result<String> {
        let message = Message::new(RTM_GETLINK, 0, &interface_header(index, 0), what)
            .number(IFLA_EXT_MASK, SKIP_STATISTICS);
        let answer = self.get(&message)?;
        let link = answer.and_then(|answer| HostLink::read(&answer));
        let link = link.ok_or(Errno::EBADMSG);
        link.map(|link| link.name).with_context(|| what.to_owned())
    }

    /// Adds the addresses and routes of links of the host.
    pub(super) fn read_addresses_and_routes(
        &self,
        links: &mut [HostLink],
        what: &str,
    ) -> Result<()> {
        // `struct ifaddrmsg`.
        for answer in self.dump(&Message::new(RTM_GETADDR, 0, &[0; 8], what))? {
            if let Some(link) = owner_of_address(&answer, links) {
                link.addresses.push(answer);
            }
        }
        // `struct rtmsg`.
        for answer in self.dump(&Message::new(RTM_GETROUTE, 0, &[0; 12], what))? {
            if let Some(link) = owner_of_route(&answer, links) {
                link.routes.push(answer);
            }
        }
        for link in links {
            link.sort();
        }
        Ok(())
    }
}

impl HostLink {
    fn read(answer: &Answer) -> Option<HostLink> {
        let header: [u8; 16] = answer.header()?;
        let flags = number(&header[8..12])?.cast_signed();
        let name = String::from_utf8_lossy(answer.attribute(16, IFLA_IFNAME)?);
        let families = answer.attribute(16, IFLA_AF_SPEC).unwrap_or_default();
        let ipv6 = find(families, AF_INET6 as u16).unwrap_or_default();
        Some(HostLink {
            index: number(&header[4..8])?,
            name: name.trim_end_matches('\0').to_owned(),
            is_loopback: flags & IFF_LOOPBACK != 0,
            is_immutable: answer.attribute(16, NETNS_IMMUTABLE) == Some(&[1]),
            is_up: flags & IFF_UP != 0,
            master: answer.attribute(16, IFLA_MASTER).and_then(number),
            has_no_own_address: find(ipv6, ADDRESS_MODE) == Some(&[NO_ADDRESS]),
            addresses: Vec::new(),
            routes: Vec::new(),
        })
    }

    /// The kernel lists the newest address of IPv6 first, which it also prefers. A route by a gateway needs the one
    /// to the gateway.
    fn sort(&mut self) {
        let (mut ipv6, mut addresses): (Vec<Answer>, Vec<Answer>) =
            (self.addresses.drain(..)).partition(|answer| family(answer) == AF_INET6);
        ipv6.reverse();
        addresses.append(&mut ipv6);
        self.addresses = addresses;
        let has_gateway = |route: &Answer| {
            route.attribute(12, RTA_GATEWAY).is_some() || route.attribute(12, RTA_VIA).is_some()
        };
        self.routes.sort_by_key(has_gateway);
    }

    /// The requests that configure the link in the container, where it has another index and name: "The runtime MUST
    /// preserve existing network interface attributes, including all permanent IP addresses (IFA_F_PERMANENT flag) of
    /// any family with global scope (RT_SCOPE_UNIVERSE value)", and "MUST set the network device state to "up""
    /// (config-linux.md, "Network Devices").
    pub(super) fn configure(&self, index: u32, name: &str, what: &str) -> Vec<Message> {
        let mut messages = self.address_mode(index, what);
        let kept = self.addresses.iter().filter(|answer| is_kept(answer));
        messages.extend(kept.filter_map(|answer| new_address(answer, index, name, what)));
        messages.push(up(index, what));
        messages
    }

    /// The requests that give the host back what the link had there.
    pub(super) fn restore(&self, index: u32, what: &str) -> Vec<Message> {
        let mut messages = self.address_mode(index, what);
        if let Some(master) = self.master {
            messages.push(set_link(index, what).number(IFLA_MASTER, master));
        }
        if self.is_up {
            messages.push(up(index, what));
        }
        // The kernel has made a link-local address by now.
        let addresses = (self.addresses.iter()).filter(|answer| !is_temporary(answer));
        let addresses = addresses
            .filter_map(|answer| new_address(answer, index, &self.name, what))
            .map(|message| message.tolerate(Errno::EEXIST));
        messages.extend(addresses);
        messages.extend((self.routes.iter()).filter_map(|answer| new_route(answer, index, what)));
        messages
    }

    fn address_mode(&self, index: u32, what: &str) -> Vec<Message> {
        if !self.has_no_own_address {
            return Vec::new();
        }
        let mode = attribute(ADDRESS_MODE, &[NO_ADDRESS]);
        let ipv6 = attribute(AF_INET6 as u16 | NLA_F_NESTED, &mode);
        vec![set_link(index, what).nested(IFLA_AF_SPEC, &[ipv6])]
    }
}

/// A request that changes nothing of a link but what its attributes say.
pub(super) fn set_link(index: u32, what: &str) -> Message {
    Message::new(RTM_SETLINK, 0, &interface_header(index, 0), what)
}

fn owner_of_address<'a>(answer: &Answer, links: &'a mut [HostLink]) -> Option<&'a mut HostLink> {
    let [_, _, _, _, owner @ ..] = answer.header::<8>()?;
    let owner = u32::from_ne_bytes(owner);
    links.iter_mut().find(|link| link.index == owner)
}

/// The link of a route that somebody has added.
fn owner_of_route<'a>(answer: &Answer, links: &'a mut [HostLink]) -> Option<&'a mut HostLink> {
    let [_, _, _, _, _, protocol, _, kind, ..] = answer.header::<12>()?;
    let is_kept = kind == RTN_UNICAST
        && !AUTOMATIC.contains(&protocol)
        && [AF_INET, AF_INET6].contains(&family(answer));
    let owner = answer.attribute(12, RTA_OIF).and_then(number)?;
    let mut links = links.iter_mut();
    links.find(|link| is_kept && link.index == owner)
}

/// The address family: the first byte of every header.
fn family(answer: &Answer) -> i32 {
    answer.header::<1>().map_or(0, |[family]| family.into())
}

/// The flags of an address.
fn flags(address: &Answer) -> u32 {
    let all = address.attribute(8, IFA_FLAGS).and_then(number);
    // Older kernels have those in the header only.
    all.or_else(|| address.header::<4>().map(|[_, _, flags, _]| flags.into()))
        .unwrap_or_default()
}

/// Whether the kernel has made an address by itself, as it will again (RFC 8981).
fn is_temporary(address: &Answer) -> bool {
    // For IPv4, the same bit means that an address is not the first of its subnet.
    family(address) == AF_INET6 && flags(address) & IFA_F_TEMPORARY != 0
}

/// Whether the specification demands that the container gets an address.
fn is_kept(address: &Answer) -> bool {
    let scope = address.header::<4>().map(|[_, _, _, scope]| scope);
    flags(address) & IFA_F_PERMANENT != 0 && scope == Some(RT_SCOPE_UNIVERSE)
}

/// The request for an address that a link had, with prefix, peer, broadcast address, scope, lifetime and flags. The
/// kernel ignores flags that are a state, such as `IFA_F_TENTATIVE`.
fn new_address(address: &Answer, index: u32, name: &str, what: &str) -> Option<Message> {
    let mut header = address.header::<8>()?;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let own = (address.attribute(8, IFA_LOCAL)).or_else(|| address.attribute(8, IFA_ADDRESS))?;
    let what = format!("{what}: address {}", net(own, header[1])?);
    let mut message = Message::new(RTM_NEWADDR, CREATE, &header, what);
    for (kind, value) in address.attributes(8) {
        message = match kind {
            IFA_LABEL => message.text(kind, &label(value, name)),
            _ => message.attribute(kind, value),
        };
    }
    Some(message.remedy(
        Errno::EACCES,
        "IPv6 is disabled; see the sysctls net.ipv6.conf.*.disable_ipv6",
    ))
}

/// The label of an address of IPv4 (ip-address(8)) after a change of the link's name, as the kernel changes it
/// (`inetdev_changename`, net/ipv4/devinet.c).
fn label(old: &[u8], name: &str) -> String {
    let old = String::from_utf8_lossy(old);
    let old = old.trim_end_matches('\0');
    match old.find(':').map(|colon| &old[colon..]) {
        Some(suffix) if name.len() + suffix.len() <= MAX_NAME => format!("{name}{suffix}"),
        _ => name.to_owned(),
    }
}

/// The request for a route that the host had.
fn new_route(route: &Answer, index: u32, what: &str) -> Option<Message> {
    let mut header = route.header::<12>()?;
    let flags = [header[8] & ONLINK, 0, 0, 0];
    header[8..].copy_from_slice(&flags);
    let message = Message::new(RTM_NEWROUTE, CREATE, &header, format!("{what}: a route"));
    let attributes = (route.attributes(12)).filter(|(kind, _)| ROUTE.contains(kind));
    let message = attributes.fold(message, |message, (kind, value)| {
        message.attribute(kind, value)
    });
    Some(message.number(RTA_OIF, index).tolerate(Errno::EEXIST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_follows_the_name_of_its_link() {
        for (old, name, new) in [
            ("eth0\0", "lan", "lan"),
            ("eth0:web\0", "lan", "lan:web"),
            ("eth0:web", "a-long-name", "a-long-name:web"),
            ("eth0:web", "a-longer-name", "a-longer-name"),
        ] {
            assert_eq!(label(old.as_bytes(), name), new);
        }
    }
}
