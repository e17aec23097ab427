//! The planned network of one container, from its annotations.

use std::net::IpAddr;

use anyhow::{Error, Result, bail};
use ipnet::IpNet;

use super::files::{FileFacts, Files};
use super::mac;
use super::nat::Nat;
use super::subnet;
use crate::annotations::{Annotations, invalid, key};

/// The keys that have no effect without [`key::BRIDGE`].
const DEPENDENT: [&str; 10] = [
    key::SUBNET,
    key::ADDRESS,
    key::GATEWAY,
    key::INTERFACE,
    key::MTU,
    key::MAC,
    key::MASQUERADE,
    key::PUBLISH,
    key::DNS,
    key::HOSTS,
];

/// The kernel's limit for the name of a network interface (`IFNAMSIZ`, less the final zero).
pub(super) const MAX_NAME: usize = 15;

/// The smallest MTU of IPv6 (RFC 8200, section 5).
pub(crate) const MIN_IPV6_MTU: u32 = 1280;

/// Which network namespace the container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    New,
    Shared,
    /// `linux.namespaces[index]`.
    Joined {
        index: usize,
    },
}

/// What [`Network`] must know of namespaces, of the caller and of the host.
pub(crate) struct NetworkFacts<'a> {
    pub(crate) namespace: Place,
    /// The caller has CAP_NET_ADMIN.
    pub(crate) may_administer: bool,
    pub(crate) files: FileFacts<'a>,
}

/// The addresses that the container gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// A free one of each subnet.
    Auto,
    Fixed(Vec<IpNet>),
}

/// The default routes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gateways {
    /// The bridge's addresses.
    Bridge,
    None,
    Fixed(Vec<IpAddr>),
}

/// The planned network of one container.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) bridge: String,
    /// At most one of each family, with the bridge's own address in it.
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) addresses: Addresses,
    pub(crate) gateways: Gateways,
    pub(crate) interface: String,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) nat: Nat,
    pub(crate) files: Files,
}

impl Network {
    /// Plans from the annotations `rt.network.*`. `None` where `rt.network.bridge` is absent.
    ///
    /// # Errors
    /// When a value is invalid, a key needs another, or the container has no network namespace
    /// of its own.
    pub(crate) fn plan(annotations: &Annotations, facts: &NetworkFacts) -> Result<Option<Network>> {
        let Some(bridge) = annotations.get(key::BRIDGE) else {
            return match annotations.first_of(&DEPENDENT) {
                None => Ok(None),
                Some(key) => Err(invalid(
                    key,
                    annotations.get(key).unwrap_or_default(),
                    &format!("has no effect without {0}; set {0}", key::BRIDGE),
                )),
            };
        };
        check_name(key::BRIDGE, bridge)?;
        refuse_namespace(bridge, facts)?;
        let interface = annotations.get(key::INTERFACE).unwrap_or("eth0");
        check_name(key::INTERFACE, interface)?;
        let network = Network {
            bridge: bridge.to_owned(),
            subnets: subnets(annotations)?,
            addresses: addresses(annotations)?,
            gateways: gateways(annotations)?,
            interface: interface.to_owned(),
            mtu: (annotations.get(key::MTU)).map(mtu).transpose()?,
            mac: (annotations.get(key::MAC))
                .map(ethernet_address)
                .transpose()?,
            nat: Nat::plan(annotations)?,
            files: Files::plan(annotations, &facts.files)?,
        };
        network.refuse_small_mtu(&network.subnets)?;
        Ok(Some(network))
    }

