//! Marks for the network packets of a container (config-linux.md, "Network"), in v1 only.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxNetwork;

use super::lines::is_word;
use super::setting::Setting;

/// What is to be known of a container's packets on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cgroups) struct Network {
    /// The class for tc(8).
    class_id: Option<u32>,
    /// Interfaces of the host, and the priority of packets on them.
    priorities: Vec<(String, u32)>,
}

const CLASS_ID: &str = "linux.resources.network.classID";
const PRIORITIES: &str = "linux.resources.network.priorities";

impl Network {
    /// # Errors
    /// When a name cannot be that of an interface.
    pub(in crate::cgroups) fn plan(network: &LinuxNetwork) -> Result<Network> {
        let mut priorities = Vec::new();
        for (index, item) in network.priorities().iter().flatten().enumerate() {
            let (name, priority) = (item.name(), item.priority());
            ensure!(
                is_word(name),
                "{PRIORITIES}[{index}].name: {name:?} is no name of an interface"
            );
            priorities.push((name.clone(), priority));
        }
        Ok(Network {
            class_id: network.class_id().filter(|class| *class != 0),
            priorities,
        })
    }

    /// One of the fields that are set.
    pub(in crate::cgroups) fn field(&self) -> Option<&'static str> {
        match (self.class_id, self.priorities.as_slice()) {
            (Some(_), _) => Some(CLASS_ID),
            (None, [_, ..]) => Some(PRIORITIES),
            (None, []) => None,
        }
    }

    /// The settings for v1.
    pub(in crate::cgroups) fn v1(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        if let Some(class) = self.class_id {
            let value = class.to_string();
            all.push(Setting::new(CLASS_ID, "net_cls", "net_cls.classid", value));
        }
        for (index, (name, priority)) in self.priorities.iter().enumerate() {
            let value = format!("{name} {priority}");
            let setting = Setting::new(PRIORITIES, "net_prio", "net_prio.ifpriomap", value);
            all.push(setting.of_item(format!("[{index}]")));
        }
        all
    }
}
