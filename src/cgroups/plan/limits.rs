//! `linux.resources`: the limits, checked, before they are expressed in the files of v1 or v2.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::amount::{Amount, Idle};
use super::huge_pages::{self, HugePageLimit};
use super::network::Network;
use super::rates::{self, Rate};
use super::setting::Setting;
use super::weights::{self, Weight};
use super::{rdma, unified};
use crate::bundle::Resources;

/// The limits of a container. `None` leaves the value as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cgroups) struct Limits {
    /// Bytes.
    pub(in crate::cgroups) memory: Option<Amount>,
    /// Bytes that the kernel reclaims last.
    pub(in crate::cgroups) reservation: Option<Amount>,
    /// Bytes of memory and swap together; never less than `memory`.
    pub(in crate::cgroups) swap: Option<Amount>,
    /// 0 to 100.
    pub(in crate::cgroups) swappiness: Option<u64>,
    pub(in crate::cgroups) oom_killer_off: bool,
    pub(in crate::cgroups) use_hierarchy: bool,
    /// CPU weight as in v1, where 1024 is the default.
    pub(in crate::cgroups) shares: Option<u64>,
    /// Microseconds of CPU time in each period.
    pub(in crate::cgroups) quota: Option<Amount>,
    /// The quota to keep when only the period changes, from the cgroup.
    pub(in crate::cgroups) current_quota: Option<Amount>,
    /// Microseconds.
    pub(in crate::cgroups) period: Option<u64>,
    /// Microseconds that may be accumulated from earlier periods; at most the quota.
    pub(in crate::cgroups) burst: Option<u64>,
    pub(in crate::cgroups) idle: Option<Idle>,
    /// Microseconds of real-time scheduling in each period; -1 is unlimited.
    pub(in crate::cgroups) rt_runtime: Option<i64>,
    /// Microseconds.
    pub(in crate::cgroups) rt_period: Option<u64>,
    /// CPUs, as a list: `0-3,8`.
    pub(in crate::cgroups) cpus: Option<String>,
    /// Memory nodes, as a list.
    pub(in crate::cgroups) mems: Option<String>,
    /// Number of tasks.
    pub(in crate::cgroups) pids: Option<Amount>,
    /// Limits on the I/O of single block devices.
    pub(in crate::cgroups) rates: Vec<Rate>,
    /// Weights for the I/O of block devices.
    pub(in crate::cgroups) weights: Vec<Weight>,
    pub(in crate::cgroups) huge_pages: Vec<HugePageLimit>,
    pub(in crate::cgroups) network: Network,
    /// Limits on RDMA devices, which are the same in both versions.
    pub(in crate::cgroups) rdma: Vec<Setting>,
    /// Values for files of v2 by name. They replace what another field sets.
    pub(in crate::cgroups) unified: Vec<Setting>,
    /// Whether an update must refuse a memory limit below the present usage.
    pub(in crate::cgroups) check_before_update: bool,
    /// Fields that are set and have no effect on any current kernel.
    pub(in crate::cgroups) ignored: Vec<&'static str>,
}

impl Limits {
    /// The limits for a new container.
    ///
    /// # Errors
    /// When a value is invalid in both versions. The error names the field.
    pub(in crate::cgroups) fn plan(resources: Option<&LinuxResources>) -> Result<Limits> {
        let mut limits = Limits::default();
        let Some(resources) = resources else {
            return Ok(limits);
        };
        if let Some(memory) = resources.memory() {
            limits.plan_memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            limits.plan_cpu(cpu)?;
        }
        if let Some(block_io) = resources.block_io() {
            limits.weights = weights::plan(block_io)?;
            limits.rates = rates::plan(block_io);
        }
        if let Some(all) = resources.hugepage_limits() {
            limits.huge_pages = huge_pages::plan(all)?;
        }
        if let Some(network) = resources.network() {
            limits.network = Network::plan(network)?;
        }
        if let Some(devices) = resources.rdma() {
            limits.rdma = rdma::plan(devices)?;
        }
        if let Some(files) = resources.unified() {
            limits.unified = unified::plan(files)?;
        }
        // Unlike in other fields 0 is a limit: no task may be added.
        limits.pids = resources
            .pids()
            .as_ref()
            .map(|pids| u64::try_from(pids.limit()).map_or(Amount::Unlimited, Amount::Of));
        Ok(limits)
    }

