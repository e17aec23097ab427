//! The figures that people ask for.

use std::path::PathBuf;

use anyhow::Result;

use super::blkio::Blkio;
use super::read::{Figures, value};
use super::v1::current_pids;
use crate::cgroups::cgroupfs::existing::ExistingCgroups;
use crate::host::UNIFIED;

/// What the processes of a container use. A figure is absent where no controller counts it.
#[derive(Default)]
pub(crate) struct Usage {
    /// The CPU time since the container was made, in nanoseconds.
    pub(crate) cpu_time: Option<u64>,
    /// Bytes of memory, without the page cache that the kernel can drop at once.
    pub(crate) memory: Option<u64>,
    /// The limit of memory in bytes; the largest number without a limit.
    pub(crate) memory_limit: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Bytes read from and written to block devices.
    pub(crate) block: Option<(u64, u64)>,
    /// The share of the last ten seconds in which a process waited for CPU, memory and I/O, in
    /// hundredths of a percent.
    pub(crate) pressure: Option<[u64; 3]>,
}

impl ExistingCgroups {
    /// What the container uses. Without cgroups of its own no figure is known. `None` when its
    /// cgroups are gone.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        let open = |controller| Figures::open(self.paths().get(controller).map(PathBuf::as_path));
        // Beside hierarchies of v1, the cgroup in v2 has no controllers, but the pressure.
        let unified = open(UNIFIED)?;
        if self.paths().is_empty() {
            return Ok(Some(Usage::default()));
        }
        let mut usage = if self.unified().is_some() {
            if !unified.exist() {
                return Ok(None);
            }
            v2(&unified)?
        } else {
            let memory = open("memory")?;
            let [cpuacct, pids, blkio] = [open("cpuacct")?, open("pids")?, open("blkio")?];
            if ![&memory, &cpuacct, &pids, &blkio]
                .iter()
                .any(|one| one.exist())
            {
                return Ok(None);
            }
            v1(&cpuacct, &memory, &pids, &blkio)?
        };
        usage.pressure = pressure(&unified)?;
        Ok(Some(usage))
    }
}

fn v1(cpuacct: &Figures, memory: &Figures, pids: &Figures, blkio: &Figures) -> Result<Usage> {
    let block = blkio.exist().then(|| Blkio::v1(blkio)).transpose()?;
    Ok(Usage {
        cpu_time: cpuacct.find_number("cpuacct.usage")?,
        memory: used(memory, "memory.usage_in_bytes", "total_inactive_file")?,
        memory_limit: memory.find_number("memory.limit_in_bytes")?,
        pids: current_pids(pids)?,
        block: block.map(|block| block.bytes()),
        pressure: None,
    })
}

fn v2(cgroup: &Figures) -> Result<Usage> {
    let cpu = cgroup.find("cpu.stat")?;
    let block = cgroup.find("io.stat")?;
    Ok(Usage {
        cpu_time: cpu.map(|stat| value(&stat, "usage_usec").wrapping_mul(1000)),
        memory: used(cgroup, "memory.current", "inactive_file")?,
        memory_limit: cgroup.find_number("memory.max")?,
        pids: current_pids(cgroup)?,
        block: block.map(|stat| Blkio::v2(&stat).bytes()),
        pressure: None,
    })
}

/// The memory that is in use: what `file` counts, without the part `cache` of memory.stat.
fn used(cgroup: &Figures, file: &str, cache: &str) -> Result<Option<u64>> {
    let Some(all) = cgroup.find_number(file)? else {
        return Ok(None);
    };
    let cache = value(&cgroup.text("memory.stat")?, cache);
    Ok(Some(all.saturating_sub(cache)))
}

/// `None` when the kernel does not count it.
fn pressure(cgroup: &Figures) -> Result<Option<[u64; 3]>> {
    let mut all = [0; 3];
    for (number, name) in all.iter_mut().zip(["cpu", "memory", "io"]) {
        let Some(text) = cgroup.find(&format!("{name}.pressure"))? else {
            return Ok(None);
        };
        let some = text
            .lines()
            .find_map(|line| line.strip_prefix("some avg10="));
        let some = some.and_then(|rest| rest.split(' ').next());
        // The kernel writes two digits after the point.
        *number = some
            .unwrap_or_default()
            .replace('.', "")
            .parse()
            .unwrap_or_default();
    }
    Ok(Some(all))
}
