//! What the configuration asks for: `linux.cgroupsPath` and `linux.resources`, read and checked.
//!
//! Nothing here touches the host. A limit becomes a [`setting::Setting`], a value for a file;
//! device rules become settings for v1 and a BPF program for v2.

pub(in crate::cgroups) mod amount;
pub(in crate::cgroups) mod cgroups_path;
pub(in crate::cgroups) mod common;
pub(in crate::cgroups) mod device_program;
pub(in crate::cgroups) mod devices;
pub(in crate::cgroups) mod huge_pages;
pub(in crate::cgroups) mod limits;
pub(in crate::cgroups) mod lines;
pub(in crate::cgroups) mod network;
pub(in crate::cgroups) mod rates;
pub(in crate::cgroups) mod rdma;
pub(in crate::cgroups) mod setting;
pub(in crate::cgroups) mod unified;
pub(in crate::cgroups) mod weights;
