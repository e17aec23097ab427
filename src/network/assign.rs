//! Which addresses a container gets, given those that others have.

use std::net::IpAddr;

use anyhow::{Error, Result};
use ipnet::IpNet;

use super::lease::{Lease, Owner};
use super::mac;
use super::settings::{Addresses, Gateways, Network};
use super::subnet::{is_usable, lowest_free};
use crate::annotations::{invalid, key};

impl Network {
    /// The lease for `owner` on a bridge with these subnets and leases.
    ///
    /// # Errors
    /// When an address is taken or in no subnet, or no address is free.
    pub(super) fn assign(
        &self,
        owner: Owner,
        subnets: &[IpNet],
        leases: &[Lease],
    ) -> Result<Lease> {
        let gateways = self.chosen_gateways(subnets)?;
        let addresses = match &self.addresses {
            Addresses::Auto => self.free_addresses(subnets, &gateways, leases)?,
            Addresses::Fixed(addresses) => {
                for address in addresses {
                    check_fixed(*address, subnets, &gateways, leases)
                        .map_err(|reason| invalid(key::ADDRESS, &address.to_string(), &reason))?;
                }
                addresses.clone()
            }
        };
        let has_family = |gateway: &IpAddr| {
            let mut addresses = addresses.iter().map(IpNet::addr);
            addresses.any(|address| address.is_ipv4() == gateway.is_ipv4())
        };
        if let Gateways::Fixed(given) = &self.gateways
            && let Some(unreachable) = given.iter().find(|gateway| !has_family(gateway))
        {
            let reason = "the container has no address of this family; remove it";
            return Err(invalid(key::GATEWAY, &unreachable.to_string(), reason));
        }
        Ok(Lease {
            root: owner.root.to_owned(),
            id: owner.id.to_owned(),
            bridge: self.bridge.clone(),
            interface: self.interface.clone(),
            host_interface: owner.host_interface(),
            mac: self.chosen_mac(&addresses, leases)?,
            gateways: gateways.into_iter().filter(has_family).collect(),
            addresses,
            masquerade: self.nat.masquerade,
            ports: self.nat.ports.clone(),
        })
    }

    fn chosen_gateways(&self, subnets: &[IpNet]) -> Result<Vec<IpAddr>> {
        let of_bridge = |is_ipv4: bool| {
            let mut own = subnets.iter().map(IpNet::addr);
            own.find(|address| address.is_ipv4() == is_ipv4)
        };
        match &self.gateways {
            Gateways::None => Ok(Vec::new()),
            Gateways::Bridge => Ok([true, false].into_iter().filter_map(of_bridge).collect()),
            Gateways::Fixed(gateways) => {
                let unreachable = gateways
                    .iter()
                    .find(|gateway| !(subnets.iter()).any(|subnet| is_usable(*subnet, **gateway)));
                match unreachable {
                    None => Ok(gateways.clone()),
                    Some(gateway) => Err(invalid(
                        key::GATEWAY,
                        &gateway.to_string(),
                        &format!(
                            "it is in no subnet of the bridge ({}); choose one in it",
                            list(subnets)
                        ),
                    )),
                }
            }
        }
    }

    /// The lowest free address of the first subnet of each family.
    fn free_addresses(
        &self,
        subnets: &[IpNet],
        gateways: &[IpAddr],
        leases: &[Lease],
    ) -> Result<Vec<IpNet>> {
        let leased = leases.iter().flat_map(|lease| &lease.addresses);
        let mut used: Vec<IpAddr> = (leased.chain(subnets).map(IpNet::addr))
            .chain(gateways.iter().copied())
            .collect();
        used.sort_unstable();
        let first_of =
            |is_ipv4| (subnets.iter()).find(move |subnet| subnet.addr().is_ipv4() == is_ipv4);
        let chosen = [true, false].into_iter().filter_map(first_of);
        let free = |subnet: &IpNet| {
            lowest_free(*subnet, &used).ok_or_else(|| {
                let reason = format!(
                    "no address of {} is free: {} containers use it; delete some, or use another bridge",
                    subnet.trunc(),
                    leases.len()
                );
                self.refused(&reason)
            })
        };
        chosen.map(free).collect()
    }

    /// The address of the annotation; otherwise one that follows from the IP address, so that
    /// what others remember about the IP address stays true for its next user.
    fn chosen_mac(&self, addresses: &[IpNet], leases: &[Lease]) -> Result<String> {
        let Some(mac) = self.mac else {
            return Ok(mac::text(&mac_for(addresses)));
        };
        let mac = mac::text(&mac);
        match leases.iter().find(|lease| lease.mac == mac) {
            None => Ok(mac),
            Some(other) => Err(invalid(key::MAC, &mac, &taken(other))),
        }
    }

    /// An error about the bridge.
    pub(super) fn refused(&self, reason: &str) -> Error {
        invalid(key::BRIDGE, &self.bridge, reason)
    }
}

/// Whether a container may have the address that its annotation names.
fn check_fixed(
    address: IpNet,
    subnets: &[IpNet],
    gateways: &[IpAddr],
    leases: &[Lease],
) -> Result<(), String> {
    let own = address.addr();
    let Some(subnet) = subnets.iter().find(|subnet| is_usable(**subnet, own)) else {
        return Err(format!(
            "it is in no subnet of the bridge ({}); choose one in it",
            list(subnets)
        ));
    };
    let length = subnet.prefix_len();
    if address.prefix_len() != length {
        return Err(format!(
            "the bridge has the prefix length {length}; write {own}/{length}"
        ));
    }
    if subnets.iter().any(|subnet| subnet.addr() == own) {
        return Err("it is the bridge's own address; choose another one".to_owned());
    }
    if gateways.contains(&own) {
        return Err("it is the gateway's address; choose another one".to_owned());
    }
    let has_it = |lease: &&Lease| lease.addresses.iter().any(|leased| leased.addr() == own);
    match leases.iter().find(has_it) {
        None => Ok(()),
        Some(other) => Err(taken(other)),
    }
}

fn taken(by: &Lease) -> String {
    let (id, root) = (&by.id, by.root.display());
    format!("the container {id} (--root {root}) has it; choose another one, or \"auto\"")
}

fn list(subnets: &[IpNet]) -> String {
    crate::decisions::list(subnets.iter().map(IpNet::trunc))
}

/// A locally administered address that follows from the first IP address.
fn mac_for(addresses: &[IpNet]) -> [u8; 6] {
    let [a, b, c, d] = match addresses.first().map(IpNet::addr) {
        None => [0; 4],
        Some(IpAddr::V4(address)) => address.octets(),
        Some(IpAddr::V6(address)) => hash(address.octets()),
    };
    [0x02, 0x72, a, b, c, d]
}

/// FNV-1a.
fn hash(octets: [u8; 16]) -> [u8; 4] {
    let step = |hash: u32, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    octets.into_iter().fold(0x811c_9dc5, step).to_be_bytes()
}
