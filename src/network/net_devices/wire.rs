//! What the runtime does for network devices: moves them while init waits, and gives them back after a failure.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Error, Result, anyhow};
use libc::{IFLA_IFNAME, IFLA_NET_NS_FD, IFLA_NEW_IFINDEX};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use super::link::{HostLink, set_link};
use super::plan::{NO_PERMISSION, NetDevice, NetDevices};
use crate::network::netlink::{Message, Netlink};
use crate::network::settings::Place;
use crate::network::wire::open_in;
use crate::trusted_proc::Proc;

/// How many requests go to the kernel in one datagram.
const BATCH: usize = 256;

/// The devices that have left the host. They can be given back as long as the namespace is there, which this value
/// ensures.
pub(crate) struct MovedDevices {
    namespaces: Namespaces,
    devices: Vec<MovedDevice>,
}

struct MovedDevice {
    place: String,
    link: HostLink,
    /// The name with which it arrives in the container.
    arrival: String,
    /// In the container. `None` until it has arrived.
    index: Option<u32>,
}

struct Namespaces {
    host: OwnedFd,
    container: OwnedFd,
}

impl Namespaces {
    /// Sockets of the host's and of the container's network namespace.
    fn open(&self) -> Result<(Netlink, Netlink)> {
        let inside = open_in(self.container.as_fd(), self.host.as_fd());
        let inside = inside.context("enter the container's network namespace")?;
        Ok((Netlink::open()?, inside))
    }
}

impl NetDevices {
    /// Moves the devices into the network namespace of the container, with their permanent global addresses, and sets
    /// them up. `moved` has the devices that are no longer on the host, also after an error.
    ///
    /// # Errors
    /// When the host has no such device, its name in the container is taken, or the kernel refuses a request.
    pub(crate) fn wire(
        &self,
        container: OwnedFd,
        proc: &Proc,
        moved: &mut Option<MovedDevices>,
    ) -> Result<()> {
        let namespaces = self.namespaces(container, proc)?;
        let (host, inside) = namespaces.open().map_err(|error| self.at(error))?;
        // Nothing is moved before all devices are known to be there.
        let examine = |device| examine(device, &host, Some(&inside));
        let mut links = self
            .devices
            .iter()
            .map(examine)
            .collect::<Result<Vec<_>>>()?;
        (host.read_addresses_and_routes(&mut links, "addresses and routes"))
            .map_err(|error| self.at(error))?;
        let moved = moved.insert(MovedDevices {
            namespaces,
            devices: Vec::new(),
        });
        for (device, link) in self.devices.iter().zip(links) {
            moved.take(device, link, (&host, &inside))?;
        }
        Ok(())
    }

    /// The errors of [`NetDevices::wire`], as far as they can be known. `joined` is the namespace that the container
    /// joins, if it can be opened.
    pub(crate) fn refusals(&self, joined: Option<OwnedFd>, proc: &Proc) -> Vec<Error> {
        let sockets = joined.map(|container| self.namespaces(container, proc)?.open());
        let opened = match sockets {
            Some(opened) => opened.map(|(host, inside)| (host, Some(inside))),
            None => Netlink::open().map(|host| (host, None)),
        };
        let (host, inside) = match opened {
            Ok(opened) => opened,
            Err(error) => return vec![self.at(error)],
        };
        if !host.may_change_links() {
            let first = self.devices.first();
            return first
                .map(|device| device.refused(NO_PERMISSION))
                .into_iter()
                .collect();
        }
        let examined = (self.devices.iter()).map(|device| examine(device, &host, inside.as_ref()));
        examined.filter_map(Result::err).collect()
    }

    fn namespaces(&self, container: OwnedFd, proc: &Proc) -> Result<Namespaces> {
        let host = proc.link("self/ns/net", OFlag::O_RDONLY);
        let host = host.context("/proc/self/ns/net")?;
        let id = |fd: &OwnedFd| fstat(fd).map(|status| (status.st_dev, status.st_ino));
        if let Place::Joined { index } = self.namespace
            && id(&host)? == id(&container)?
        {
            return Err(self.at(anyhow!(
                "the container joins the host's network namespace; remove linux.namespaces[{index}].path"
            )));
        }
        Ok(Namespaces { host, container })
    }

    /// An error that concerns all devices.
    fn at(&self, error: Error) -> Error {
        let place = (self.devices.first()).map(NetDevice::place);
        error.context(place.unwrap_or_default())
    }
}

