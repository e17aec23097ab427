//! The scope that is planned for a container.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::bus::value::{Property, Value, property};
use super::manager::{Facts, Manager};
use super::record::UnitRecord;
use super::unit::Unit;
use super::{annotations, devices, properties};
use crate::cgroups::plan::devices::Policy;
use crate::cgroups::plan::setting::Setting;

/// A scope, before it is started.
#[derive(Debug)]
pub(in crate::cgroups) struct Scope {
    pub(super) record: UnitRecord,
    pub(super) properties: Vec<Property>,
    /// The cgroup, relative to the mount point of each hierarchy.
    pub(in crate::cgroups) cgroup: PathBuf,
    slice: String,
    version: u32,
}

impl Scope {
    /// Plans the scope for the configured path. Limits are added by [`Scope::limit`].
    ///
    /// # Errors
    /// When the path is not in systemd's form, or a property is not passed to systemd.
    pub(in crate::cgroups) fn plan<'a>(
        id: &str,
        path: Option<&Path>,
        given: impl Iterator<Item = (&'a String, &'a String)>,
        (manager, facts): (&Manager, &Facts),
        is_v2: bool,
    ) -> Result<Scope> {
        let unit = Unit::plan(id, path, manager.user)?;
        let io = if is_v2 { "IO" } else { "BlockIO" };
        let on = |name: &str| property(&format!("{name}Accounting"), Value::Bool(true));
        let mut properties = vec![
            property(
                "Description",
                Value::text(format!("libcontainer container {}", unit.container)),
            ),
            property("Slice", Value::text(&unit.slice)),
            property("Delegate", Value::Bool(true)),
            on("Memory"),
            on("CPU"),
            on(io),
            on("Tasks"),
            property("DefaultDependencies", Value::Bool(false)),
        ];
        // Before the limits, so that an annotation does not loosen one.
        properties.extend(annotations::properties(given)?);
        Ok(Scope {
            cgroup: facts.cgroup.join(unit.cgroup()?),
            record: UnitRecord {
                name: unit.name,
                manager: manager.clone(),
            },
            slice: unit.slice,
            properties,
            version: facts.version,
        })
    }

    /// Adds the limits and device rules.
    pub(in crate::cgroups) fn limit(
        &mut self,
        settings: &[Setting],
        policy: Option<&Policy>,
        is_v2: bool,
    ) {
        let limits = properties::of_settings(settings, self.version);
        self.properties.extend(limits);
        let rules = policy.map(|policy| devices::properties(policy, is_v2));
        self.properties.extend(rules.into_iter().flatten());
    }

    /// What state.json records of the unit, before it exists.
    pub(in crate::cgroups) fn record(&self) -> &UnitRecord {
        &self.record
    }

    /// The scope as a decision.
    pub(in crate::cgroups) fn decision(&self) -> String {
        let of = if self.record.manager.user {
            "the user's"
        } else {
            "the host's"
        };
        let names = self.properties.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.collect();
        let (name, slice) = (&self.record.name, &self.slice);
        format!(
            "{of} systemd starts {name} in {slice}, with {}",
            names.join(", ")
        )
    }
}
