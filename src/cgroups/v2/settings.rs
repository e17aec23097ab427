//! The files and values for limits in cgroup v2 (Documentation/admin-guide/cgroup-v2.rst in the
//! kernel).

use anyhow::{Result, bail};

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
/// When a limit exists in v1 only.
pub(in crate::cgroups) fn settings(limits: &Limits) -> Result<Vec<Setting>> {
    if let Some(field) = of_v1_alone(limits) {
        bail!("{field}: cgroup v2, which this host uses, has no such limit");
    }
    let mut all = memory(limits);
    all.extend(cpu(limits));
    all.extend(common_settings(limits));
    all.extend(weights::v2(&limits.weights)?);
    all.extend(rates::v2(&limits.rates));
    all.extend(huge_pages::settings(&limits.huge_pages, ".max"));
    all.extend(limits.rdma.iter().cloned());
    // Last, because they replace what the other fields have set.
    all.extend(limits.unified.iter().cloned());
    Ok(all)
}

/// A field that is set and has no file in v2.
fn of_v1_alone(limits: &Limits) -> Option<&'static str> {
    let is_set = [
        (
            limits.swappiness.is_some(),
            "linux.resources.memory.swappiness",
        ),
        (
            limits.oom_killer_off,
            "linux.resources.memory.disableOOMKiller",
        ),
        (
            limits.rt_runtime.is_some(),
            "linux.resources.cpu.realtimeRuntime",
        ),
        (
            limits.rt_period.is_some(),
            "linux.resources.cpu.realtimePeriod",
        ),
    ];
    let found = is_set.into_iter().find(|(is_set, _)| *is_set);
    let field = found.map(|(_, field)| field);
    field.or_else(|| limits.network.field())
}

fn amount(amount: Amount) -> String {
    match amount {
        Amount::Unlimited => "max".to_owned(),
        Amount::Of(number) => number.to_string(),
    }
}

fn memory(limits: &Limits) -> Vec<Setting> {
    let new = |field, file, value| Setting::new(field, "memory", file, value);
    let mut all = Vec::new();
    if let Some(limit) = limits.memory {
        all.push(new(
            "linux.resources.memory.limit",
            "memory.max",
            amount(limit),
        ));
    }
    if let Some(swap) = limits.swap {
        // v2 limits swap by itself, without the memory.
        let swap_alone = match (swap, limits.memory) {
            (Amount::Of(both), Some(Amount::Of(memory))) => Amount::Of(both.saturating_sub(memory)),
            (other, _) => other,
        };
        let setting = new(
            "linux.resources.memory.swap",
            "memory.swap.max",
            amount(swap_alone),
        );
        all.push(match swap_alone {
            // A kernel without swap accounting has no such file. There is then nothing to limit.
            Amount::Unlimited | Amount::Of(0) => setting.on_refusal(OnRefusal::IgnoreMissingFile),
            Amount::Of(_) => setting,
        });
    }
    if let Some(reservation) = limits.reservation {
        all.push(new(
            "linux.resources.memory.reservation",
            "memory.low",
            amount(reservation),
        ));
    }
    all
}

fn cpu(limits: &Limits) -> Vec<Setting> {
    let new = |field, file, value| Setting::new(field, "cpu", file, value);
    let mut all = Vec::new();
    let shares = limits.shares.map(|shares| weight(shares).to_string());
    let shares = shares.map(|shares| new("linux.resources.cpu.shares", "cpu.weight", shares));
    all.extend(idle_and_shares(limits, shares));
    let quota = limits.quota.or(limits.current_quota);
    let quota = amount(quota.unwrap_or(Amount::Unlimited));
    let bandwidth = match (limits.quota, limits.period) {
        (None, None) => None,
        (Some(_), None) => Some(("linux.resources.cpu.quota", quota)),
        (Some(_), Some(period)) => Some(("linux.resources.cpu.quota", format!("{quota} {period}"))),
        (None, Some(period)) => Some(("linux.resources.cpu.period", format!("{quota} {period}"))),
    };
    if let Some((field, value)) = bandwidth {
        all.push(new(field, "cpu.max", value).on_refusal(quota_on_refusal(limits)));
    }
    if let Some(burst) = limits.burst {
        all.push(burst_setting("cpu.max.burst", burst));
    }
    all
}

