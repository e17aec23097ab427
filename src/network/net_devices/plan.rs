//! The planned network devices, from `linux.netDevices`.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Error, Result, anyhow};
use oci_spec::runtime::LinuxNetDevice;

use crate::decisions::{Decisions, word};
use crate::network::settings::{MAX_NAME, NetworkFacts, Place};

/// What the kernel replaces by the first number that makes the name free.
const NUMBER: &str = "%d";

/// The remedy for a caller without rights on the host's network.
pub(super) const NO_PERMISSION: &str = "needs CAP_NET_ADMIN on the host; run rt as root";

/// A device of the host, and its name in the container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NetDevice {
    pub(super) name: String,
    pub(super) new_name: String,
}

impl NetDevice {
    /// Whether the kernel completes the new name.
    pub(super) fn is_template(&self) -> bool {
        self.new_name.ends_with(NUMBER)
    }

    /// Its place in config.json.
    pub(super) fn place(&self) -> String {
        place(&self.name)
    }

    /// An error about the device.
    pub(super) fn refused(&self, reason: &str) -> Error {
        anyhow!("{}: {reason}", self.place())
    }

    /// An error about its name in the container.
    pub(super) fn refused_name(&self, reason: &str) -> Error {
        if self.name == self.new_name {
            self.refused(reason)
        } else {
            anyhow!("{}.name: {:?}: {reason}", self.place(), self.new_name)
        }
    }
}

/// The network devices of one container.
#[derive(Debug)]
pub(crate) struct NetDevices {
    /// In the order in which they move: by their names on the host, but those with a template last, so that the
    /// kernel gives them numbers that no other device of the list needs.
    pub(super) devices: Vec<NetDevice>,
    pub(super) namespace: Place,
}

impl NetDevices {
    /// Plans from `linux.netDevices`. `None` without devices. `interface` is the link that the container gets by the
    /// annotations `rt.network.*`.
    ///
    /// # Errors
    /// When the kernel cannot give an interface such a name, two devices get the same one, the container has no
    /// network namespace of its own, or the caller may not change the host's network.
    pub(crate) fn plan(
        devices: Option<&HashMap<String, LinuxNetDevice>>,
        interface: Option<&str>,
        facts: &NetworkFacts,
    ) -> Result<Option<NetDevices>> {
        let sorted: BTreeMap<&String, &LinuxNetDevice> = devices.into_iter().flatten().collect();
        let mut devices: Vec<NetDevice> = Vec::new();
        for (name, device) in sorted {
            let new_name = device.name().as_ref().filter(|name| !name.is_empty());
            let device = NetDevice {
                name: name.clone(),
                new_name: new_name.unwrap_or(name).clone(),
            };
            refuse_names(&device, interface)?;
            let is_same = |other: &&NetDevice| other.new_name == device.new_name;
            if let Some(other) = devices.iter().find(is_same)
                && !device.is_template()
            {
                let reason = format!("{} gets this name; choose another", other.place());
                return Err(device.refused_name(&reason));
            }
            devices.push(device);
        }
        let Some(first) = devices.first() else {
            return Ok(None);
        };
        if facts.namespace == Place::Shared {
            let reason = r#"the container shares the host's network; add {"type": "network"} to linux.namespaces"#;
            return Err(first.refused(reason));
        }
        if !facts.may_administer {
            return Err(first.refused(NO_PERMISSION));
        }
        devices.sort_by_key(NetDevice::is_template);
        Ok(Some(NetDevices {
            devices,
            namespace: facts.namespace,
        }))
    }

    /// Adds what moves, one decision a line.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        for device in &self.devices {
            let template = if device.is_template() {
                ", numbered by the kernel"
            } else {
                ""
            };
            to.line(format!(
                "{} of the host: in the container {}{template}, with its permanent global addresses, up",
                word(&device.name),
                word(&device.new_name)
            ));
        }
    }
}

fn place(name: &str) -> String {
    format!("linux.netDevices.{}", word(name))
}

fn refuse_names(device: &NetDevice, interface: Option<&str>) -> Result<()> {
    if let Some(fault) = host_name_fault(&device.name) {
        return Err(device.refused(fault));
    }
    if let Some(fault) = new_name_fault(&device.new_name) {
        return Err(device.refused_name(fault));
    }
    if interface == Some(&device.new_name) {
        let reason = "the link of the annotation rt.network.bridge has this name; choose another, or set rt.network.interface";
        return Err(device.refused_name(reason));
    }
    Ok(())
}

/// Why no device that can be moved has this name.
fn host_name_fault(name: &str) -> Option<&'static str> {
    match name {
        "lo" => Some("every network namespace has its own lo, which the kernel does not move"),
        name if name.contains('%') => Some("no interface has a % in its name"),
        name => fault(name),
    }
}

/// Why the kernel gives no device this name.
fn new_name_fault(name: &str) -> Option<&'static str> {
    match name {
        "lo" => Some("every network namespace has an interface with this name; choose another"),
        // Directories below /proc/sys/net/ipv4/conf.
        "all" | "default" => Some("the kernel uses this name for something else; choose another"),
        name if name.strip_suffix(NUMBER).unwrap_or(name).contains('%') => {
            Some("a % is allowed only in %d at the end, which the kernel replaces by a number")
        }
        name => fault(name),
    }
}

