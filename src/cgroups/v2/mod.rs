//! V2.

pub(in crate::cgroups) mod controllers;
pub(in crate::cgroups) mod delegate;
pub(in crate::cgroups) mod settings;
pub(in crate::cgroups) mod threaded;
