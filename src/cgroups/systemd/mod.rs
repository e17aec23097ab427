//! The systemd driver: systemd makes the container's cgroup, as that of a unit, a *scope*.
//!
//! A scope needs a process when it starts. Init does not exist then, because mounts may show the
//! cgroup before init is cloned. So a [`placeholder`] is put into the scope first. Init is born in
//! the cgroup like with the cgroupfs driver, which does all the rest, and the placeholder ends.
//!
//! - Deciding: [`unit`] names the scope, [`properties`], [`devices`] and [`annotations`] list what
//!   systemd is told about it ([`text`] reads values). [`scope`] holds the result.
//! - Acting: [`bus`] speaks D-Bus with the [`manager`]. [`start`] starts a scope. [`record`] is the
//!   scope of a container that exists, and what can be done with it.

pub(in crate::cgroups) mod annotations;
mod bus;
mod devices;
pub(in crate::cgroups) mod manager;
mod placeholder;
pub(in crate::cgroups) mod properties;
pub(in crate::cgroups) mod record;
pub(in crate::cgroups) mod scope;
pub(in crate::cgroups) mod start;
mod text;
mod unit;
