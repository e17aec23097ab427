//! Settings that v1 and v2 share: limits whose files, or rules for writing them, are the same
//! in both versions.

use super::amount::{Amount, Idle};
use super::limits::Limits;
use super::setting::{CPUSET, OnRefusal, Setting};

/// CPUs, memory nodes and the number of tasks: the same files and values in both versions.
pub(in crate::cgroups) fn common_settings(limits: &Limits) -> impl Iterator<Item = Setting> {
    let cpuset = |field, file, value: &Option<String>| {
        value
            .clone()
            .map(|value| Setting::new(field, "cpuset", file, value))
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

/// `cpu.idle`, and `shares` unless the cgroup becomes idle: the kernel refuses shares of an idle cgroup, and forgets
/// them when a cgroup becomes idle.
pub(in crate::cgroups) fn idle_and_shares(
    limits: &Limits,
    shares: Option<Setting>,
) -> impl Iterator<Item = Setting> {
    let setting = |value| Setting::new("linux.resources.cpu.idle", "cpu", "cpu.idle", value);
    let both = match limits.idle {
        Some(Idle::No) => {
            let idle = setting("0").on_refusal(OnRefusal::IgnoreMissingFile);
            [Some(idle), shares]
        }
        Some(Idle::Yes) => [Some(setting("1")), None],
        None => [None, shares],
    };
    both.into_iter().flatten()
}

/// The burst in `file`. A kernel before 5.14 has no such file and never bursts, which is what a
/// burst of 0 asks for.
pub(in crate::cgroups) fn burst_setting(file: &'static str, burst: u64) -> Setting {
    let field = "linux.resources.cpu.burst";
    let setting = Setting::new(field, "cpu", file, burst.to_string());
    setting.on_refusal(match burst {
        0 => OnRefusal::IgnoreMissingFile,
        _ => OnRefusal::Fail,
    })
}

/// How to treat a refused CPU quota. The kernel refuses a quota below the burst, so a burst from
/// before that is larger than the new quota has to be replaced first.
pub(in crate::cgroups) fn quota_on_refusal(limits: &Limits) -> OnRefusal {
    match limits.burst {
        Some(_) => OnRefusal::RetryAfterNext,
        None => OnRefusal::Fail,
    }
}
