//! Which addresses of a subnet an interface may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The subnet with the address of the bridge in it: the first one, if the text named the
/// subnet itself.
///
/// # Errors
/// The reason why there is no such address, or none beside it for a container.
pub(crate) fn with_own_address(subnet: IpNet) -> Result<IpNet, String> {
    let length = subnet.prefix_len();
    if length == 0 || length == subnet.max_prefix_len() {
        return Err(format!(
            "a prefix length of {length} leaves no address for containers, or none for the host; use 1 to {}",
            subnet.max_prefix_len() - 1
        ));
    }
    let (first, _) = usable(subnet);
    let is_subnet = subnet.addr() == subnet.network() && number(subnet.addr()) < first;
    let own = if is_subnet {
        IpNet::new(address(first, subnet), length).map_err(|error| error.to_string())?
    } else {
        subnet
    };
    if is_usable(own, own.addr()) {
        Ok(own)
    } else {
        Err("it is the broadcast address; use another one for the bridge".to_owned())
    }
}

/// Whether an interface in the subnet may have `address`.
pub(crate) fn is_usable(subnet: IpNet, address: IpAddr) -> bool {
    let (first, last) = usable(subnet);
    address.is_ipv4() == subnet.addr().is_ipv4() && (first..=last).contains(&number(address))
}

/// The lowest address that is not in `used`, which is sorted. `None` when the subnet is full.
pub(crate) fn lowest_free(subnet: IpNet, used: &[IpAddr]) -> Option<IpNet> {
    let (mut free, last) = usable(subnet);
    let same_family = |used: &&IpAddr| used.is_ipv4() == subnet.addr().is_ipv4();
    for used in used.iter().filter(same_family).map(|used| number(*used)) {
        if used == free {
            free = free.checked_add(1)?;
        }
    }
    let found = (free <= last).then(|| address(free, subnet))?;
    IpNet::new(found, subnet.prefix_len()).ok()
}

/// The first and the last address for interfaces. Two addresses of IPv4 are the network itself
/// and broadcast, one of IPv6 is that of all routers (RFC 4291, section 2.6.1), except in
/// subnets of two addresses (RFC 3021, RFC 6164).
fn usable(subnet: IpNet) -> (u128, u128) {
    let (network, broadcast) = (number(subnet.network()), number(subnet.broadcast()));
    if subnet.prefix_len() + 1 >= subnet.max_prefix_len() {
        (network, broadcast)
    } else if subnet.addr().is_ipv4() {
        (network + 1, broadcast - 1)
    } else {
        (network + 1, broadcast)
    }
}

/// What makes an address unusable for an interface of any subnet.
pub(crate) fn fault(address: IpAddr) -> Option<&'static str> {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let is_reserved = match address {
        IpAddr::V4(address) => address.octets()[0] == 0 || address.octets()[0] >= 240,
        IpAddr::V6(address) => address.is_unspecified() || address.to_ipv4_mapped().is_some(),
    };
    if address.is_loopback() {
        Some("it is a loopback address")
    } else if address.is_multicast() {
        Some("it is a multicast address")
    } else if is_link_local {
        Some("it is a link-local address")
    } else if is_reserved {
        Some("it is a reserved address")
    } else {
        None
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address with this number, of the subnet's family.
fn address(number: u128, subnet: IpNet) -> IpAddr {
    if subnet.addr().is_ipv4() {
        // A number of this family has 32 bits.
        Ipv4Addr::from(number as u32).into()
    } else {
        Ipv6Addr::from(number).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Option<String> {
        let own = with_own_address(text.parse().unwrap());
        own.ok().map(|own| own.to_string())
    }

    #[test]
    fn a_subnet_means_its_first_address() {
        for (text, expected) in [
            ("10.88.0.0/16", "10.88.0.1/16"),
            ("10.88.0.7/16", "10.88.0.7/16"),
            ("10.88.0.0/30", "10.88.0.1/30"),
            ("10.88.0.0/31", "10.88.0.0/31"),
            ("10.88.0.1/31", "10.88.0.1/31"),
            ("fd00::/64", "fd00::1/64"),
            ("fd00::/127", "fd00::/127"),
        ] {
            assert_eq!(own(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_subnet_has_room_for_two() {
        for text in [
            "10.88.0.1/32",
            "fd00::1/128",
            "10.88.0.0/0",
            "10.88.255.255/16",
        ] {
            assert_eq!(own(text), None, "{text}");
        }
    }

    #[test]
    fn the_lowest_free_address_is_found() {
        let find = |subnet: &str, used: &[&str]| {
            let mut used: Vec<IpAddr> = used.iter().map(|used| used.parse().unwrap()).collect();
            used.sort_unstable();
            lowest_free(subnet.parse().unwrap(), &used).map(|found| found.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(find("10.0.0.1/24", &["10.0.0.1"]), some("10.0.0.2/24"));
        let used = ["10.0.0.3", "10.0.0.1", "fd00::2", "10.9.0.2", "10.0.0.2"];
        assert_eq!(find("10.0.0.1/24", &used), some("10.0.0.4/24"));
        assert_eq!(find("10.0.0.1/30", &["10.0.0.1", "10.0.0.2"]), None);
        assert_eq!(find("10.0.0.0/31", &["10.0.0.0"]), some("10.0.0.1/31"));
        assert_eq!(find("10.0.0.0/31", &["10.0.0.0", "10.0.0.1"]), None);
        assert_eq!(find("fd00::1/64", &["fd00::1"]), some("fd00::2/64"));
        assert_eq!(find("fd00::/127", &["fd00::"]), some("fd00::1/127"));
    }
}
