//! Limits in terms of cgroup v1 (Documentation/admin-guide/cgroup-v1 in the kernel).

use anyhow::{Result, ensure};

use crate::cgroups::plan::amount::Amount;
use crate::cgroups::plan::common::{alike, burst_setting, care_for_burst, idle};
use crate::cgroups::plan::limits::Limits;
use crate::cgroups::plan::rates;
use crate::cgroups::plan::setting::{Care, Setting};

/// The files to write, and what to: within a controller in this order.
///
/// # Errors
/// Shares that this version has no words for.
pub(in crate::cgroups) fn settings(limits: &Limits) -> Result<Vec<Setting>> {
    let mut all = memory(limits);
    all.extend(cpu(limits)?);
    all.extend(alike(limits));
    all.extend(rates::v1(&limits.rates));
    Ok(all)
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Unlimited => "-1".to_owned(),
        Amount::Of(number) => number.to_string(),
    }
}

fn memory(limits: &Limits) -> Vec<Setting> {
    let new = |place, file, value| Setting::new(place, "memory", file, value);
    let mut all = Vec::new();
    if let Some(limit) = limits.memory {
        let place = "linux.resources.memory.limit";
        let limit = new(place, "memory.limit_in_bytes", amount(limit));
        // Memory may never exceed memory and swap: in a cgroup with values
        // from before, raised limits go in the other order.
        all.push(limit.care(if limits.swap.is_some() {
            Care::AfterNext
        } else {
            Care::Strict
        }));
    }
    if let Some(swap) = limits.swap {
        let place = "linux.resources.memory.swap";
        let swap_limit = new(place, "memory.memsw.limit_in_bytes", amount(swap));
        all.push(match swap {
            Amount::Unlimited => swap_limit.care(Care::UnlessAbsent),
            Amount::Of(_) => swap_limit,
        });
    }
    if let Some(reservation) = limits.reservation {
        let place = "linux.resources.memory.reservation";
        all.push(new(
            place,
            "memory.soft_limit_in_bytes",
            amount(reservation),
        ));
    }
    if let Some(swappiness) = limits.swappiness {
        let place = "linux.resources.memory.swappiness";
        all.push(new(place, "memory.swappiness", swappiness.to_string()));
    }
    if limits.use_hierarchy {
        let place = "linux.resources.memory.useHierarchy";
        all.push(new(place, "memory.use_hierarchy", "1".to_owned()));
    }
    if limits.oom_killer_off {
        let place = "linux.resources.memory.disableOOMKiller";
        all.push(new(place, "memory.oom_control", "1".to_owned()));
    }
    all
}

fn cpu(limits: &Limits) -> Result<Vec<Setting>> {
    let new = |place, file, value: String| Setting::new(place, "cpu", file, value);
    let mut all = Vec::new();
    let (before, after) = idle(limits);
    all.extend(before);
    if let Some(shares) = limits.shares {
        // The kernel would take the nearest of these without a word.
        ensure!(
            (2..=262_144).contains(&shares),
            "linux.resources.cpu.shares: {shares} is not between 2 and 262144"
        );
        all.push(new(
            "linux.resources.cpu.shares",
            "cpu.shares",
            shares.to_string(),
        ));
    }
    all.extend(after);
    if let Some(period) = limits.period {
        let place = "linux.resources.cpu.period";
        let period = new(place, "cpu.cfs_period_us", period.to_string());
        // An old quota may be more than the parent has in the new period.
        all.push(period.care(if limits.quota.is_some() {
            Care::AfterNext
        } else {
            Care::Strict
        }));
    }
    if let Some(quota) = limits.quota {
        let place = "linux.resources.cpu.quota";
        let quota = new(place, "cpu.cfs_quota_us", amount(quota));
        all.push(quota.care(care_for_burst(limits)));
    }
    if let Some(burst) = limits.burst {
        all.push(burst_setting("cpu.cfs_burst_us", burst));
    }
    if let Some(period) = limits.rt_period {
        let place = "linux.resources.cpu.realtimePeriod";
        let period = new(place, "cpu.rt_period_us", period.to_string());
        // A runtime from before may be longer than the new period.
        all.push(period.care(match limits.rt_runtime {
            Some(_) => Care::AfterNext,
            None => Care::Strict,
        }));
    }
    if let Some(runtime) = limits.rt_runtime {
        let place = "linux.resources.cpu.realtimeRuntime";
        all.push(new(place, "cpu.rt_runtime_us", runtime.to_string()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::resources;

    fn files(json: &str) -> Vec<(&'static str, String)> {
        let limits = Limits::plan(Some(&resources(json))).unwrap();
        let settings = settings(&limits).unwrap();
        settings
            .into_iter()
            .map(|s| (s.file, s.value.into_owned()))
            .collect()
    }

    fn is(json: &str, expected: &[(&'static str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(f, v)| (*f, (*v).to_owned()))
            .collect();
        assert_eq!(files(json), expected, "{json}");
    }

    #[test]
    fn memory_goes_to_the_files_of_this_version() {
        is(
            r#"{"memory": {"limit": 10, "swap": 20, "reservation": 5, "swappiness": 0,
                "disableOOMKiller": true, "useHierarchy": true}}"#,
            &[
                ("memory.limit_in_bytes", "10"),
                ("memory.memsw.limit_in_bytes", "20"),
                ("memory.soft_limit_in_bytes", "5"),
                ("memory.swappiness", "0"),
                ("memory.use_hierarchy", "1"),
                ("memory.oom_control", "1"),
            ],
        );
        is(
            r#"{"memory": {"limit": -1}}"#,
            &[
                ("memory.limit_in_bytes", "-1"),
                ("memory.memsw.limit_in_bytes", "-1"),
            ],
        );
    }

    #[test]
    fn cpu_goes_to_the_files_of_this_version() {
        is(
            r#"{"cpu": {"shares": 512, "quota": -1, "period": 50000, "burst": 3, "idle": 1,
                "realtimeRuntime": 7, "realtimePeriod": 9, "cpus": "0-1", "mems": "0"}}"#,
            &[
                ("cpu.shares", "512"),
                ("cpu.idle", "1"),
                ("cpu.cfs_period_us", "50000"),
                ("cpu.cfs_quota_us", "-1"),
                ("cpu.cfs_burst_us", "3"),
                ("cpu.rt_period_us", "9"),
                ("cpu.rt_runtime_us", "7"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            ],
        );
        is(
            r#"{"cpu": {"shares": 2, "idle": 0}}"#,
            &[("cpu.idle", "0"), ("cpu.shares", "2")],
        );
        is(r#"{"pids": {"limit": -1}}"#, &[("pids.max", "max")]);
    }

    #[test]
    fn a_period_may_wait_for_what_must_fit_in() {
        let both = r#"{"cpu": {"realtimeRuntime": 7, "realtimePeriod": 9}}"#;
        let limits = Limits::plan(Some(&resources(both))).unwrap();
        let cares = settings(&limits).unwrap().into_iter().map(|one| one.care);
        assert_eq!(cares.collect::<Vec<_>>(), [Care::AfterNext, Care::Strict]);
    }

    #[test]
    fn shares_that_the_kernel_would_bend_are_refused() {
        for shares in ["1", "262145"] {
            let resources = resources(&format!(r#"{{"cpu": {{"shares": {shares}}}}}"#));
            let error = settings(&Limits::plan(Some(&resources)).unwrap()).unwrap_err();
            let expected =
                format!("linux.resources.cpu.shares: {shares} is not between 2 and 262144");
            assert_eq!(error.to_string(), expected);
        }
    }
}
