//! Cgroups account for a container's processes, limit them, and make it possible to find
//! them again.
//!
//! - [`plan`] reads the configuration: the path, the limits, the rates for block devices, the
//!   device rules and the device program. It knows the files of a cgroup by name, but opens none.
//! - [`v1`] and [`v2`] say what the limits are in each version, and hold what only one version
//!   needs: filling a cpuset, enabling controllers, threaded cgroups, delegation.
//! - [`planned`] puts this together into [`Cgroups`]: what the container will have on this host.
//! - [`directory`] is an open cgroup directory, and how directories are made and walked.
//! - [`cgroupfs`] is the driver that works on the cgroup file system itself. It creates the
//!   cgroups ([`CreatedCgroups`]), joins them ([`CgroupJoin`]), and freezes, updates, kills and removes
//!   the cgroups of a container that exists ([`ExistingCgroups`]).
//! - [`systemd`] is the driver that lets systemd make the cgroup, before [`cgroupfs`] does the rest.

mod cgroupfs;
mod decisions;
mod directory;
mod plan;
mod planned;
mod systemd;
mod v1;
mod v2;

pub(crate) use self::cgroupfs::created::CreatedCgroups;
pub(crate) use self::cgroupfs::existing::ExistingCgroups;
pub(crate) use self::cgroupfs::join::{CgroupJoin, SubCgroups};
pub(crate) use self::planned::{CgroupMode, Cgroups};
pub(crate) use self::systemd::annotations::PREFIX as UNIT_PROPERTIES;
pub(crate) use self::systemd::manager::{BusEnvironment, Systemd};
pub(crate) use self::systemd::record::UnitRecord;

#[cfg(test)]
mod tests;
