//! The port of a bridge that sends a packet back where it came from.

use anyhow::Result;
use libc::{IFLA_IFNAME, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, RTM_NEWLINK};

use crate::annotations::key;
use crate::network::netlink::{Message, Netlink, attribute};

/// `IFLA_BRPORT_MODE` (linux/if_link.h).
const HAIRPIN: u16 = 4;

/// Lets a container reach its own published ports. With `bridge-nf-call-iptables`, a packet
/// to such a port gets its new destination in the bridge, not above it, and a bridge otherwise
/// drops a packet that would leave by the port of its arrival.
///
/// # Errors
/// When the kernel refuses it.
pub(super) fn enable(host: &Netlink, interface: &str) -> Result<()> {
    // `struct ifinfomsg`; the name stands for the index.
    let what = format!(
        "annotations: {}: set hairpin mode of {interface}",
        key::PUBLISH
    );
    let message = Message::new(RTM_NEWLINK, 0, &[0; 16], what)
        .text(IFLA_IFNAME, interface)
        .nested(
            IFLA_LINKINFO,
            &[
                attribute(IFLA_INFO_SLAVE_KIND, b"bridge"),
                attribute(IFLA_INFO_SLAVE_DATA, &attribute(HAIRPIN, &[1])),
            ],
        );
    host.change(&[message])
}
