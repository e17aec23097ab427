//! The figures of cgroup v1, where each controller has a cgroup of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::Sections;
use super::blkio::Blkio;
use super::json::Object;
use super::read::{Figures, pairs, value};
use crate::cgroups::cgroupfs::huge_page_sizes::huge_page_sizes;

/// Nanoseconds of a clock tick, in which cpuacct.stat counts. The kernel shows 100 to a second
/// on every architecture that `rt` is built for (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// The members of `cpuset` after `cpus`, with `mems` between the first and the second. The last
/// one may be negative.
const CPUSET: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

/// `paths` has the directory of each controller.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn sections(paths: &BTreeMap<String, PathBuf>) -> Result<Sections> {
    let open = |controller| Figures::open(paths.get(controller).map(PathBuf::as_path));
    Ok(Sections {
        cpu: cpu(&open("cpuacct")?, &open("cpu")?)?,
        cpuset: cpuset(&open("cpuset")?)?,
        memory: memory(&open("memory")?)?,
        pids: pids(&open("pids")?)?,
        blkio: Blkio::v1(&open("blkio")?)?.to_json(None),
        hugetlb: hugetlb(&open("hugetlb")?)?,
    })
}

fn cpu(cpuacct: &Figures, cpu: &Figures) -> Result<String> {
    let mut usage = Object::new();
    usage.nonzero("total", cpuacct.number("cpuacct.usage")?);
    usage.numbers("percpu", &numbers(&cpuacct.text("cpuacct.usage_percpu")?));
    // A header, and for each CPU its number, its time in user mode and in kernel mode.
    let per_cpu = cpuacct.text("cpuacct.usage_all")?;
    let lines: Vec<Vec<u64>> = per_cpu.lines().skip(1).map(numbers).collect();
    let column = |index| -> Vec<u64> {
        let cells = lines.iter().filter_map(|line| line.get(index));
        cells.copied().collect()
    };
    usage.numbers("percpu_kernel", &column(2));
    usage.numbers("percpu_user", &column(1));
    let ticks = cpuacct.text("cpuacct.stat")?;
    usage.number("kernel", value(&ticks, "system").wrapping_mul(TICK));
    usage.number("user", value(&ticks, "user").wrapping_mul(TICK));
    let stat = cpu.text("cpu.stat")?;
    let mut throttling = Object::new();
    throttling.nonzero("periods", value(&stat, "nr_periods"));
    throttling.nonzero("throttledPeriods", value(&stat, "nr_throttled"));
    throttling.nonzero("throttledTime", value(&stat, "throttled_time"));
    let mut cpu = Object::new();
    cpu.json("usage", &usage.end());
    cpu.json("throttling", &throttling.end());
    Ok(cpu.end())
}

/// The numbers in a text, separated by spaces.
fn numbers(text: &str) -> Vec<u64> {
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

fn cpuset(cgroup: &Figures) -> Result<String> {
    let mut cpuset = Object::new();
    cpuset.numbers("cpus", &list(&cgroup.text("cpuset.cpus")?));
    for (index, name) in CPUSET.into_iter().enumerate() {
        let text = cgroup.text(&format!("cpuset.{name}"))?;
        let number: i64 = text.trim_end().parse().unwrap_or_default();
        cpuset.json(name, &number.to_string());
        if index == 0 {
            cpuset.numbers("mems", &list(&cgroup.text("cpuset.mems")?));
        }
    }
    Ok(cpuset.end())
}

/// The numbers in a list such as `0-2,7`.
fn list(text: &str) -> Vec<u64> {
    let mut all = Vec::new();
    for range in text.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            all.extend((first..=last).map(u64::from));
        }
    }
    all
}

fn memory(cgroup: &Figures) -> Result<String> {
    let stat = cgroup.text("memory.stat")?;
    let mut memory = Object::new();
    memory.nonzero("cache", value(&stat, "cache"));
    for (key, file) in [
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ] {
        let number = |name| cgroup.number(&format!("{file}.{name}"));
        let entry = MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        };
        memory.json(key, &entry.to_json());
    }
    raw(&mut memory, &stat);
    Ok(memory.end())
}

/// The member `raw`: memory.stat, sorted by its keys, as Go writes a map.
pub(super) fn raw(memory: &mut Object, stat: &str) {
    let sorted: BTreeMap<&str, u64> = pairs(stat).collect();
    if sorted.is_empty() {
        return;
    }
    let mut raw = Object::new();
    sorted
        .iter()
        .for_each(|(key, value)| raw.number(key, *value));
    memory.json("raw", &raw.end());
}

/// A kind of memory.
#[derive(Default)]
pub(super) struct MemoryEntry {
    pub(super) limit: u64,
    pub(super) usage: u64,
    pub(super) max: u64,
    pub(super) failcnt: u64,
}

impl MemoryEntry {
    pub(super) fn to_json(&self) -> String {
        let mut entry = Object::new();
        entry.number("limit", self.limit);
        entry.nonzero("usage", self.usage);
        entry.nonzero("max", self.max);
        entry.number("failcnt", self.failcnt);
        entry.end()
    }
}

/// The member `pids`, of both versions.
pub(super) fn pids(cgroup: &Figures) -> Result<String> {
    let mut pids = Object::new();
    pids.nonzero("current", current_pids(cgroup)?.unwrap_or_default());
    // No limit is 0 here, and not the largest number.
    let limit = cgroup.number("pids.max")?;
    pids.nonzero("limit", if limit == u64::MAX { 0 } else { limit });
    Ok(pids.end())
}

/// The number of tasks. Without the controller, which v2 need not enable, the number of
/// processes in the cgroup itself, as for runc.
pub(super) fn current_pids(cgroup: &Figures) -> Result<Option<u64>> {
    if let Some(current) = cgroup.find_number("pids.current")? {
        return Ok(Some(current));
    }
    let listed = match cgroup.find("cgroup.procs")? {
        None => cgroup.find("cgroup.threads")?,
        listed => listed,
    };
    Ok(listed.map(|listed| listed.lines().count() as u64))
}

fn hugetlb(cgroup: &Figures) -> Result<String> {
    let mut all = Object::new();
    if !cgroup.exist() {
        return Ok(all.end());
    }
    for size in huge_page_sizes().unwrap_or_default() {
        // Reservations are counted since Linux 5.7, and runc prefers them.
        let mut file = format!("hugetlb.{size}.rsvd");
        let mut usage = cgroup.find_number(&format!("{file}.usage_in_bytes"))?;
        if usage.is_none() {
            file = format!("hugetlb.{size}");
            usage = cgroup.find_number(&format!("{file}.usage_in_bytes"))?;
        }
        let number = |name| cgroup.number(&format!("{file}.{name}"));
        let mut entry = Object::new();
        entry.nonzero("usage", usage.unwrap_or_default());
        entry.nonzero("max", number("max_usage_in_bytes")?);
        entry.number("failcnt", number("failcnt")?);
        all.json(&size, &entry.end());
    }
    Ok(all.end())
}
