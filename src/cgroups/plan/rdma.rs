//! Limits on the resources of RDMA devices (config-linux.md, "RDMA"): the same file in both
//! versions, with a line for each device.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxRdma;

use super::lines::is_word;
use super::setting::Setting;

const FIELD: &str = "linux.resources.rdma";

/// The settings, in the order of the devices' names.
///
/// # Errors
/// When a device has no limit, or a name that no device can have.
pub(in crate::cgroups) fn plan(devices: &HashMap<String, LinuxRdma>) -> Result<Vec<Setting>> {
    let mut names: Vec<&String> = devices.keys().collect();
    names.sort_unstable();
    let mut settings = Vec::with_capacity(names.len());
    for name in names {
        ensure!(is_word(name), "{FIELD}: {name:?} is no name of a device");
        let mut line = name.clone();
        for (key, limit) in [
            ("hca_handle", devices[name].hca_handles()),
            ("hca_object", devices[name].hca_objects()),
        ] {
            if let Some(limit) = limit {
                // Writing to a string cannot fail.
                let _ = write!(line, " {key}={limit}");
            }
        }
        ensure!(
            line.len() > name.len(),
            "{FIELD}.{name}: needs hcaHandles or hcaObjects"
        );
        let setting = Setting::new(FIELD, "rdma", "rdma.max", line);
        settings.push(setting.of_item(format!(".{name}")));
    }
    Ok(settings)
}