    /// The limits for a container that exists. Two zeros differ from those for a new container:
    ///
    /// - A pids limit of 0 in a list of resources is no limit. Managers write it when they
    ///   change other limits.
    /// - A burst of 0 is a value, because there is no other way to turn a burst off.
    ///
    /// # Errors
    /// As [`Limits::plan`].
    pub(in crate::cgroups) fn plan_update(requested: &Resources) -> Result<Limits> {
        let resources = requested.spec();
        let mut limits = Limits::plan(Some(resources))?;
        let is_limit = |pids: &Amount| requested.is_from_flags() || *pids != Amount::Of(0);
        limits.pids = limits.pids.filter(is_limit);
        let burst = resources.cpu().as_ref().and_then(LinuxCpu::burst);
        limits.burst = limits.burst.or(burst);
        let memory = resources.memory().as_ref();
        let check = memory.and_then(LinuxMemory::check_before_update);
        limits.check_before_update = check == Some(true);
        Ok(limits)
    }

    /// # Errors
    /// When the limit on memory and swap together comes without a limit on memory, or is less
    /// than that.
    pub(in crate::cgroups) fn check_swap(&self) -> Result<()> {
        match (self.memory, self.swap) {
            (None | Some(Amount::Unlimited), Some(Amount::Of(_))) => bail!(
                "linux.resources.memory.swap: a limit on memory and swap together needs a memory limit"
            ),
            (Some(Amount::Of(limit)), Some(Amount::Of(swap))) => ensure!(
                swap >= limit,
                "linux.resources.memory.swap: {swap} counts memory and swap together, and is less than the memory limit {limit}"
            ),
            _ => {}
        }
        Ok(())
    }

    fn plan_memory(&mut self, memory: &LinuxMemory) -> Result<()> {
        self.memory = bytes(memory.limit()).context("linux.resources.memory.limit")?;
        self.reservation =
            bytes(memory.reservation()).context("linux.resources.memory.reservation")?;
        self.swap = bytes(memory.swap()).context("linux.resources.memory.swap")?;
        // Unlimited memory leaves nothing that swap could be limited together with.
        if (self.memory, self.swap) == (Some(Amount::Unlimited), None) {
            self.swap = Some(Amount::Unlimited);
        }
        // Go programs write -1 for "unset" into this unsigned number, as runc knows.
        self.swappiness = memory.swappiness().filter(|value| *value != u64::MAX);
        if let Some(swappiness) = self.swappiness {
            ensure!(
                swappiness <= 100,
                "linux.resources.memory.swappiness: {swappiness} is not between 0 and 100"
            );
        }
        self.oom_killer_off = memory.disable_oom_killer() == Some(true);
        self.use_hierarchy = memory.use_hierarchy() == Some(true);
        #[allow(
            deprecated,
            reason = "deprecated in the specification, and still written"
        )]
        let kernel = memory.kernel();
        for (value, field) in [
            (kernel, "linux.resources.memory.kernel"),
            (memory.kernel_tcp(), "linux.resources.memory.kernelTCP"),
        ] {
            // -1 is no limit.
            if value.is_some_and(|value| value > 0) {
                self.ignored.push(field);
            }
        }
        Ok(())
    }

    fn plan_cpu(&mut self, cpu: &LinuxCpu) -> Result<()> {
        self.shares = cpu.shares().filter(|shares| *shares != 0);
        self.quota = cpu
            .quota()
            .filter(|quota| *quota != 0)
            .map(|quota| u64::try_from(quota).map_or(Amount::Unlimited, Amount::Of));
        self.period = cpu.period().filter(|period| *period != 0);
        self.burst = cpu.burst().filter(|burst| *burst != 0);
        if let (Some(burst), Some(Amount::Of(quota))) = (self.burst, self.quota) {
            ensure!(
                burst <= quota,
                "linux.resources.cpu.burst: {burst} is more than the quota {quota}"
            );
        }
        self.idle = match cpu.idle() {
            None => None,
            Some(0) => Some(Idle::No),
            Some(1) => Some(Idle::Yes),
            Some(other) => bail!("linux.resources.cpu.idle: {other} is neither 0 nor 1"),
        };
        self.rt_runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
        self.rt_period = cpu.realtime_period().filter(|period| *period != 0);
        self.cpus = list(cpu.cpus().as_deref()).context("linux.resources.cpu.cpus")?;
        self.mems = list(cpu.mems().as_deref()).context("linux.resources.cpu.mems")?;
        Ok(())
    }
}

/// The warning for a field in [`Limits::ignored`].
pub(in crate::cgroups) fn ignored_field(field: &str) -> String {
    format!("{field}: ignored, as by runc: it is counted in memory.limit")
}

/// A number of bytes: 0 sets no limit, -1 sets the limit "unlimited".
fn bytes(value: Option<i64>) -> Result<Option<Amount>> {
    Ok(match value {
        None | Some(0) => None,
        Some(-1) => Some(Amount::Unlimited),
        Some(value) => match u64::try_from(value) {
            Ok(value) => Some(Amount::Of(value)),
            Err(_) => bail!("{value} is neither a number of bytes nor -1 (unlimited)"),
        },
    })
}

