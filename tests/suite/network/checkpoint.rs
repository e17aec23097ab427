//! `checkpoint` and `restore` of a container with a network.

use std::net::IpAddr;

use super::host::{Host, addresses};
use super::reach::{Server, reach};
use crate::checkpoint::Counter;
use crate::harness::{HostState, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_container_on_a_bridge_goes_on_there,
        an_address_that_is_taken_is_replaced,
    ]
}

/// Interface, addresses and routes of the container, and the bridge and the rules of the host.
fn look(host: &Host, counter: &Counter) -> [String; 3] {
    let pid = counter.bundle.container().pid();
    let inside = "ip -o addr show scope global | cut -d ' ' -f 2-9; ip route; ip -6 route";
    let bridge = "ip -o link show master br0 | wc -l";
    [
        host.sh_in(pid, inside),
        host.sh(bridge),
        host.sh("nft --stateless list ruleset"),
    ]
}

fn a_container_on_a_bridge_goes_on_there() {
    let host = Host::with_nft();
    let published = [("masquerade", "true"), ("publish", "8080:80")];
    let mut counter = Counter::new(host.on_bridge_with(&published));
    let before = HostState::of(&counter.bundle);
    counter.start();
    let (given, seen) = (
        addresses(&counter.bundle.container()),
        look(&host, &counter),
    );
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    host.assert_clean();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    let container = counter.bundle.container();
    assert_eq!(addresses(&container), given);
    assert_eq!(look(&host, &counter), seen);
    let server = Server::in_network_of(container.pid());
    let to: IpAddr = "10.88.0.1".parse().unwrap();
    assert!(reach(host.pid(), to, 8080, &server).is_some());
    drop(server);
    container.delete_force().assert_ok();
    host.assert_clean();
    before.assert_unchanged(&counter.bundle);
}

fn an_address_that_is_taken_is_replaced() {
    let host = Host::new();
    let mut counter = Counter::new(host.on_bridge());
    counter.start();
    let given = addresses(&counter.bundle.container());
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    let other = host.run_on_bridge(&[]);
    assert_eq!(addresses(&other), given);
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
    let container = counter.bundle.container();
    let new = addresses(&container);
    assert_ne!(new, given);
    assert!(host.reaches(&new[0]), "{new:?}");
    for container in [&container, &*other] {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
}
