//! Rules that let a bridge's packets pass the filter of the host, beside a Docker daemon or a
//! firewall that drops what it does not know.
//!
//! To accept a packet in one table does not keep another table from dropping it. So the accepting
//! rules go into the table `filter` of iptables(8): into the chain DOCKER-USER where it exists,
//! else into FORWARD if its policy is DROP. They come after the rules that are there, which may
//! restrict who reaches the host's containers, except that a RETURN at the end of the chain stays
//! last. Without such a chain no rule is made, and no program is started.

mod legacy;

use std::fmt::Write;

use anyhow::Result;

use super::netfilter::{Family, Netfilter, Policy};
use crate::trusted_proc::Proc;
pub(super) use legacy::Tables;

/// The chain for rules of others, by which Docker's chain FORWARD begins.
const DOCKER_USER: &str = "DOCKER-USER";

/// The lines of a transaction of nft(8) that accept the packets of the bridge, and make no rule
/// twice.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) fn accept(bridge: &str, netfilter: &Netfilter) -> Result<String> {
    let comment = comment(bridge);
    let mut text = String::new();
    for family in FAMILIES {
        let Some(chain) = chosen(netfilter, family)? else {
            continue;
        };
        let rules = netfilter.rules(family, chain, &comment)?;
        let own: Vec<u64> = (rules.iter().filter(|rule| rule.is_own))
            .map(|rule| rule.handle)
            .collect();
        if own.len() == DIRECTIONS.len() {
            continue;
        }
        delete(&mut text, family, chain, own);
        let place = match rules.last() {
            Some(last) if last.returns => {
                format!("insert rule {family} filter {chain} handle {}", last.handle)
            }
            _ => format!("add rule {family} filter {chain}"),
        };
        for direction in DIRECTIONS {
            // The counter is there because iptables(8) lists no rule without one.
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                r#"{place} {direction} "{bridge}" counter accept comment "{comment}""#
            );
        }
    }
    Ok(text)
}

/// The lines that delete the rules of [`accept`], which may not be there.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) fn forget(bridge: &str, netfilter: &Netfilter) -> Result<String> {
    let mut text = String::new();
    for family in FAMILIES {
        for chain in [DOCKER_USER, "FORWARD"] {
            let rules = netfilter.rules(family, chain, &comment(bridge))?;
            let own = rules.iter().filter(|rule| rule.is_own);
            delete(&mut text, family, chain, own.map(|rule| rule.handle));
        }
    }
    Ok(text)
}

/// Of the tables `filter` of iptables(8) and ip6tables(8).
const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

/// Packets from the bridge, and packets to it.
const DIRECTIONS: [&str; 2] = ["iifname", "oifname"];

/// By which the rules of a bridge are found again.
fn comment(bridge: &str) -> String {
    format!("rt-{bridge}")
}

fn chosen(netfilter: &Netfilter, family: Family) -> Result<Option<&'static str>> {
    if netfilter.policy(family, DOCKER_USER)?.is_some() {
        return Ok(Some(DOCKER_USER));
    }
    let forward = netfilter.policy(family, "FORWARD")?;
    Ok((forward == Some(Policy::Drop)).then_some("FORWARD"))
}

fn delete(text: &mut String, family: Family, chain: &str, handles: impl IntoIterator<Item = u64>) {
    for handle in handles {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "delete rule {family} filter {chain} handle {handle}");
    }
}

/// The same for tables of the older kernel interface, if the kernel has any.
///
/// # Errors
/// When iptables-legacy(8) fails.
pub(super) fn legacy_tables(proc: &Proc) -> Result<Vec<Tables>> {
    legacy::read(proc)
}
