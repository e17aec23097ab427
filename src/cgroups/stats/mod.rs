//! What a container uses, as the files of its cgroups say, and notices of the kernel that its
//! memory has run out.
//!
//! - [`read`] reads the files, and [`json`] writes an object member by member.
//! - [`v1`] and [`v2`] write all figures in runc's JSON. [`blkio`] is the part about block
//!   devices, whose form they share.
//! - [`usage`] holds the few figures that people ask for.
//! - [`oom`] waits for the out-of-memory killer.

mod blkio;
mod json;
pub(in crate::cgroups) mod oom;
mod read;
pub(in crate::cgroups) mod usage;
mod v1;
mod v2;

use anyhow::{Result, ensure};

use self::json::Object;
use self::read::Figures;
use super::cgroupfs::existing::ExistingCgroups;

/// The parts of runc's JSON that depend on the version of the cgroups.
struct Sections {
    cpu: String,
    cpuset: String,
    memory: String,
    pids: String,
    blkio: String,
    hugetlb: String,
}

impl ExistingCgroups {
    /// All figures as the JSON object that runc prints: same keys, same order, and zeros left
    /// out where runc leaves them out. `intel_rdt` is the object with the figures of resctrl.
    ///
    /// # Errors
    /// When the container has no cgroup, or a file cannot be read.
    pub(crate) fn stats(&self, intel_rdt: &str) -> Result<String> {
        ensure!(
            !self.paths().is_empty(),
            "the container has no cgroup of its own, which would count what it uses"
        );
        let sections = match self.unified() {
            Some(path) => v2::sections(&Figures::open(Some(path))?)?,
            None => v1::sections(self.paths())?,
        };
        Ok(sections.to_json(intel_rdt))
    }
}

impl Sections {
    fn to_json(&self, intel_rdt: &str) -> String {
        let mut stats = Object::new();
        stats.json("cpu", &self.cpu);
        stats.json("cpuset", &self.cpuset);
        stats.json("memory", &self.memory);
        stats.json("pids", &self.pids);
        stats.json("blkio", &self.blkio);
        stats.json("hugetlb", &self.hugetlb);
        stats.json("intel_rdt", intel_rdt);
        // What runc has here for a container without links of runc's own.
        stats.json("network_interfaces", "null");
        stats.end()
    }
}

#[cfg(test)]
mod tests;
