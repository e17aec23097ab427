//! Cgroups.

mod cgroupfs;
mod directory;
mod plan;
mod planned;
mod v1;
mod v2;

pub(crate) use self::cgroupfs::created::Wired;
pub(crate) use self::cgroupfs::existing::Existing;
pub(crate) use self::cgroupfs::join::{Below, CgroupJoin};
pub(crate) use self::planned::{CgroupMode, Cgroups};

#[cfg(test)]
mod tests;
