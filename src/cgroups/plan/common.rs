//! Settings that both versions have alike.

use super::amount::{Amount, Idle};
use super::limits::Limits;
use super::setting::{CPUSET, Care, Setting};

/// What both versions say alike: processors, memory nodes, processes.
pub(in crate::cgroups) fn alike(limits: &Limits) -> impl Iterator<Item = Setting> {
    let cpuset = |place, file, value: &Option<String>| {
        value
            .clone()
            .map(|value| Setting::new(place, "cpuset", file, value))
    };
    let pids = limits.pids.map(|pids| {
        let value = match pids {
            Amount::Unlimited => "max".to_owned(),
            Amount::Of(number) => number.to_string(),
        };
        Setting::new("linux.resources.pids.limit", "pids", "pids.max", value)
    });
    let settings = [
        cpuset("linux.resources.cpu.cpus", CPUSET[0], &limits.cpus),
        cpuset("linux.resources.cpu.mems", CPUSET[1], &limits.mems),
        pids,
    ];
    settings.into_iter().flatten()
}

/// What comes before the cgroup's share of the processors, and what after: an
/// idle cgroup takes none, so it gets its share before it becomes one.
pub(in crate::cgroups) fn idle(limits: &Limits) -> (Option<Setting>, Option<Setting>) {
    let setting = |value| Setting::new("linux.resources.cpu.idle", "cpu", "cpu.idle", value);
    match limits.idle {
        Some(Idle::No) => (Some(setting("0").care(Care::UnlessAbsent)), None),
        Some(Idle::Yes) => (None, Some(setting("1"))),
        None => (None, None),
    }
}

/// No burst at all is what a kernel before 5.14 does, which has no such file.
pub(in crate::cgroups) fn burst_setting(file: &'static str, burst: u64) -> Setting {
    let place = "linux.resources.cpu.burst";
    let setting = Setting::new(place, "cpu", file, burst.to_string());
    setting.care(match burst {
        0 => Care::UnlessAbsent,
        _ => Care::Strict,
    })
}

/// The kernel has no quota below the burst: a burst from before, larger than
/// the new quota, goes first.
pub(in crate::cgroups) fn care_for_burst(limits: &Limits) -> Care {
    match limits.burst {
        Some(_) => Care::AfterNext,
        None => Care::Strict,
    }
}
