//! `rt.network.masquerade` and `rt.network.publish`: who reaches whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host::{Host, Kept, annotation};
use super::reach::{Neighbour, Server, reach, udp_client};
use crate::harness::{HostState, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_masqueraded_container_has_the_address_of_the_host_outside,
        without_masquerade_a_container_keeps_its_address_outside,
        a_published_port_is_reached_from_everywhere,
        ports_are_published_by_address_and_by_range,
        a_port_at_127_0_0_1_is_for_the_host_only,
        a_port_at_127_0_0_1_needs_no_forwarding,
        a_container_does_not_reach_what_listens_at_127_0_0_1_of_the_host,
        a_masqueraded_container_is_reached_by_its_published_ports_only,
        a_udp_client_follows_the_port_to_another_container,
        a_deleted_container_takes_only_its_own_ports_with_it,
        a_bridge_of_the_host_is_left_as_it_was,
    ]
}

/// What containers of most tests have, beside ports.
const MASQUERADE: (&str, &str) = ("masquerade", "true");

fn a_masqueraded_container_has_the_address_of_the_host_outside() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    let bundle = host.on_bridge_with(&[MASQUERADE]);
    let state = HostState::of(&bundle);
    assert_eq!(host.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
    let container = bundle.run_detached();
    let server = Server::in_network_of(neighbour.pid());
    for (to, seen) in [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")] {
        let to = to.parse().unwrap();
        let seen = Some(seen.parse().unwrap());
        assert_eq!(reach(container.pid(), to, 80, &server), seen, "{to}");
        assert_eq!(server.asked_by_udp(container.pid(), to, 53), seen, "{to}");
    }
    container.delete_force().assert_ok();
    host.assert_clean_except(&["up0"]);
    state.assert_unchanged(&bundle);
}

fn without_masquerade_a_container_keeps_its_address_outside() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    host.forward();
    neighbour.sh("ip route add 10.88.0.0/24 via 192.0.2.1");
    let container = host.run_on_bridge(&[("masquerade", "false")]);
    let server = Server::in_network_of(neighbour.pid());
    let seen = reach(container.pid(), address("192.0.2.2"), 80, &server);
    assert_eq!(seen, Some(address("10.88.0.2")));
    assert_eq!(host.sh("nft list tables"), "");
    container.delete_force().assert_ok();
}

fn a_published_port_is_reached_from_everywhere() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    let container = host.run_on_bridge(&[MASQUERADE, ("publish", "8080:80, 5353:53/udp")]);
    let other = host.run_on_bridge(&[]);
    let server = Server::in_network_of(container.pid());
    let everyone = ["192.0.2.1", "2001:db8::1"];
    let inside = ["10.88.0.1", "fd00:88::1", "192.0.2.1", "2001:db8::1"];
    let here = [
        "127.0.0.1",
        "127.1.2.3",
        "10.88.0.1",
        "192.0.2.1",
        "fd00:88::1",
        "2001:db8::1",
    ];
    let all: [(&str, i32, &[&str]); 4] = [
        ("the host", host.pid(), &here),
        ("a neighbour", neighbour.pid(), &everyone),
        ("another container", other.pid(), &inside),
        ("the container itself", container.pid(), &inside),
    ];
    for (who, pid, addresses) in all {
        for to in addresses {
            let to = address(to);
            let seen = reach(pid, to, 8080, &server);
            assert!(seen.is_some(), "{who} does not reach {to} by TCP");
            let seen_by_udp = server.asked_by_udp(pid, to, 5353);
            assert!(seen_by_udp.is_some(), "{who} does not reach {to} by UDP");
            if who == "a neighbour" {
                let own = if to.is_ipv4() {
                    "192.0.2.2"
                } else {
                    "2001:db8::2"
                };
                assert_eq!(
                    (seen, seen_by_udp),
                    (Some(address(own)), Some(address(own)))
                );
            }
        }
    }
    // What is not published.
    assert_eq!(
        reach(neighbour.pid(), address("192.0.2.1"), 80, &server),
        None
    );
    for container in [other, container] {
        container.delete_force().assert_ok();
    }
    host.assert_clean_except(&["up0"]);
}

