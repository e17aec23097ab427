//! The decisions about the network, as text.

use super::mac;
use super::settings::{Addresses, Gateways, Network};
use crate::decisions::{Decisions, list};

impl Network {
    /// Adds what is made, one decision a line.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        to.line(match &*self.subnets {
            [] => format!("bridge {}: must be there", self.bridge),
            subnets => format!("bridge {}: {}, made if absent", self.bridge, list(subnets)),
        });
        let interface = &self.interface;
        to.line(format!(
            "link pair: {interface} in the container, a port of the bridge on the host"
        ));
        to.line(match &self.addresses {
            Addresses::Auto => format!("addresses of {interface}: a free one of each subnet"),
            Addresses::Fixed(addresses) => format!("addresses of {interface}: {}", list(addresses)),
        });
        to.line(match &self.gateways {
            Gateways::Bridge => "default routes: by the addresses of the bridge".to_owned(),
            Gateways::None => "default routes: none".to_owned(),
            Gateways::Fixed(gateways) => format!("default routes: by {}", list(gateways)),
        });
        if let Some(mtu) = self.mtu {
            to.line(format!("MTU {mtu}"));
        }
        if let Some(mac) = &self.mac {
            to.line(format!("MAC address {}", mac::text(mac)));
        }
        self.nat.decisions(to);
        self.files.decisions(to);
    }
}
