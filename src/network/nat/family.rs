//! The two address families.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use ipnet::IpNet;

use super::publish::Port;
use crate::network::lease::Lease;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// Those of which the container has an address.
    pub(super) fn of(lease: &Lease) -> Vec<Family> {
        let mut families = Family::ALL.to_vec();
        families.retain(|family| family.addresses(lease).next().is_some());
        families
    }

    /// The container's addresses. Published ports lead to the first.
    pub(super) fn addresses(self, lease: &Lease) -> impl Iterator<Item = IpAddr> {
        let addresses = lease.addresses.iter().map(IpNet::addr);
        addresses.filter(move |address| address.is_ipv4() == (self == Family::Ipv4))
    }

    /// Whether packets of the family can be for the port.
    pub(super) fn has(self, port: &Port) -> bool {
        let is_ipv4 = port.host_address.map(|address| address.is_ipv4());
        is_ipv4.is_none_or(|is_ipv4| is_ipv4 == (self == Family::Ipv4))
    }

    /// At the end of the names of sets and maps.
    pub(super) fn digit(self) -> u8 {
        match self {
            Family::Ipv4 => 4,
            Family::Ipv6 => 6,
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "IPv{}", self.digit())
    }
}
