//! The figures of cgroup v2, in the members that v1 has.

use anyhow::Result;

use super::Sections;
use super::blkio::Blkio;
use super::json::Object;
use super::read::{Figures, value};
use super::v1::{MemoryEntry, pids, raw};
use crate::cgroups::cgroupfs::huge_page_sizes::huge_page_sizes;

/// The members of `cpuset`, which runc reads in v1 only.
const CPUSET: &str = r#"{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}"#;

/// # Errors
/// When a file cannot be read.
pub(super) fn sections(cgroup: &Figures) -> Result<Sections> {
    let pressure = cgroup.pressure("io.pressure")?;
    Ok(Sections {
        cpu: cpu(cgroup)?,
        cpuset: CPUSET.to_owned(),
        memory: memory(cgroup)?,
        pids: pids(cgroup)?,
        blkio: Blkio::v2(&cgroup.text("io.stat")?).to_json(pressure.as_deref()),
        hugetlb: hugetlb(cgroup)?,
    })
}

fn cpu(cgroup: &Figures) -> Result<String> {
    let stat = cgroup.text("cpu.stat")?;
    // runc has nanoseconds, the kernel microseconds.
    let time = |key| value(&stat, key).wrapping_mul(1000);
    let mut usage = Object::new();
    usage.nonzero("total", time("usage_usec"));
    usage.number("kernel", time("system_usec"));
    usage.number("user", time("user_usec"));
    let mut throttling = Object::new();
    throttling.nonzero("periods", value(&stat, "nr_periods"));
    throttling.nonzero("throttledPeriods", value(&stat, "nr_throttled"));
    throttling.nonzero("throttledTime", time("throttled_usec"));
    let mut cpu = Object::new();
    cpu.json("usage", &usage.end());
    cpu.json("throttling", &throttling.end());
    if let Some(pressure) = cgroup.pressure("cpu.pressure")? {
        cpu.json("psi", &pressure);
    }
    Ok(cpu.end())
}

fn memory(cgroup: &Figures) -> Result<String> {
    let stat = cgroup.text("memory.stat")?;
    let usage = MemoryEntry {
        limit: cgroup.number("memory.max")?,
        usage: cgroup.number("memory.current")?,
        max: cgroup.number("memory.peak")?,
        failcnt: 0,
    };
    let swap_limit = cgroup.number("memory.swap.max")?;
    // In v1 swap is counted together with memory. There is no peak of both.
    let swap = MemoryEntry {
        limit: match swap_limit {
            u64::MAX => u64::MAX,
            swap_limit => swap_limit.wrapping_add(usage.limit),
        },
        usage: usage
            .usage
            .wrapping_add(cgroup.number("memory.swap.current")?),
        ..MemoryEntry::default()
    };
    let none = MemoryEntry::default();
    let mut memory = Object::new();
    memory.nonzero("cache", value(&stat, "file"));
    for (key, entry) in [
        ("usage", &usage),
        ("swap", &swap),
        ("kernel", &none),
        ("kernelTCP", &none),
    ] {
        memory.json(key, &entry.to_json());
    }
    raw(&mut memory, &stat);
    if let Some(pressure) = cgroup.pressure("memory.pressure")? {
        memory.json("psi", &pressure);
    }
    Ok(memory.end())
}

fn hugetlb(cgroup: &Figures) -> Result<String> {
    let mut all = Object::new();
    for size in huge_page_sizes().unwrap_or_default() {
        // Reservations are counted since Linux 5.7, and runc prefers them.
        let mut usage = cgroup.find_number(&format!("hugetlb.{size}.rsvd.current"))?;
        if usage.is_none() {
            usage = cgroup.find_number(&format!("hugetlb.{size}.current"))?;
        }
        // Without the controller there are no entries.
        let Some(usage) = usage else {
            break;
        };
        let mut entry = Object::new();
        entry.nonzero("usage", usage);
        let events = cgroup.text(&format!("hugetlb.{size}.events"))?;
        entry.number("failcnt", value(&events, "max"));
        all.json(&size, &entry.end());
    }
    Ok(all.end())
}