/// The weight for CPU shares of v1. The curve goes through (2, 1), (1024, 100) and (262144,
/// 10000), so that the default of v1 becomes the default of v2. runc from 1.3.2 and crun from
/// 1.23 use the same curve.
fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // A little less than the result, so that `ceil` does not round an exact one up.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::resources;

    fn plan(json: &str) -> Result<Vec<Setting>> {
        settings(&Limits::plan(Some(&resources(json)))?)
    }

    fn check(json: &str, expected: &[(&str, &str)]) {
        let settings = plan(json).unwrap();
        let files: Vec<_> = settings
            .iter()
            .map(|s| (s.file.as_ref(), s.value.as_ref()))
            .collect();
        assert_eq!(files, expected, "{json}");
    }

    #[test]
    fn memory_limits_go_to_the_files_of_this_version() {
        check(
            r#"{"memory": {"limit": 10, "swap": 30, "reservation": 5, "useHierarchy": true}}"#,
            &[
                ("memory.max", "10"),
                ("memory.swap.max", "20"),
                ("memory.low", "5"),
            ],
        );
        check(
            r#"{"memory": {"limit": 10, "swap": 10}}"#,
            &[("memory.max", "10"), ("memory.swap.max", "0")],
        );
        check(
            r#"{"memory": {"limit": -1}}"#,
            &[("memory.max", "max"), ("memory.swap.max", "max")],
        );
        check(r#"{"memory": {"swap": -1}}"#, &[("memory.swap.max", "max")]);
    }

    #[test]
    fn cpu_limits_go_to_the_files_of_this_version() {
        check(
            r#"{"cpu": {"shares": 1024, "quota": 10000, "period": 50000, "burst": 3, "idle": 1,
                "cpus": "0-1", "mems": "0"}, "pids": {"limit": 0}}"#,
            &[
                ("cpu.idle", "1"),
                ("cpu.max", "10000 50000"),
                ("cpu.max.burst", "3"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
                ("pids.max", "0"),
            ],
        );
        check(
            r#"{"cpu": {"shares": 1024, "idle": 0}}"#,
            &[("cpu.idle", "0"), ("cpu.weight", "100")],
        );
        check(r#"{"cpu": {"quota": -1}}"#, &[("cpu.max", "max")]);
        check(r#"{"cpu": {"period": 5000}}"#, &[("cpu.max", "max 5000")]);
    }

    #[test]
    fn shares_become_weights_on_the_curve() {
        for (shares, expected) in [
            (1, 1),
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
            (512, 59),
            (2048, 174),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        let all: Vec<u64> = (2..=262_144).map(weight).collect();
        assert!(all.is_sorted() && all.iter().all(|weight| (1..=10_000).contains(weight)));
    }

    #[test]
    fn limits_of_v1_alone_are_refused() {
        for (json, field) in [
            (
                r#"{"memory": {"swappiness": 5}}"#,
                "linux.resources.memory.swappiness",
            ),
            (
                r#"{"memory": {"disableOOMKiller": true}}"#,
                "linux.resources.memory.disableOOMKiller",
            ),
            (
                r#"{"cpu": {"realtimeRuntime": 5}}"#,
                "linux.resources.cpu.realtimeRuntime",
            ),
            (
                r#"{"cpu": {"realtimePeriod": 5}}"#,
                "linux.resources.cpu.realtimePeriod",
            ),
        ] {
            let error = plan(json).unwrap_err().to_string();
            let expected = format!("{field}: cgroup v2, which this host uses, has no such limit");
            assert_eq!(error, expected);
        }
    }
}
