//! What `linux.intelRdt` asks for.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxIntelRdt;

use super::schema::Setting;

pub(super) const FIELD: &str = "linux.intelRdt";
pub(super) const CLOS_ID: &str = "linux.intelRdt.closID";
pub(super) const ENABLE_MONITORING: &str = "linux.intelRdt.enableMonitoring";

/// Directories of the file system that are no control groups.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

/// The longest name of a directory, in bytes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// The control group of a container.
#[derive(Debug)]
pub(super) enum Control {
    /// The root of the file system.
    Default,
    /// A group that other containers may be in, by `closID`.
    Shared(String),
    /// A group of the container's own, which has its id.
    Own(String),
}

/// The groups of a container.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) control: Control,
    pub(super) l3_cache: Option<Setting>,
    pub(super) memory_bandwidth: Option<Setting>,
    /// The items of `schemata`.
    pub(super) schemata: Vec<Setting>,
    /// The name of the monitoring group, which is the container's id.
    pub(super) monitoring: Option<String>,
}

impl Group {
    /// # Errors
    /// When a value is invalid, by its place in config.json.
    pub(crate) fn plan(id: &str, config: &LinuxIntelRdt) -> Result<Group> {
        let setting = |place: &str, text: &Option<String>, plan: fn(&str, &str) -> _| {
            let place = format!("{FIELD}.{place}");
            text.as_ref().map(|text| plan(&place, text)).transpose()
        };
        let l3_cache = setting("l3CacheSchema", config.l3_cache_schema(), Setting::plan)?;
        let memory_bandwidth = setting(
            "memBwSchema",
            config.mem_bw_schema(),
            Setting::plan_bandwidth,
        )?;
        let items = config.schemata().iter().flatten().enumerate();
        let items = items
            .map(|(item, text)| Setting::plan_line(&format!("{FIELD}.schemata[{item}]"), text));
        let schemata = items.collect::<Result<_>>()?;
        let monitoring = *config.enable_monitoring() == Some(true);
        Ok(Group {
            control: Control::plan(id, config.clos_id().as_deref())?,
            l3_cache,
            memory_bandwidth,
            schemata,
            monitoring: monitoring.then(|| id.to_owned()),
        })
    }

    /// What is written to `schemata`, in this order (config-linux.md, "IntelRdt").
    pub(super) fn settings(&self) -> impl Iterator<Item = &Setting> {
        let single = self.l3_cache.iter().chain(&self.memory_bandwidth);
        single.chain(&self.schemata)
    }
}

impl Control {
    fn plan(id: &str, clos_id: Option<&str>) -> Result<Control> {
        match clos_id {
            Some("/") => Ok(Control::Default),
            Some(name) => {
                ensure!(
                    is_name(name),
                    "{CLOS_ID}: {name:?} cannot be the name of a group"
                );
                Ok(Control::Shared(name.to_owned()))
            }
            None => {
                ensure!(
                    is_name(id),
                    "{FIELD}: the container's id {id:?} cannot be the name of a group; set closID"
                );
                Ok(Control::Own(id.to_owned()))
            }
        }
    }
}

/// Whether a control group can have the name. The kernel refuses a newline.
fn is_name(name: &str) -> bool {
    let is_special = matches!(name, "" | "." | "..") || RESERVED.contains(&name);
    !is_special && !name.contains(['/', '\n', '\0']) && name.len() <= LONGEST_NAME
}
