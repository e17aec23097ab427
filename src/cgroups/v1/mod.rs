//! What is particular to cgroup v1: the files of its controllers, and cpusets that start empty.

pub(in crate::cgroups) mod cpuset;
pub(in crate::cgroups) mod settings;
