//! V1.

pub(in crate::cgroups) mod cpuset;
pub(in crate::cgroups) mod settings;
