//! The text of a whole plan.

use super::Plan;
use crate::decisions::Decisions;

impl Plan {
    /// What `rt` will do with the container, one decision a line, by feature, and within a
    /// feature in the order in which it happens.
    pub(crate) fn decisions(&self) -> String {
        let mut to = Decisions::default();
        to.group("namespaces", |to| {
            self.namespaces.decisions(to);
            self.idmappings.decisions(to);
        });
        to.group("cgroups", |to| self.cgroups.decisions(to));
        if let Some(resctrl) = &self.resctrl {
            to.group("resctrl", |to| resctrl.decisions(to));
        }
        if let Some(network) = &self.network {
            to.group("network", |to| network.decisions(to));
        }
        if let Some(devices) = &self.net_devices {
            to.group("network devices", |to| devices.decisions(to));
        }
        to.group("root", |to| self.rootfs.decisions(to));
        to.group("process", |to| self.process.decisions(to));
        to.group("hooks", |to| self.hooks.decisions(to));
        to.into_text()
    }
}
