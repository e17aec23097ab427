//! The link pair, its addresses and routes: the messages that `rt` sends, with fixed content.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_BROADCAST, IFA_F_NODAD, IFA_FLAGS, IFA_LOCAL, IFF_UP,
    IFLA_ADDRESS, IFLA_EXT_MASK, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL,
    NLM_F_REQUEST, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_GATEWAY, RTA_OIF, RTM_DELLINK,
    RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, RTM_SETLINK, RTN_UNICAST, RTPROT_STATIC,
};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use nix::unistd::Pid;

const HOST_INTERFACE: &str = "rtfloor";
const INTERFACE: &str = "eth0";
const MAC: [u8; 6] = [2, 0x72, 10, 88, 0, 3];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 3);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 88, 255, 255);
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 3);
/// The lengths of the prefixes of the two addresses.
const PREFIXES: (u8, u8) = (16, 64);

const VETH_INFO_PEER: u16 = 1;
const SKIP_STATISTICS: u32 = 1 << 3;
const NESTED: u16 = 1 << 15;
const CREATE: i32 = NLM_F_CREATE | NLM_F_EXCL;
const UP: u32 = IFF_UP as u32;

/// A container that is connected to a bridge.
pub(super) struct Connection(Socket);

impl Connection {
    /// Connects the container of a process that waits.
    pub(super) fn make(pid: Pid, bridge: &str) -> Connection {
        let host = Socket::open();
        let bridge = host.index_of(bridge);
        let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        let mtu = attribute(IFLA_MTU, &1500_u32.to_ne_bytes());
        let peer = [
            interface(0, 0),
            name(INTERFACE),
            attribute(IFLA_ADDRESS, &MAC),
            mtu.clone(),
            attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes()),
        ];
        let pair = [
            attribute(IFLA_INFO_KIND, b"veth"),
            attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer.concat())),
        ];
        let pair = attribute(IFLA_LINKINFO | NESTED, &pair.concat());
        let parts = [interface(0, 0), name(HOST_INTERFACE), pair, mtu];
        let make = message(RTM_NEWLINK, CREATE, &parts);
        let parts = [
            interface(0, UP),
            name(HOST_INTERFACE),
            attribute(IFLA_IFALIAS, b"rt: floor"),
            attribute(IFLA_MASTER, &bridge.to_ne_bytes()),
        ];
        host.change(&[make, message(RTM_SETLINK, NLM_F_ACK, &parts)]);

        let own = File::open("/proc/self/ns/net").unwrap();
        setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
        let inside = Socket::open();
        setns(&own, CloneFlags::CLONE_NEWNET).unwrap();
        let index = inside.index_of(INTERFACE);
        inside.change(&raise(index));
        Connection(host)
    }

    /// Removes the link pair, unless the kernel already has, with the network namespace.
    pub(super) fn remove(self) {
        let parts = [interface(0, 0), name(HOST_INTERFACE)];
        let errno = self.0.request(&[message(RTM_DELLINK, NLM_F_ACK, &parts)]);
        assert!([0, -libc::ENODEV].contains(&errno), "netlink: {errno}");
    }
}

/// Brings up the container's link, with addresses and default routes.
fn raise(index: u32) -> [Vec<u8>; 5] {
    let owner = index.to_ne_bytes();
    // `struct ifaddrmsg`.
    let address = |family: i32, length: u8| [&[family as u8, length, 0, 0], &owner[..]].concat();
    let v4 = [
        address(AF_INET, PREFIXES.0),
        attribute(IFA_LOCAL, &ADDRESS.octets()),
        attribute(IFA_ADDRESS, &ADDRESS.octets()),
        attribute(IFA_BROADCAST, &BROADCAST.octets()),
    ];
    let v6 = [
        address(AF_INET6, PREFIXES.1),
        attribute(IFA_LOCAL, &ADDRESS_V6.octets()),
        attribute(IFA_ADDRESS, &ADDRESS_V6.octets()),
        attribute(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes()),
    ];
    let route = |family: i32, gateway: &[u8]| {
        // `struct rtmsg`.
        let mut header = vec![family as u8, 0, 0, 0];
        header.extend([RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST]);
        header.extend([0; 4]);
        [
            header,
            attribute(RTA_GATEWAY, gateway),
            attribute(RTA_OIF, &owner),
        ]
    };
    let (routed, routed_v6) = (
        route(AF_INET, &GATEWAY.octets()),
        route(AF_INET6, &GATEWAY_V6.octets()),
    );
    [
        message(RTM_SETLINK, 0, &[interface(index, UP)]),
        message(RTM_NEWADDR, CREATE, &v4),
        message(RTM_NEWADDR, CREATE, &v6),
        message(RTM_NEWROUTE, CREATE, &routed),
        message(RTM_NEWROUTE, CREATE | NLM_F_ACK, &routed_v6),
    ]
}

struct Socket(OwnedFd);

impl Socket {
    fn open() -> Socket {
        let opened = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        );
        Socket(opened.unwrap())
    }

    fn change(&self, messages: &[Vec<u8>]) {
        assert_eq!(self.request(messages), 0, "netlink");
    }

    /// Sends messages of which the last asks for an acknowledgement. Returns its error, or 0.
    fn request(&self, messages: &[Vec<u8>]) -> i32 {
        let answer = self.ask(&messages.concat());
        // `struct nlmsgerr`, after the header.
        i32::from_ne_bytes(answer[16..20].try_into().unwrap())
    }

    fn index_of(&self, link: &str) -> u32 {
        let mask = attribute(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
        let answer = self.ask(&message(
            RTM_GETLINK,
            0,
            &[interface(0, 0), name(link), mask],
        ));
        // In `struct ifinfomsg`, after the header.
        u32::from_ne_bytes(answer[20..24].try_into().unwrap())
    }

    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let socket = self.0.as_raw_fd();
        send(socket, request, MsgFlags::empty()).unwrap();
        let mut answer = vec![0; 8192];
        let length = recv(socket, &mut answer, MsgFlags::empty()).unwrap();
        answer.truncate(length);
        answer
    }
}

/// A message with its header, which is followed by the parts.
fn message(kind: u16, flags: i32, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let length = 16 + body.len() as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(((NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// An attribute with its header and padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = (length as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn name(link: &str) -> Vec<u8> {
    attribute(IFLA_IFNAME, &[link.as_bytes(), &[0]].concat())
}

/// `struct ifinfomsg`.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    let members = [0, index, flags, flags];
    members.map(u32::to_ne_bytes).concat()
}
