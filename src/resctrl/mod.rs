//! Groups of the resctrl file system, which divide the caches and the bandwidth of the memory between processes
//! (`linux.intelRdt`; Documentation/filesystems/resctrl.rst of the kernel).
//!
//! A control group has values in its file `schemata`, and its tasks in `tasks`. Below it a monitoring group
//! counts for some of these tasks. A new task is in the groups of its parent.
//!
//! - [`plan`] reads the configuration. [`schema`] parses the values, and compares them with those of a group.
//! - [`file_system`] is the mounted file system, as a descriptor.
//! - [`create`] finds or makes the groups of a new container, and moves its first process into them.
//! - [`record`] is what state.json says about them: later commands join and remove the groups by it.
//! - [`update`] changes values, [`stats`] reads them and what the monitoring group has counted.

mod create;
mod decisions;
mod file_system;
mod plan;
mod record;
mod schema;
mod stats;
mod update;

pub(crate) use create::OpenGroup;
pub(crate) use plan::Group;
pub(crate) use record::Record;
pub(crate) use stats::NO_FIGURES;
pub(crate) use update::Update;

#[cfg(test)]
mod tests;