/// Why the name is not valid, as in `dev_valid_name` of the kernel (net/core/dev.c).
fn fault(name: &str) -> Option<&'static str> {
    // The kernel takes a byte for a character, so it sees the space of Latin-1 in letters such as à.
    let is_refused = |byte| matches!(byte, 0 | b'\t'..=b'\r' | b' ' | b'/' | b':' | 0xa0);
    if name.is_empty() || name.len() > MAX_NAME {
        Some("the name of an interface has 1 to 15 bytes")
    } else if matches!(name, "." | "..") {
        Some("no interface can have this name")
    } else if name.bytes().any(is_refused) {
        Some("the name of an interface has no space, / or : in it (the byte 0xa0 is a space)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::log::format_error;
    use crate::network::FileFacts;

    fn facts(namespace: Place, may_administer: bool) -> NetworkFacts<'static> {
        NetworkFacts {
            namespace,
            may_administer,
            files: FileFacts {
                name: "web",
                read: |_| None,
            },
        }
    }

    fn plan_for(devices: Value, facts: &NetworkFacts) -> Result<Option<NetDevices>> {
        let devices: HashMap<String, LinuxNetDevice> = serde_json::from_value(devices).unwrap();
        NetDevices::plan(Some(&devices), Some("net0"), facts)
    }

    fn plan(devices: Value) -> Result<Option<NetDevices>> {
        plan_for(devices, &facts(Place::New, true))
    }

    #[track_caller]
    fn refused(devices: Value) -> String {
        format_error(&plan(devices).unwrap_err())
    }

    #[test]
    fn devices_move_in_the_order_of_their_names_and_templates_last() {
        let planned = plan(json!({
            "b": {"name": ""}, "a": {"name": "eth%d"}, "d": {"name": "eth0"}, "c": {"name": "eth%d"},
        }));
        let devices = planned.unwrap().unwrap().devices;
        let names = |device: &NetDevice| format!("{} {}", device.name, device.new_name);
        let names: Vec<String> = devices.iter().map(names).collect();
        assert_eq!(names, ["b b", "d eth0", "a eth%d", "c eth%d"]);
        assert!(
            NetDevices::plan(None, None, &facts(Place::Shared, false))
                .unwrap()
                .is_none()
        );
        assert!(plan(json!({})).unwrap().is_none());
    }

    #[test]
    fn a_name_that_the_kernel_refuses_is_refused() {
        for name in [
            "",
            "sixteen-bytes-xx",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\nb",
            "a\u{0}",
            "à",
            "a\u{a0}",
        ] {
            let text = refused(json!({ name: {} }));
            assert!(text.starts_with("linux.netDevices."), "{text}");
            if !name.is_empty() {
                let text = refused(json!({"eth1": {"name": name}}));
                assert!(text.starts_with("linux.netDevices.eth1.name: \""), "{text}");
            }
        }
        for name in ["%d", "eth%d", "fifteen-bytes%d", "é", "-", "net1"] {
            assert!(plan(json!({"eth1": {"name": name}})).is_ok(), "{name}");
        }
        for name in [
            "lo", "all", "default", "eth%", "eth%s", "%d0", "e%d%d", "eth%%d",
        ] {
            refused(json!({"eth1": {"name": name}}));
        }
        assert_eq!(
            refused(json!({"": {}})),
            r#"linux.netDevices."": the name of an interface has 1 to 15 bytes"#
        );
        assert_eq!(
            refused(json!({"lo": {"name": "eth1"}})),
            "linux.netDevices.lo: every network namespace has its own lo, which the kernel does not move"
        );
        assert_eq!(
            refused(json!({"eth%d": {}})),
            "linux.netDevices.eth%d: no interface has a % in its name"
        );
    }

    #[test]
    fn two_devices_do_not_get_the_same_name() {
        assert_eq!(
            refused(json!({"eth0": {"name": "lan"}, "eth1": {"name": "lan"}})),
            r#"linux.netDevices.eth1.name: "lan": linux.netDevices.eth0 gets this name; choose another"#
        );
        assert_eq!(
            refused(json!({"eth0": {"name": "eth1"}, "eth1": {}})),
            "linux.netDevices.eth1: linux.netDevices.eth0 gets this name; choose another"
        );
        assert!(plan(json!({"eth0": {"name": "eth1"}, "eth1": {"name": "eth0"}})).is_ok());
        let text = refused(json!({"eth0": {"name": "net0"}}));
        let expected = r#"linux.netDevices.eth0.name: "net0": the link of the annotation rt.network.bridge has this name"#;
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn the_container_needs_a_network_namespace_and_the_caller_a_right() {
        let refused = |namespace, may_administer| {
            let planned = plan_for(json!({"eth0": {}}), &facts(namespace, may_administer));
            planned
                .err()
                .map(|error| format_error(&error))
                .unwrap_or_default()
        };
        assert_eq!(
            refused(Place::Shared, true),
            r#"linux.netDevices.eth0: the container shares the host's network; add {"type": "network"} to linux.namespaces"#
        );
        assert_eq!(
            refused(Place::New, false),
            "linux.netDevices.eth0: needs CAP_NET_ADMIN on the host; run rt as root"
        );
        assert_eq!(refused(Place::Joined { index: 1 }, true), "");
    }
}
