//! What is particular to cgroup v2: the files of its controllers, enabling controllers on the
//! way down, threaded cgroups, and delegation to a user.

pub(in crate::cgroups) mod controllers;
pub(in crate::cgroups) mod delegate;
pub(in crate::cgroups) mod settings;
pub(in crate::cgroups) mod threaded;
