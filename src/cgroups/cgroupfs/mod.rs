//! The cgroupfs driver: it works on the directories and files of the cgroup file system itself.
//!
//! - Creating: [`create`] makes the cgroups and writes the settings ([`write`]), [`unused`]
//!   refuses a cgroup that is in use, [`refusal`] decides what the container can do without,
//!   [`hint`] says why the kernel refuses, and [`created`] takes the first process in. [`check`]
//!   finds out what creating would refuse.
//! - Afterwards: [`existing`] is a container's cgroups as state.json records them. [`join`],
//!   [`freezer`], [`update`], [`kill`] and [`remove`] are what can be done with them.
//! - Reading: [`processes`] lists the processes of a cgroup, [`events`] waits for its state,
//!   [`huge_page_sizes`] asks the host.

mod check;
mod create;
pub(in crate::cgroups) mod created;
mod events;
pub(in crate::cgroups) mod existing;
mod freezer;
mod hint;
pub(in crate::cgroups) mod huge_page_sizes;
pub(in crate::cgroups) mod join;
mod kill;
mod processes;
pub(in crate::cgroups) mod refusal;
mod remove;
mod unused;
mod update;
mod write;