/// Looks for a device on the host, and for its name in the container: "The runtime MUST check if moving the network
/// interface to the container namespace is possible. If a network device with the specified name already exists in
/// the container namespace, the runtime MUST generate an error" (config-linux.md, "Network Devices").
fn examine(device: &NetDevice, host: &Netlink, inside: Option<&Netlink>) -> Result<HostLink> {
    let what = device.place();
    let link = (host.host_link(&device.name, &what)?)
        .ok_or_else(|| device.refused("the host has no such network device"))?;
    if link.name != device.name {
        let reason = format!("this is another name of {0}; use {0}", link.name);
        return Err(device.refused(&reason));
    }
    if link.is_loopback || link.is_immutable {
        return Err(device.refused(IMMOVABLE));
    }
    if let Some(inside) = inside
        && !device.is_template()
        && inside.link(&device.new_name, &what)?.is_some()
    {
        return Err(device.refused_name(TAKEN));
    }
    Ok(link)
}

const IMMOVABLE: &str = "the kernel does not move network devices of this kind";
const TAKEN: &str = "the container's network namespace has a device with this name; choose another";

impl MovedDevices {
    /// Moves a device and configures it.
    fn take(
        &mut self,
        device: &NetDevice,
        link: HostLink,
        (host, inside): (&Netlink, &Netlink),
    ) -> Result<()> {
        let what = device.place();
        // The kernel renames a device after it has moved it, and a name that is taken does not stop the move. So the
        // device arrives with a name that is free, by which it can be found.
        let arrival = match inside.link(&device.name, &what)? {
            None => device.name.clone(),
            Some(_) => format!("rt{}", link.index),
        };
        let container = number_of(&self.namespaces.container);
        let move_it = (set_link(link.index, &what).number(IFLA_NET_NS_FD, container))
            .text(IFLA_IFNAME, &arrival);
        let new = MovedDevice {
            place: what.clone(),
            link,
            arrival,
            index: None,
        };
        self.devices.push(new);
        let Some(moved) = self.devices.last_mut() else {
            return Ok(());
        };
        (host.change(&[move_it])).map_err(|error| match error.downcast_ref() {
            Some(Errno::EPERM) => device.refused(NO_PERMISSION),
            Some(Errno::EINVAL) => device.refused(IMMOVABLE),
            Some(Errno::EEXIST) => device.refused_name(TAKEN),
            _ => error,
        })?;
        let index = index_of(inside, &moved.arrival, &what)?;
        let index = index.ok_or(Errno::ENODEV).with_context(|| what.clone())?;
        moved.index = Some(index);
        if moved.arrival != device.new_name {
            let rename = set_link(index, &what).text(IFLA_IFNAME, &device.new_name);
            (inside.change(&[rename])).map_err(|error| match error.downcast_ref() {
                Some(Errno::EEXIST) => device.refused_name(TAKEN),
                _ => error,
            })?;
        }
        let name = if device.is_template() {
            inside.link_name(index, &what)?
        } else {
            device.new_name.clone()
        };
        change_all(inside, &moved.link.configure(index, &name, &what))
    }

    /// Gives the devices back to the host, with their names, addresses, routes and state. The container's process must
    /// have ended.
    ///
    /// # Errors
    /// The first device that cannot be given back as it was. The others are.
    pub(crate) fn undo(self) -> Result<()> {
        // New sockets: old ones can hold answers that were not received before the failure.
        let sockets = self.namespaces.open()?;
        let devices = self.devices.iter().rev();
        let given_back: Vec<Result<()>> = devices
            .map(|device| device.give_back(&self.namespaces.host, &sockets))
            .collect();
        given_back.into_iter().collect()
    }
}

impl MovedDevice {
    fn give_back(&self, to: &OwnedFd, (host, inside): &(Netlink, Netlink)) -> Result<()> {
        let what = format!("{}: give it back to the host", self.place);
        let index = match self.index {
            Some(index) => Some(index),
            None => index_of(inside, &self.arrival, &what)?,
        };
        let Some(index) = index else {
            return Ok(()); // It has not left the host.
        };
        let link = &self.link;
        let move_it = (set_link(index, &what).number(IFLA_NET_NS_FD, number_of(to)))
            .number(IFLA_NEW_IFINDEX, link.index) // Since Linux 5.13.
            .text(IFLA_IFNAME, &link.name);
        inside.change(&[move_it])?;
        let index = index_of(host, &link.name, &what)?;
        let index = index.ok_or(Errno::ENODEV).with_context(|| what.clone())?;
        change_all(host, &link.restore(index, &what))
    }
}

/// The number of a descriptor, for the kernel.
fn number_of(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn index_of(netlink: &Netlink, name: &str, what: &str) -> Result<Option<u32>> {
    Ok(netlink.link(name, what)?.map(|link| link.index))
}

/// Makes all changes, also after one that fails.
///
/// # Errors
/// The first that failed.
fn change_all(netlink: &Netlink, messages: &[Message]) -> Result<()> {
    let batches = messages.chunks(BATCH);
    let changed: Vec<Result<()>> = batches.map(|batch| netlink.change(batch)).collect();
    changed.into_iter().collect()
}