fn ports_are_published_by_address_and_by_range() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    let publish =
        "192.0.2.1:1001:80,[2001:db8::1]:1002:80,0.0.0.0:1003:80,[::]:1004:80,2000-2001:79-80";
    let container = host.run_on_bridge(&[MASQUERADE, ("publish", publish)]);
    let server = Server::in_network_of(container.pid());
    let (v4, v6) = (address("192.0.2.1"), address("2001:db8::1"));
    for (port, by_v4, by_v6) in [
        (1001, true, false),
        (1002, false, true),
        (1003, true, false),
        (1004, false, true),
        (2001, true, true),
    ] {
        for (to, reached) in [(v4, by_v4), (v6, by_v6)] {
            let seen = reach(neighbour.pid(), to, port, &server);
            assert_eq!(seen.is_some(), reached, "{to} port {port}");
        }
    }
    let bridge = reach(host.pid(), address("10.88.0.1"), 1001, &server);
    assert_eq!(bridge, None, "another address of the host");
    container.delete_force().assert_ok();
}

/// With a route by the host and `route_localnet`, a neighbour or a container sends packets to
/// 127.0.0.1 out of its network.
const SEND_127_OUT: &str = "ip rule add pref 1 lookup local && ip rule del pref 0 lookup local
    ip rule add pref 0 to 127.0.0.1 lookup 200 && sysctl -qw net.ipv4.conf.eth0.route_localnet=1";

fn a_port_at_127_0_0_1_is_for_the_host_only() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    let container = host.run_on_bridge(&[MASQUERADE, ("publish", "127.0.0.1:8080:80")]);
    let other = host.run_on_bridge(&[]);
    let server = Server::in_network_of(container.pid());
    let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(reach(host.pid(), to, 8080, &server).is_some());
    host.sh_in(
        other.pid(),
        &format!("ip route add default via 10.88.0.1 table 200\n{SEND_127_OUT}"),
    );
    neighbour.sh(&format!(
        "ip route add default via 192.0.2.1 table 200\n{SEND_127_OUT}"
    ));
    for (who, pid) in [
        ("a container", other.pid()),
        ("a neighbour", neighbour.pid()),
    ] {
        assert_eq!(reach(pid, to, 8080, &server), None, "{who}");
        assert_eq!(
            reach(pid, address("192.0.2.1"), 8080, &server),
            None,
            "{who}"
        );
    }
    for container in [container, other] {
        container.delete_force().assert_ok();
    }
}

/// CVE-2020-8558.
fn a_port_at_127_0_0_1_needs_no_forwarding() {
    let host = Host::with_nft();
    let container = host.run_on_bridge(&[("publish", "127.0.0.1:8080:80")]);
    let server = Server::in_network_of(container.pid());
    let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(reach(host.pid(), to, 8080, &server).is_some());
    assert_eq!(host.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
    container.delete_force().assert_ok();
    host.assert_clean();
}

fn a_container_does_not_reach_what_listens_at_127_0_0_1_of_the_host() {
    let host = Host::with_nft();
    let container = host.run_on_bridge(&[MASQUERADE, ("publish", "8080:81")]);
    let server = Server::at(host.pid(), Ipv4Addr::LOCALHOST.into());
    let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(reach(host.pid(), to, 80, &server).is_some());
    let sysctl = "cat /proc/sys/net/ipv4/conf/br0/route_localnet";
    assert_eq!(host.sh(sysctl).trim(), "1");
    host.sh_in(
        container.pid(),
        &format!("ip route add default via 10.88.0.1 table 200\n{SEND_127_OUT}"),
    );
    assert_eq!(reach(container.pid(), to, 80, &server), None);
    // Without the rule it would be reached, so the test can fail.
    host.sh("nft flush chain inet rt-br0 guard");
    assert!(reach(container.pid(), to, 80, &server).is_some());
    container.delete_force().assert_ok();
}

fn a_masqueraded_container_is_reached_by_its_published_ports_only() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    neighbour
        .sh("ip route add 10.88.0.0/24 via 192.0.2.1; ip route add fd00:88::/64 via 2001:db8::1");
    let container = host.run_on_bridge(&[MASQUERADE, ("publish", "8080:80")]);
    let other = host.run_on_bridge(&[]);
    let server = Server::in_network_of(container.pid());
    for own in ["10.88.0.2", "fd00:88::2"] {
        assert_eq!(
            reach(neighbour.pid(), address(own), 80, &server),
            None,
            "{own}"
        );
        assert!(
            reach(other.pid(), address(own), 80, &server).is_some(),
            "{own}"
        );
        assert!(
            reach(host.pid(), address(own), 80, &server).is_some(),
            "{own}"
        );
    }
    // A container that is not masqueraded is routed.
    let server = Server::in_network_of(other.pid());
    assert!(reach(neighbour.pid(), address("10.88.0.3"), 80, &server).is_some());
    for container in [container, other] {
        container.delete_force().assert_ok();
    }
}

