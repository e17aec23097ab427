//! The bridge of a container: found, or made if it is absent.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use anyhow::{Context, Error, Result};
use ipnet::IpNet;
use nix::errno::Errno;

use super::links::Link;
use super::mac;
use super::netlink::Netlink;
use super::records::Record;
use super::settings::{NO_PERMISSION, Network};
use crate::annotations::{invalid, key};
use crate::decisions::list;
use crate::log::hinted;
use crate::trusted_proc::Proc;

/// What the host has where the bridge should be.
#[derive(Debug)]
pub(super) struct Bridge {
    /// `None` when it has to be made.
    pub(super) link: Option<Link>,
    /// The address of a bridge that `rt` has made or will make; `None` for another bridge.
    pub(super) mac: Option<[u8; 6]>,
    /// With the bridge's own addresses in them.
    pub(super) subnets: Vec<IpNet>,
}

impl Network {
    /// Looks for the bridge, and changes nothing.
    ///
    /// # Errors
    /// When its name belongs to another kind of link, its addresses are others than those of
    /// the annotation, it has to be made without a subnet, or the subnet overlaps a route.
    pub(super) fn find_bridge(&self, host: &Netlink, record: &Record) -> Result<Bridge> {
        let link = host.link(&self.bridge, &self.at("look for it"))?;
        let bridge = match link {
            None => self.absent(host, record)?,
            Some(link) if link.kind != "bridge" => {
                let kind = match &*link.kind {
                    "" => "an interface that is no bridge".to_owned(),
                    kind => format!("an interface of the kind {kind}"),
                };
                return Err(self.refused(&format!(
                    "the host has {kind} with this name; use another name"
                )));
            }
            Some(link) => self.existing(host, record, link)?,
        };
        self.refuse_small_mtu(&bridge.subnets)?;
        Ok(bridge)
    }

    fn existing(&self, host: &Netlink, record: &Record, link: Link) -> Result<Bridge> {
        let mac = <[u8; 6]>::try_from(&*link.mac).ok();
        let is_own = record.mac.is_some() && record.mac == mac.map(|mac| mac::text(&mac));
        let subnets = if is_own {
            record.subnets.clone()
        } else {
            host.addresses(link.index, &self.at("read its addresses"))?
        };
        if subnets.is_empty() {
            return Err(self.refused(
                "the bridge has no address, and rt did not make it; add one (ip address add), or use another name",
            ));
        }
        self.refuse_other_subnets(&subnets)?;
        Ok(Bridge {
            link: Some(link),
            mac: mac.filter(|_| is_own),
            subnets,
        })
    }

    /// A bridge to make. If somebody has deleted it, it gets its subnets again.
    fn absent(&self, host: &Netlink, record: &Record) -> Result<Bridge> {
        let subnets = if record.leases.is_empty() {
            self.subnets.clone()
        } else {
            self.refuse_other_subnets(&record.subnets)?;
            record.subnets.clone()
        };
        if subnets.is_empty() {
            return Err(self.refused(&format!(
                "the host has no such bridge; set {}, such as \"10.88.0.0/16\", and rt makes it",
                key::SUBNET
            )));
        }
        let routes = host.routes(&self.at("read the host's routes"))?;
        for subnet in &subnets {
            let overlaps = |route: &&IpNet| route.contains(subnet) || subnet.contains(*route);
            if let Some(route) = routes.iter().find(overlaps) {
                let reason = format!("it overlaps the host's route to {route}; use another subnet");
                return Err(invalid(key::SUBNET, &subnet.to_string(), &reason));
            }
        }
        Ok(Bridge {
            link: None,
            mac: Some(random_mac()),
            subnets,
        })
    }

    fn refuse_other_subnets(&self, existing: &[IpNet]) -> Result<()> {
        match (self.subnets.iter()).find(|subnet| !existing.contains(subnet)) {
            None => Ok(()),
            Some(other) => Err(invalid(
                key::SUBNET,
                &other.to_string(),
                &format!(
                    "the bridge {} has {}; use that, or another bridge",
                    self.bridge,
                    list(existing)
                ),
            )),
        }
    }

    /// Makes the bridge, and brings it up with its addresses.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub(super) fn make_bridge(
        &self,
        host: &Netlink,
        (mac, subnets): ([u8; 6], &[IpNet]),
        proc: &Proc,
    ) -> Result<Link> {
        let what = self.at("create it");
        (host.make_bridge(&self.bridge, mac, &what)).map_err(|error| self.not_permitted(error))?;
        let link = host.link(&self.bridge, &what)?;
        let link = link.ok_or(Errno::ENODEV).with_context(|| what.clone())?;
        // A container must not become the host's router (CVE-2020-13401).
        let file = format!("net/ipv6/conf/{}/accept_ra", self.bridge);
        match proc.write(&format!("sys/{file}"), b"0") {
            Ok(()) | Err(Errno::ENOENT) => {} // The kernel may have no IPv6.
            Err(errno) => {
                let remedy = "rt must be able to write there".to_owned();
                let error = hinted(errno, Some(remedy));
                return Err(error.context(format!("{what}: /proc/sys/{file}")));
            }
        }
        host.raise_bridge(link.index, subnets, &what)?;
        Ok(link)
    }

    /// The place of the bridge in config.json, and an action.
    pub(super) fn at(&self, action: &str) -> String {
        format!("annotations: {}: {:?}: {action}", key::BRIDGE, self.bridge)
    }

    /// Says what to do about the kernel's error for a caller without CAP_NET_ADMIN.
    pub(super) fn not_permitted(&self, error: Error) -> Error {
        match error.downcast_ref() {
            Some(Errno::EPERM) => self.refused(NO_PERMISSION),
            _ => error,
        }
    }
}

/// A locally administered address that no other bridge has.
fn random_mac() -> [u8; 6] {
    // Its keys are random.
    let [a, b, c, d, e, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    [0x02, a, b, c, d, e]
}
