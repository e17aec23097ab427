//! The rules of NAT beside those of others, and the program that makes them.

use std::net::{IpAddr, Ipv4Addr};

use super::host::Host;
use super::reach::{Neighbour, Server, reach};
use crate::harness::{HostState, killed_everywhere, needs, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        packets_pass_the_chain_of_docker,
        packets_pass_a_policy_of_drop,
        packets_pass_a_policy_of_drop_in_legacy_tables,
        rules_that_were_flushed_come_back_with_the_next_container,
        one_program_is_started_for_create_and_one_for_delete,
        a_killed_create_leaves_no_rule,
        a_killed_delete_leaves_no_rule,
    ]
}

const NAT: [(&str, &str); 2] = [("masquerade", "true"), ("publish", "8080:80")];

/// As dockerd makes it, with a rule of the administrator that must hold for `rt` too.
const DOCKER: &str = "-P FORWARD DROP
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -s 192.0.2.3/32 -j DROP
-A DOCKER-USER -j RETURN";

/// Makes the rules, tries a container with NAT, and returns the rules while it is there.
fn beside(iptables: &str, rules: &str) -> String {
    needs("iptables", "iptables");
    let host = Host::with_nft();
    let neighbour = Neighbour::of(&host);
    for program in [iptables, &iptables.replace("iptables", "ip6tables")] {
        for rule in rules.lines() {
            let rule = if program.starts_with("ip6") {
                rule.replace("192.0.2.3/32", "2001:db8::3/128")
            } else {
                rule.to_owned()
            };
            host.sh(&format!("{program} {rule}"));
        }
    }
    let before = host.sh(&format!("{iptables} -S"));
    let containers = [0, 1].map(|number| {
        let publish = format!("808{number}:80");
        host.run_on_bridge(&[("masquerade", "true"), ("publish", &publish)])
    });
    let during = host.sh(&format!("{iptables} -S"));
    let server = Server::in_network_of(containers[0].pid());
    for to in ["192.0.2.1", "2001:db8::1"] {
        let seen = reach(neighbour.pid(), to.parse().unwrap(), 8080, &server);
        assert!(seen.is_some(), "{to}, with {during}");
    }
    let outside = Server::in_network_of(neighbour.pid());
    for to in ["192.0.2.2", "2001:db8::2"] {
        let seen = reach(containers[0].pid(), to.parse().unwrap(), 80, &outside);
        assert!(seen.is_some(), "{to}, with {during}");
    }
    if rules.contains("192.0.2.3") {
        neighbour.sh("ip addr del 192.0.2.2/24 dev eth0; ip addr add 192.0.2.3/24 dev eth0");
        let seen = reach(neighbour.pid(), "192.0.2.1".parse().unwrap(), 8080, &server);
        assert_eq!(seen, None, "the administrator's rule");
    }
    let [first, second] = containers;
    first.delete_force().assert_ok();
    assert_eq!(host.sh(&format!("{iptables} -S")), during);
    second.delete_force().assert_ok();
    assert_eq!(host.sh(&format!("{iptables} -S")), before);
    during
}

/// The rules of `rt` in a chain, as iptables(8) lists them.
fn own_rules(chain: &str) -> String {
    ["-i", "-o"]
        .map(|side| format!("-A {chain} {side} br0 -m comment --comment rt-br0 -j ACCEPT\n"))
        .concat()
}

fn packets_pass_the_chain_of_docker() {
    let during = beside("iptables-nft", DOCKER);
    let rules = own_rules("DOCKER-USER") + "-A DOCKER-USER -j RETURN";
    assert!(during.contains(&rules), "{during}");
}

fn packets_pass_a_policy_of_drop() {
    let during = beside("iptables-nft", "-P FORWARD DROP");
    assert!(during.contains(own_rules("FORWARD").trim()), "{during}");
}

fn packets_pass_a_policy_of_drop_in_legacy_tables() {
    needs("iptables-legacy", "iptables");
    let during = beside("iptables-legacy", DOCKER);
    let rules = own_rules("DOCKER-USER") + "-A DOCKER-USER -j RETURN";
    assert!(during.contains(&rules), "{during}");
}

fn rules_that_were_flushed_come_back_with_the_next_container() {
    let host = Host::with_nft();
    let first = host.run_on_bridge(&NAT);
    let second = host.run_on_bridge(&[("masquerade", "true")]);
    host.sh("nft flush ruleset");
    first.delete_force().assert_ok();
    let third = host.run_on_bridge(&NAT);
    let server = Server::in_network_of(third.pid());
    let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert!(reach(host.pid(), to, 8080, &server).is_some());
    host.sh("nft flush ruleset");
    for container in [second, third] {
        container.delete_force().assert_ok();
    }
    host.assert_clean();
}

fn one_program_is_started_for_create_and_one_for_delete() {
    let host = Host::with_nft();
    let home = host.runtime().home();
    let [log, real, counted] = ["log", "real", "counted"].map(|name| home.join(name));
    let (shown, program) = (log.display(), real.display());
    let script = format!("#!/bin/sh\necho started >> {shown}\nexec {program} \"$@\"\n");
    std::fs::write(&counted, script).unwrap();
    host.sh(&format!(
        "nft=$(readlink -f $(command -v nft)); cp $nft {program}
        chmod 755 {0} && mount --bind {0} $nft",
        counted.display()
    ));
    let programs = || {
        let started = std::fs::read_to_string(&log).unwrap_or_default();
        drop(std::fs::remove_file(&log));
        started.lines().count()
    };
    for (annotations, count) in [(&NAT[..], 1), (&[], 0)] {
        let bundle = host.on_bridge_with(annotations);
        let container = bundle.create();
        assert_eq!(programs(), count, "create");
        container.delete_force().assert_ok();
        assert_eq!(programs(), count, "delete");
    }
    host.sh("umount $(readlink -f $(command -v nft))");
    host.assert_clean();
}

/// The number of system calls at which a command is killed.
const PLACES: usize = 12;

fn a_killed_create_leaves_no_rule() {
    killed(|bundle, strace| bundle.call_through(strace, "create", &[]));
}

fn a_killed_delete_leaves_no_rule() {
    killed(|bundle, strace| {
        bundle.call("create", &[]).run().assert_ok();
        let delete = ["delete", "--force", bundle.id()];
        bundle.runtime().call_through(strace, &delete)
    });
}

fn killed(call: impl Fn(&crate::harness::Bundle, &[&str]) -> crate::harness::Call) {
    let host = Host::with_nft();
    let bundle = host.on_bridge_with(&NAT);
    let before = HostState::of(&bundle);
    killed_everywhere(
        bundle.runtime(),
        PLACES,
        |strace| call(&bundle, strace),
        |place| {
            let deleted = bundle
                .runtime()
                .call(&["delete", "--force", bundle.id()])
                .run();
            assert_eq!(deleted.code(), 0, "{place}\n{deleted}");
            host.assert_clean();
            let left = before.changes_since(&bundle);
            assert!(left.is_empty(), "{place} leaves:\n{left}");
        },
    );
}