    /// # Errors
    /// When the MTU is too small for a subnet of IPv6.
    pub(crate) fn refuse_small_mtu(&self, subnets: &[IpNet]) -> Result<()> {
        let has_ipv6 = subnets.iter().any(|subnet| subnet.addr().is_ipv6());
        match self.mtu {
            Some(mtu) if has_ipv6 && mtu < MIN_IPV6_MTU => Err(invalid(
                key::MTU,
                &mtu.to_string(),
                &format!("IPv6 needs at least {MIN_IPV6_MTU}; raise it, or use IPv4 only"),
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses a network namespace that is not the container's own, and a caller without rights.
fn refuse_namespace(bridge: &str, facts: &NetworkFacts) -> Result<()> {
    let refuse = |reason: &str| Err(invalid(key::BRIDGE, bridge, reason));
    match facts.namespace {
        Place::Shared => refuse(
            "the container shares the host's network; add {\"type\": \"network\"} to linux.namespaces",
        ),
        Place::Joined { index } => refuse(&format!(
            "the container joins a network namespace that has its own links; remove linux.namespaces[{index}].path, or the annotations rt.network"
        )),
        Place::New if !facts.may_administer => refuse(NO_PERMISSION),
        Place::New => Ok(()),
    }
}

/// Why a caller without CAP_NET_ADMIN cannot connect a container, and what to use instead.
pub(crate) const NO_PERMISSION: &str = "needs CAP_NET_ADMIN on the host; run rt as root, or join a network namespace that pasta(1) or slirp4netns(1) serves (linux.namespaces[].path)";

/// Names that are safe as a name of an interface, a file, a sysctl and a table of nftables.
fn check_name(key: &str, name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let reason = if name.is_empty() || name.len() > MAX_NAME {
        format!("the name of an interface has 1 to {MAX_NAME} characters")
    } else if !name.chars().all(is_allowed) || !name.starts_with(|c: char| c.is_alphanumeric()) {
        "use letters, digits, _, - and ., with a letter or digit first".to_owned()
    } else if matches!(name, "lo" | "all" | "default") {
        "the kernel uses this name for something else; choose another".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid(key, name, &reason))
}

fn subnets(annotations: &Annotations) -> Result<Vec<IpNet>> {
    let mut subnets = Vec::new();
    for text in annotations.list(key::SUBNET)?.unwrap_or_default() {
        let subnet = prefix(key::SUBNET, text)?;
        let subnet = subnet::with_own_address(subnet)
            .map_err(|reason| invalid(key::SUBNET, text, &reason))?;
        add_family(&mut subnets, subnet, |subnet| subnet.addr())
            .map_err(|reason| invalid(key::SUBNET, text, reason))?;
    }
    Ok(subnets)
}

fn addresses(annotations: &Annotations) -> Result<Addresses> {
    let Some(list) = annotations.list(key::ADDRESS)? else {
        return Ok(Addresses::Auto);
    };
    if list == ["auto"] {
        return Ok(Addresses::Auto);
    }
    let mut addresses: Vec<IpNet> = Vec::new();
    for text in list {
        let address = prefix(key::ADDRESS, text)?;
        let refuse = |reason: &str| Err(invalid(key::ADDRESS, text, reason));
        if addresses.iter().any(|other| other.addr() == address.addr()) {
            return refuse("the address is there twice; remove one");
        }
        if !subnet::is_usable(address, address.addr()) {
            return refuse(
                "it is the network's own address or its broadcast address; choose one between them",
            );
        }
        addresses.push(address);
    }
    Ok(Addresses::Fixed(addresses))
}

fn gateways(annotations: &Annotations) -> Result<Gateways> {
    let Some(list) = annotations.list(key::GATEWAY)? else {
        return Ok(Gateways::Bridge);
    };
    if list == ["none"] {
        return Ok(Gateways::None);
    }
    let mut gateways = Vec::new();
    for text in list {
        let Ok(gateway) = text.parse::<IpAddr>() else {
            let reason = "want \"none\", or at most one IPv4 and one IPv6 address";
            return Err(invalid(key::GATEWAY, text, reason));
        };
        add_family(&mut gateways, gateway, |gateway| *gateway)
            .map_err(|reason| invalid(key::GATEWAY, text, reason))?;
    }
    Ok(Gateways::Fixed(gateways))
}

/// Adds an item, if `items` has none of its address family.
fn add_family<T>(
    items: &mut Vec<T>,
    item: T,
    address: impl Fn(&T) -> IpAddr,
) -> Result<(), &'static str> {
    let is_ipv4 = address(&item).is_ipv4();
    if items
        .iter()
        .any(|other| address(other).is_ipv4() == is_ipv4)
    {
        return Err("another one of this address family is there; remove one");
    }
    items.push(item);
    Ok(())
}

fn prefix(key: &str, text: &str) -> Result<IpNet> {
    let missing = |_| {
        let length = if text.contains(':') { "64" } else { "16" };
        let reason = match text.parse::<IpAddr>() {
            Ok(_) => format!("the prefix length is missing; write {text}/{length}"),
            Err(_) => {
                "want an address and a prefix length, such as 10.88.0.1/16 or fd00::1/64".to_owned()
            }
        };
        invalid(key, text, &reason)
    };
    let prefix: IpNet = text.parse().map_err(missing)?;
    match subnet::fault(prefix.addr()) {
        None => Ok(prefix),
        Some(fault) => Err(invalid(
            key,
            text,
            &format!("{fault}; use a private range, such as 10.88.0.0/16 or fd00::/64"),
        )),
    }
}

fn mtu(text: &str) -> Result<u32> {
    match text.parse() {
        Ok(mtu @ 68..=65535) => Ok(mtu),
        _ => Err(invalid(
            key::MTU,
            text,
            "want a number of bytes from 68 to 65535",
        )),
    }
}

fn ethernet_address(text: &str) -> Result<[u8; 6]> {
    let Some(mac) = mac::parse(text) else {
        let reason = "want six bytes in hexadecimal, such as 02:00:00:00:00:01";
        return Err(invalid(key::MAC, text, reason));
    };
    let refuse = |reason: &str| -> Result<[u8; 6]> { bail!(mac_error(text, reason)) };
    if mac == [0; 6] {
        return refuse("no interface can have it");
    }
    if mac[0] & 1 != 0 {
        return refuse("it is a multicast address: the first byte must be even");
    }
    Ok(mac)
}

fn mac_error(text: &str, reason: &str) -> Error {
    invalid(
        key::MAC,
        text,
        &format!("{reason}; use one such as 02:00:00:00:00:01"),
    )
}
