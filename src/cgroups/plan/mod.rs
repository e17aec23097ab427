//! Plan.

pub(in crate::cgroups) mod amount;
pub(in crate::cgroups) mod cgroups_path;
pub(in crate::cgroups) mod common;
pub(in crate::cgroups) mod device_program;
pub(in crate::cgroups) mod devices;
pub(in crate::cgroups) mod limits;
pub(in crate::cgroups) mod rates;
pub(in crate::cgroups) mod setting;
