//! The files and values for limits in cgroup v1 (Documentation/admin-guide/cgroup-v1 in the
//! kernel).

use anyhow::{Result, bail, ensure};

use crate::cgroups::plan::amount::Amount;
use crate::cgroups::plan::common::{
    burst_setting, common_settings, idle_and_shares, quota_on_refusal,
};
use crate::cgroups::plan::limits::Limits;
use crate::cgroups::plan::setting::{OnRefusal, Setting};
use crate::cgroups::plan::{huge_pages, rates, weights};

/// The settings for `limits`. The settings of one controller must be written in this order.
///
/// # Errors
/// When the CPU shares are out of the range of v1, or a limit exists in v2 only.
pub(in crate::cgroups) fn settings(limits: &Limits) -> Result<Vec<Setting>> {
    if let Some(setting) = limits.unified.first() {
        bail!("{}: cannot use unified on cgroup v1", setting.place());
    }
    let mut all = memory(limits);
    all.extend(cpu(limits)?);
    all.extend(common_settings(limits));
    all.extend(weights::v1(&limits.weights));
    all.extend(rates::v1(&limits.rates));
    all.extend(huge_pages::settings(&limits.huge_pages, ".limit_in_bytes"));
    all.extend(limits.network.v1());
    all.extend(limits.rdma.iter().cloned());
    Ok(all)
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Unlimited => "-1".to_owned(),
        Amount::Of(number) => number.to_string(),
    }
}

fn memory(limits: &Limits) -> Vec<Setting> {
    let new = |field, file, value| Setting::new(field, "memory", file, value);
    let mut all = Vec::new();
    if let Some(limit) = limits.memory {
        let field = "linux.resources.memory.limit";
        let limit = new(field, "memory.limit_in_bytes", amount(limit));
        // The memory limit may never exceed the limit on memory and swap together. In a cgroup
        // that already has limits, raised ones are therefore written in the other order.
        all.push(limit.on_refusal(if limits.swap.is_some() {
            OnRefusal::RetryAfterNext
        } else {
            OnRefusal::Fail
        }));
    }
    if let Some(swap) = limits.swap {
        let field = "linux.resources.memory.swap";
        let swap_limit = new(field, "memory.memsw.limit_in_bytes", amount(swap));
        all.push(match swap {
            Amount::Unlimited => swap_limit.on_refusal(OnRefusal::IgnoreMissingFile),
            Amount::Of(_) => swap_limit,
        });
    }
    if let Some(reservation) = limits.reservation {
        let field = "linux.resources.memory.reservation";
        all.push(new(
            field,
            "memory.soft_limit_in_bytes",
            amount(reservation),
        ));
    }
    if let Some(swappiness) = limits.swappiness {
        let field = "linux.resources.memory.swappiness";
        all.push(new(field, "memory.swappiness", swappiness.to_string()));
    }
    if limits.use_hierarchy {
        let field = "linux.resources.memory.useHierarchy";
        all.push(new(field, "memory.use_hierarchy", "1".to_owned()));
    }
    if limits.oom_killer_off {
        let field = "linux.resources.memory.disableOOMKiller";
        all.push(new(field, "memory.oom_control", "1".to_owned()));
    }
    all
}

fn cpu(limits: &Limits) -> Result<Vec<Setting>> {
    let new = |field, file, value: String| Setting::new(field, "cpu", file, value);
    let mut all = Vec::new();
    let field = "linux.resources.cpu.shares";
    if let Some(shares) = limits.shares {
        // The kernel would silently use the nearest value in the range.
        ensure!(
            (2..=262_144).contains(&shares),
            "{field}: {shares} is not between 2 and 262144"
        );
    }
    let shares = limits.shares.map(|shares| shares.to_string());
    let shares = shares.map(|shares| new(field, "cpu.shares", shares));
    all.extend(idle_and_shares(limits, shares));
    if let Some(period) = limits.period {
        let field = "linux.resources.cpu.period";
        let period = new(field, "cpu.cfs_period_us", period.to_string());
        // The present quota may be a larger share of the new period than the parent allows.
        all.push(period.on_refusal(if limits.quota.is_some() {
            OnRefusal::RetryAfterNext
        } else {
            OnRefusal::Fail
        }));
    }
    if let Some(quota) = limits.quota {
        let field = "linux.resources.cpu.quota";
        let quota = new(field, "cpu.cfs_quota_us", amount(quota));
        all.push(quota.on_refusal(quota_on_refusal(limits)));
    }
    if let Some(burst) = limits.burst {
        all.push(burst_setting("cpu.cfs_burst_us", burst));
    }
    if let Some(period) = limits.rt_period {
        let field = "linux.resources.cpu.realtimePeriod";
        let period = new(field, "cpu.rt_period_us", period.to_string());
        // The present runtime may be longer than the new period.
        all.push(period.on_refusal(match limits.rt_runtime {
            Some(_) => OnRefusal::RetryAfterNext,
            None => OnRefusal::Fail,
        }));
    }
    if let Some(runtime) = limits.rt_runtime {
        let field = "linux.resources.cpu.realtimeRuntime";
        all.push(new(field, "cpu.rt_runtime_us", runtime.to_string()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::resources;

    fn files(json: &str) -> Vec<(String, String)> {
        let limits = Limits::plan(Some(&resources(json))).unwrap();
        let settings = settings(&limits).unwrap();
        settings
            .into_iter()
            .map(|s| (s.file.into_owned(), s.value.into_owned()))
            .collect()
    }

    fn check(json: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(f, v)| ((*f).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(files(json), expected, "{json}");
    }

    #[test]
    fn memory_limits_go_to_the_files_of_this_version() {
        check(
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
        check(
            r#"{"memory": {"limit": -1}}"#,
            &[
                ("memory.limit_in_bytes", "-1"),
                ("memory.memsw.limit_in_bytes", "-1"),
            ],
        );
    }

    #[test]
    fn cpu_limits_go_to_the_files_of_this_version() {
        check(
            r#"{"cpu": {"shares": 512, "quota": -1, "period": 50000, "burst": 3, "idle": 1,
                "realtimeRuntime": 7, "realtimePeriod": 9, "cpus": "0-1", "mems": "0"}}"#,
            &[
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
        check(
            r#"{"cpu": {"shares": 2, "idle": 0}}"#,
            &[("cpu.idle", "0"), ("cpu.shares", "2")],
        );
        check(r#"{"pids": {"limit": -1}}"#, &[("pids.max", "max")]);
    }

    #[test]
    fn a_realtime_period_is_retried_after_the_runtime() {
        let both = r#"{"cpu": {"realtimeRuntime": 7, "realtimePeriod": 9}}"#;
        let limits = Limits::plan(Some(&resources(both))).unwrap();
        let on_refusal = settings(&limits)
            .unwrap()
            .into_iter()
            .map(|one| one.on_refusal);
        assert_eq!(
            on_refusal.collect::<Vec<_>>(),
            [OnRefusal::RetryAfterNext, OnRefusal::Fail]
        );
    }

    #[test]
    fn shares_out_of_range_are_refused() {
        for shares in ["1", "262145"] {
            let resources = resources(&format!(r#"{{"cpu": {{"shares": {shares}}}}}"#));
            let error = settings(&Limits::plan(Some(&resources)).unwrap()).unwrap_err();
            let expected =
                format!("linux.resources.cpu.shares: {shares} is not between 2 and 262144");
            assert_eq!(error.to_string(), expected);
        }
    }
}
