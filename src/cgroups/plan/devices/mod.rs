//! Device rules: which devices a container may read, write and make nodes of.
//!
//! The rules are applied in their order, to a policy that at first denies everything: of the
//! rules for a device and a kind of access, the last decides. An access of several kinds
//! (`O_RDWR`) is allowed when each kind is. Both versions enforce the same policy, v1 by lines
//! in devices.allow and devices.deny, v2 by a BPF program.

mod exceptions;
mod rule;

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxDeviceType, LinuxResources};

use self::exceptions::Exceptions;
use self::rule::LETTERS;
use super::setting::Setting;

pub(in crate::cgroups) use self::rule::{Access, DeviceKind, DeviceSet, FIELD, Rule, Verdict};

/// Allowed in every container, as in runc: making nodes of any device, which does not open it,
/// and the devices that programs generally rely on.
const ALWAYS_ALLOWED: [(DeviceSet, Access); 11] = {
    const fn char(major: u32, minor: Option<u32>) -> (DeviceSet, Access) {
        (
            DeviceSet::new(DeviceKind::Char, Some(major), minor),
            Access::ALL,
        )
    }
    [
        (DeviceSet::new(DeviceKind::Char, None, None), Access::MKNOD),
        (DeviceSet::new(DeviceKind::Block, None, None), Access::MKNOD),
        char(1, Some(3)),    // null
        char(1, Some(5)),    // zero
        char(1, Some(7)),    // full
        char(1, Some(8)),    // random
        char(1, Some(9)),    // urandom
        char(5, Some(0)),    // tty
        char(5, Some(2)),    // ptmx
        char(136, None),     // pts/*
        char(10, Some(200)), // net/tun
    ]
};

/// The default and the rules, without rules that decide nothing.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Policy {
    /// The verdict on access that no rule is about.
    pub(in crate::cgroups) default: Verdict,
    pub(in crate::cgroups) rules: Vec<Rule>,
}

impl Policy {
    /// # Errors
    /// When a rule is invalid. The error names its index in the list.
    pub(in crate::cgroups) fn plan(resources: Option<&LinuxResources>) -> Result<Policy> {
        let mut builder = PolicyBuilder::new(Verdict::Deny);
        let listed = resources.and_then(|resources| resources.devices().as_ref());
        for (index, rule) in listed.into_iter().flatten().enumerate() {
            let field = |name: &str| format!("{FIELD}[{index}].{name}");
            let access = rule.access().as_deref().unwrap_or_default();
            ensure!(
                !access.is_empty(),
                "{}: none of r, w, m is given; want some of them: \"rwm\"",
                field("access")
            );
            let Some(access) = Access::parse(access) else {
                bail!("{}: \"{access}\" is not made of r, w, m", field("access"));
            };
            let major = number(rule.major()).with_context(|| field("major"))?;
            let minor = number(rule.minor()).with_context(|| field("minor"))?;
            let kinds: &[DeviceKind] = match rule.typ().unwrap_or(LinuxDeviceType::A) {
                LinuxDeviceType::A => &[DeviceKind::Block, DeviceKind::Char],
                LinuxDeviceType::B => &[DeviceKind::Block],
                LinuxDeviceType::C => &[DeviceKind::Char],
                other => bail!("{}: \"{}\" is not a, b or c", field("type"), other.as_str()),
            };
            let verdict = if rule.allow() {
                Verdict::Allow
            } else {
                Verdict::Deny
            };
            builder.add_each(kinds, verdict, (major, minor), access);
        }
        for (devices, access) in ALWAYS_ALLOWED {
            builder.add(Rule {
                verdict: Verdict::Allow,
                devices,
                access,
            });
        }
        Ok(builder.finish())
    }

    /// Whether every access to every device is allowed.
    pub(in crate::cgroups) fn allows_all(&self) -> bool {
        self.default == Verdict::Allow && self.rules.is_empty()
    }