/// The kernel remembers where the packets of a client went before.
fn a_udp_client_follows_the_port_to_another_container() {
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    // With it the kernel keeps track of connections.
    let other = host.run_on_bridge(&[MASQUERADE]);
    for to in ["192.0.2.1", "2001:db8::1"] {
        let client = udp_client(neighbour.pid(), address(to), 5353);
        let at_host = Server::on_ports(host.pid(), Ipv6Addr::UNSPECIFIED.into(), (80, 5353));
        assert!(at_host.asked_by(&client).is_some(), "{to}: a process");
        drop(at_host);
        let (mut before, mut kept) = (String::new(), Vec::new());
        for _ in 0..2 {
            let container = host.run_on_bridge(&[MASQUERADE, ("publish", "5353:53/udp")]);
            let address = annotation(&container, "address");
            assert_ne!(address, before);
            let server = Server::in_network_of(container.pid());
            assert!(server.asked_by(&client).is_some(), "{to}: {address}");
            container.delete_force().assert_ok();
            before = address;
            kept.push(host.run_on_bridge(&[])); // Takes the address.
        }
    }
    other.delete_force().assert_ok();
}

fn a_deleted_container_takes_only_its_own_ports_with_it() {
    let host = Host::with_nft();
    let first = host.run_on_bridge(&[MASQUERADE, ("publish", "8080:80,8081:80")]);
    let second = host.run_on_bridge(&[MASQUERADE, ("publish", "9090:80")]);
    let server = Server::in_network_of(second.pid());
    first.delete_force().assert_ok();
    let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(reach(host.pid(), to, 9090, &server).is_some());
    let rules = host.sh("nft list table inet rt-br0");
    for gone in ["8080", "8081", "10.88.0.2", "fd00:88::2"] {
        assert!(!rules.contains(gone), "{gone} in {rules}");
    }
    // The port is free again.
    let third = host.run_on_bridge(&[MASQUERADE, ("publish", "8080:80")]);
    for container in [second, third] {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
}

fn a_bridge_of_the_host_is_left_as_it_was() {
    let host = Host::with_nft();
    host.sh(
        "ip link add lan0 type bridge && ip addr add 10.9.0.1/24 dev lan0 && ip link set lan0 up",
    );
    let container =
        Kept::run(host.bundle(&[("bridge", "lan0"), MASQUERADE, ("publish", "8080:80")]));
    let sysctl = "cat /proc/sys/net/ipv4/conf/lan0/route_localnet";
    assert_eq!(host.sh(sysctl).trim(), "1");
    container.delete_force().assert_ok();
    assert_eq!(host.sh(sysctl).trim(), "0");
    host.assert_clean_except(&["lan0"]);
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
