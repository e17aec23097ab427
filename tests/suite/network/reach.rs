//! Sockets in the network namespaces of containers, of their host and of a neighbour.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::host::Host;
use crate::harness::Holder;

/// How long a packet may be under way. One that is dropped takes as long.
const LIMIT: Duration = Duration::from_secs(1);

/// Calls `act` in the network namespace of a process.
pub(super) fn within<T: Send>(pid: i32, act: impl FnOnce() -> T + Send) -> T {
    let entered = || {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        // It is that of this thread.
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        act()
    };
    thread::scope(|scope| scope.spawn(entered).join().unwrap())
}

/// Answers at TCP port 80 and UDP port 53. The kernel accepts a connection before the test does,
/// so no thread serves.
pub(super) struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    /// At all addresses of both families.
    pub(super) fn in_network_of(pid: i32) -> Self {
        Self::at(pid, Ipv6Addr::UNSPECIFIED.into())
    }

    pub(super) fn at(pid: i32, address: IpAddr) -> Self {
        Self::on_ports(pid, address, (80, 53))
    }

    /// At other ports.
    pub(super) fn on_ports(pid: i32, address: IpAddr, (tcp, udp): (u16, u16)) -> Self {
        let server = within(pid, || Self {
            tcp: TcpListener::bind((address, tcp)).unwrap(),
            udp: UdpSocket::bind((address, udp)).unwrap(),
        });
        server.udp.set_read_timeout(Some(LIMIT)).unwrap();
        server
    }

    /// Asks by UDP from a network, and returns the address from which the server was asked;
    /// `None` when the question or the answer was lost.
    pub(super) fn asked_by_udp(&self, pid: i32, to: IpAddr, port: u16) -> Option<IpAddr> {
        self.asked_by(&udp_client(pid, to, port))
    }

    /// The same from a client that may have asked before.
    pub(super) fn asked_by(&self, client: &UdpSocket) -> Option<IpAddr> {
        client.send(b"ask").ok()?;
        let mut message = [0; 6];
        let (_, peer) = self.udp.recv_from(&mut message).ok()?;
        self.udp.send_to(b"answer", peer).ok()?;
        client.set_read_timeout(Some(LIMIT)).unwrap();
        // Only an answer from the address that was asked is received.
        client.recv(&mut message).ok()?;
        Some(peer.ip().to_canonical())
    }
}

/// A client in a network that asks by UDP, always from the same port.
pub(super) fn udp_client(pid: i32, to: IpAddr, port: u16) -> UdpSocket {
    within(pid, || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let client = UdpSocket::bind(any).unwrap();
        // An address without a route is never reached.
        drop(client.connect((to, port)));
        client
    })
}

/// Connects by TCP from a network, and returns the address from which the server was called;
/// `None` when there is no connection.
pub(super) fn reach(pid: i32, to: IpAddr, port: u16, server: &Server) -> Option<IpAddr> {
    let to = SocketAddr::new(to, port);
    let mut client = within(pid, || TcpStream::connect_timeout(&to, LIMIT)).ok()?;
    let (mut accepted, peer) = server.tcp.accept().unwrap();
    accepted.write_all(b"answer").unwrap();
    let mut message = [0; 6];
    client.read_exact(&mut message).unwrap();
    Some(peer.ip().to_canonical())
}

/// Another host, at 192.0.2.2 and 2001:db8::2. The first host has 192.0.2.1 and 2001:db8::1.
pub(super) struct Neighbour<'a> {
    host: &'a Host,
    holder: Holder,
}

impl<'a> Neighbour<'a> {
    pub(super) fn of(host: &'a Host) -> Self {
        let holder = Holder::new(&["--net"]);
        let neighbour = Neighbour { host, holder };
        // The kernel does not wait until it has looked for another owner of an address.
        let up =
            |link| format!("sysctl -qw net.ipv6.conf.{link}.accept_dad=0 && ip link set {link} up");
        host.sh(&format!(
            "ip link add up0 type veth peer name eth0 netns {} && {}
            ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0",
            neighbour.pid(),
            up("up0")
        ));
        neighbour.sh(&format!(
            "ip link set lo up && {}
            ip addr add 192.0.2.2/24 dev eth0 && ip addr add 2001:db8::2/64 dev eth0",
            up("eth0")
        ));
        neighbour
    }

    pub(super) fn pid(&self) -> i32 {
        self.holder.pid()
    }

    #[track_caller]
    pub(super) fn sh(&self, script: &str) {
        self.host.sh_in(self.pid(), script);
    }
}