    /// The lines for `devices.allow` and `devices.deny` of v1
    /// (Documentation/admin-guide/cgroup-v1/devices.rst in the kernel).
    ///
    /// # Errors
    /// When a rule makes an exception from a wider rule that is itself an exception. v1 has only
    /// exceptions from a default.
    pub(in crate::cgroups) fn v1_settings(&self) -> Result<Vec<Setting>> {
        let (default_file, exception_file) = match self.default {
            Verdict::Deny => ("devices.deny", "devices.allow"),
            Verdict::Allow => ("devices.allow", "devices.deny"),
        };
        let mut lines = vec![Setting::new(FIELD, "devices", default_file, "a")];
        for (devices, access) in self.exceptions()? {
            let line = devices.line(access);
            lines.push(Setting::new(FIELD, "devices", exception_file, line));
        }
        Ok(lines)
    }

    /// The exceptions from the default. For each device one exception has all the access that is
    /// excepted, because the kernel does not combine two of them.
    fn exceptions(&self) -> Result<Vec<(DeviceSet, Access)>> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.verdict == self.default) {
            let DeviceSet { kind, major, minor } = rule.devices;
            bail!(
                "{FIELD}: the rule for {kind:?} {}:{} makes an exception from an exception, which cgroup v1 cannot express",
                major.map_or(-1, i64::from),
                minor.map_or(-1, i64::from)
            );
        }
        Exceptions::of(&self.rules).into_minimal()
    }
}

/// A device number. Absent and -1 mean any.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(given) => match u32::try_from(given) {
            // The kernel uses the greatest number to mean any.
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => bail!(
                "{given} is neither between 0 and {} nor -1 (any)",
                u32::MAX - 1
            ),
        },
    }
}

/// Adds rules to a policy one by one.
struct PolicyBuilder {
    policy: Policy,
    /// The indexes of the rules about a set of devices or a part of it, by set and kind of
    /// access.
    rules_by_access: HashMap<(DeviceSet, u8), Vec<usize>>,
}

impl PolicyBuilder {
    fn new(default: Verdict) -> PolicyBuilder {
        let rules = Vec::new();
        PolicyBuilder {
            policy: Policy { default, rules },
            rules_by_access: HashMap::new(),
        }
    }

    /// Adds a rule for each of `kinds`. A rule about all access to all devices replaces the
    /// default and all earlier rules.
    fn add_each(
        &mut self,
        kinds: &[DeviceKind],
        verdict: Verdict,
        (major, minor): (Option<u32>, Option<u32>),
        access: Access,
    ) {
        if kinds.len() == 2 && (major, minor, access) == (None, None, Access::ALL) {
            *self = PolicyBuilder::new(verdict);
            return;
        }
        for kind in kinds {
            self.add(Rule {
                verdict,
                devices: DeviceSet::new(*kind, major, minor),
                access,
            });
        }
    }

    /// Adds a rule after the others. Earlier rules lose the access that it overrules. The rule
    /// is left out when it only repeats the verdict that holds without it.
    fn add(&mut self, rule: Rule) {
        let Policy { default, rules } = &mut self.policy;
        let kinds = LETTERS.map(|(_, kind)| kind).into_iter();
        let kinds = kinds.filter(|kind| !(*kind & rule.access).is_empty());
        for kind in kinds.clone() {
            let overruled = self.rules_by_access.remove(&(rule.devices, kind.0));
            for index in overruled.into_iter().flatten() {
                rules[index].access &= !kind;
            }
        }
        let decides = rule.verdict != *default
            || rules.iter().any(|earlier| {
                earlier.verdict != *default
                    && !(earlier.access & rule.access).is_empty()
                    && earlier.devices.intersection(rule.devices).is_some()
            });
        if decides {
            for (set, kind) in rule
                .devices
                .supersets()
                .flat_map(|set| kinds.clone().map(move |kind| (set, kind)))
            {
                let indexes = self.rules_by_access.entry((set, kind.0)).or_default();
                indexes.push(rules.len());
            }
            rules.push(rule);
        }
    }

    /// The policy, without rules that have lost all their access.
    fn finish(mut self) -> Policy {
        self.policy.rules.retain(|rule| !rule.access.is_empty());
        self.policy
    }
}

#[cfg(test)]
mod tests;
