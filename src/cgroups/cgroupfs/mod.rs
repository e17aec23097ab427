//! Cgroupfs.

mod create;
pub(in crate::cgroups) mod created;
mod events;
pub(in crate::cgroups) mod existing;
mod freezer;
pub(in crate::cgroups) mod join;
mod kill;
mod processes;
mod refusal;
mod remove;
mod unused;
mod update;
mod write;