/// A list of CPUs or memory nodes (cpuset(7), "List format"). Only the format is checked: which
/// CPUs and nodes exist may change at any time.
fn list(value: Option<&str>) -> Result<Option<String>> {
    let text = value.unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    for range in text.split(',') {
        ensure!(
            is_range(range.trim()),
            "\"{text}\" is no list of numbers and ranges: \"0-3,8\""
        );
    }
    Ok(Some(text.to_owned()))
}

/// `N`, `N-M`, or `N-M:USED/GROUP`.
fn is_range(range: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let (ends, groups) = match range.split_once(':') {
        Some((ends, groups)) => (ends, Some(groups)),
        None => (range, None),
    };
    let grouped = groups.is_none_or(|groups| {
        let parts = groups
            .split_once('/')
            .map(|(used, group)| (number(used), number(group)));
        matches!(parts, Some((Some(used), Some(group))) if group > 0 && used <= group)
    });
    grouped
        && match ends.split_once('-') {
            Some((first, last)) => {
                matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
            }
            None => groups.is_none() && number(ends).is_some(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::resources;

    fn limits(json: &str) -> Limits {
        Limits::plan(Some(&resources(json))).unwrap()
    }

    fn refusal(json: &str) -> String {
        let checked = |limits: Limits| limits.check_swap();
        let error = Limits::plan(Some(&resources(json)))
            .and_then(checked)
            .unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn zeros_and_empty_lists_set_no_limits() {
        let json = r#"{"memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0,
            "disableOOMKiller": false, "useHierarchy": false, "checkBeforeUpdate": true},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "burst": 0, "cpus": "", "mems": ""}}"#;
        assert_eq!(limits(json), Limits::default());
        assert_eq!(Limits::plan(None).unwrap(), Limits::default());
    }

    #[test]
    fn a_pids_limit_of_zero_is_a_limit() {
        assert_eq!(
            limits(r#"{"pids": {"limit": 0}}"#).pids,
            Some(Amount::Of(0))
        );
        assert_eq!(
            limits(r#"{"pids": {"limit": -1}}"#).pids,
            Some(Amount::Unlimited)
        );
    }

    #[test]
    fn a_swap_limit_needs_a_memory_limit_and_is_not_less() {
        assert_eq!(
            refusal(r#"{"memory": {"limit": 10, "swap": 9}}"#),
            "linux.resources.memory.swap: 9 counts memory and swap together, and is less than the memory limit 10"
        );
        for json in [
            r#"{"memory": {"swap": 9}}"#,
            r#"{"memory": {"limit": -1, "swap": 9}}"#,
        ] {
            assert_eq!(
                refusal(json),
                "linux.resources.memory.swap: a limit on memory and swap together needs a memory limit"
            );
        }
        let unlimited = limits(r#"{"memory": {"limit": -1}}"#);
        assert_eq!(unlimited.swap, Some(Amount::Unlimited));
        limits(r#"{"memory": {"swap": -1}}"#);
    }

    #[test]
    fn invalid_values_are_refused_with_their_field() {
        for (json, message) in [
            (
                r#"{"memory": {"limit": -2}}"#,
                "linux.resources.memory.limit: -2 is neither a number of bytes nor -1 (unlimited)",
            ),
            (
                r#"{"memory": {"swappiness": 101}}"#,
                "linux.resources.memory.swappiness: 101 is not between 0 and 100",
            ),
            (
                r#"{"cpu": {"quota": 5, "burst": 6}}"#,
                "linux.resources.cpu.burst: 6 is more than the quota 5",
            ),
            (
                r#"{"cpu": {"idle": 2}}"#,
                "linux.resources.cpu.idle: 2 is neither 0 nor 1",
            ),
            (
                r#"{"cpu": {"cpus": "0-"}}"#,
                "linux.resources.cpu.cpus: \"0-\" is no list of numbers and ranges: \"0-3,8\"",
            ),
        ] {
            assert_eq!(refusal(json), message);
        }
    }

    #[test]
    fn the_format_of_lists_is_checked() {
        for valid in ["0", "0-3", "0,2-4, 7", "0-1023:2/256", "4000"] {
            assert_eq!(list(Some(valid)).unwrap().as_deref(), Some(valid));
        }
        for invalid in [
            "a",
            "-1",
            "3-1",
            "0,,1",
            "+1",
            "0:1/2",
            "0-3:3/2",
            "0-3:1/0",
            "99999999999",
            "0\n1",
        ] {
            list(Some(invalid)).unwrap_err();
        }
    }

    #[test]
    fn limits_on_kernel_memory_are_reported_as_ignored() {
        let ignored = limits(r#"{"memory": {"kernel": 5, "kernelTCP": 6}}"#).ignored;
        assert_eq!(
            ignored,
            [
                "linux.resources.memory.kernel",
                "linux.resources.memory.kernelTCP"
            ]
        );
    }
}
