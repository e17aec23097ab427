//! The annotations `org.systemd.property.NAME`: properties of the unit that are given as they are.
//!
//! Who writes a pod's annotations need not be who may run programs on the host. So only the
//! properties listed here are passed on: those about resources, and a few that say how the scope
//! ends (CVE-2024-3154).

use anyhow::{Context, Result, anyhow, bail};

use super::bus::value::{Property, Value};
use super::text::{self, Type};
use crate::nearest::nearest;

/// The prefix of the keys.
pub(crate) const PREFIX: &str = "org.systemd.property.";

/// The properties that are passed on. systemd.resource-control(5) and systemd.scope(5) say what
/// they do. `After` and `Before` order the scope against other units, but start none.
const ALLOWED: [(&str, Type); 34] = [
    ("After", Type::Texts),
    ("Before", Type::Texts),
    ("BlockIOAccounting", Type::Bool),
    ("BlockIOWeight", Type::U64),
    ("CPUAccounting", Type::Bool),
    ("CPUQuotaPerSecUSec", Type::U64),
    ("CPUQuotaPeriodUSec", Type::U64),
    ("CPUShares", Type::U64),
    ("CPUWeight", Type::U64),
    ("CollectMode", Type::Text),
    ("DefaultDependencies", Type::Bool),
    ("IOAccounting", Type::Bool),
    ("IOWeight", Type::U64),
    ("IPAccounting", Type::Bool),
    ("ManagedOOMMemoryPressure", Type::Text),
    ("ManagedOOMMemoryPressureLimit", Type::U32),
    ("ManagedOOMPreference", Type::Text),
    ("ManagedOOMSwap", Type::Text),
    ("MemoryAccounting", Type::Bool),
    ("MemoryHigh", Type::U64),
    ("MemoryLimit", Type::U64),
    ("MemoryLow", Type::U64),
    ("MemoryMax", Type::U64),
    ("MemoryMin", Type::U64),
    ("MemorySwapMax", Type::U64),
    ("MemoryZSwapMax", Type::U64),
    ("OOMPolicy", Type::Text),
    ("RuntimeMaxUSec", Type::U64),
    ("StartupCPUShares", Type::U64),
    ("StartupCPUWeight", Type::U64),
    ("StartupIOWeight", Type::U64),
    ("TasksAccounting", Type::Bool),
    ("TasksMax", Type::U64),
    ("TimeoutStopUSec", Type::U64),
];

/// The properties in `annotations`, in the order of their names.
///
/// # Errors
/// When a property is not passed on, or its value has another type.
pub(super) fn properties<'a>(
    annotations: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<Property>> {
    let ours = annotations.filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    let mut all = Vec::new();
    for (name, value) in ours {
        let place = || format!("annotations: {PREFIX}{name}");
        all.push(one(name, value).with_context(place)?);
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all)
}

/// A name that ends in `Sec` means the property that ends in `USec`, and its value is in seconds.
fn one(name: &str, value: &str) -> Result<Property> {
    let is_micro = |stem: &&str| stem.ends_with(|last: char| last.is_ascii_lowercase());
    let seconds = name.strip_suffix("Sec").filter(is_micro);
    let on_bus = seconds.map_or_else(|| name.to_owned(), |stem| format!("{stem}USec"));
    let known = ALLOWED.iter().find(|(allowed, _)| *allowed == on_bus);
    let Some((_, kind)) = known else {
        let names = ALLOWED.map(|(allowed, _)| allowed);
        let remedy = match nearest(&on_bus, names) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "docs/annotations.md lists those that are".to_owned(),
        };
        bail!("not passed to systemd, because it may do more than limit the container; {remedy}");
    };
    let parsed = match seconds {
        Some(_) => text::parse_seconds(value).map(Value::U64),
        None => text::parse(value, *kind),
    };
    let wanted = || {
        anyhow!(
            "{value:?} is no value of this property; want {}",
            kind.example()
        )
    };
    Ok((on_bus, parsed.ok_or_else(wanted)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan(name: &str, value: &str) -> Result<Vec<Property>> {
        let key = format!("{PREFIX}{name}");
        let annotations = BTreeMap::from([
            (key, value.to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ]);
        properties(annotations.iter())
    }

    #[test]
    fn listed_properties_are_passed_with_their_types() {
        for (name, value, on_bus, expected) in [
            (
                "TimeoutStopUSec",
                "uint64 7",
                "TimeoutStopUSec",
                Value::U64(7),
            ),
            (
                "TimeoutStopSec",
                "uint64 7",
                "TimeoutStopUSec",
                Value::U64(7_000_000),
            ),
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                Value::text("inactive-or-failed"),
            ),
            ("CPUWeight", "5", "CPUWeight", Value::U64(5)),
            (
                "Before",
                "['a.service']",
                "Before",
                Value::Texts(vec!["a.service".to_owned()]),
            ),
        ] {
            assert_eq!(
                plan(name, value).unwrap(),
                [(on_bus.to_owned(), expected)],
                "{name}"
            );
        }
    }

    #[test]
    fn what_could_run_programs_or_loosen_rules_is_refused() {
        for name in [
            "ExecStart",
            "ExecStartPre",
            "ExecStopPost",
            "User",
            "Environment",
            "DeviceAllow",
            "DevicePolicy",
            "Slice",
            "PIDs",
            "Delegate",
            "Wants",
            "Requires",
            "OnFailure",
            "OnSuccess",
            "JoinsNamespaceOf",
            "Controller",
            "BPFProgram",
            "IPIngressFilterPath",
            "KillSignal",
            "SuccessAction",
            "FailureAction",
            "",
            "a",
            "MemoryMax ",
        ] {
            let error = format!("{:#}", plan(name, "'x'").unwrap_err());
            let expected =
                format!("annotations: org.systemd.property.{name}: not passed to systemd");
            assert!(error.starts_with(&expected), "{error}");
        }
        let error = format!("{:#}", plan("TasksMax", "'5'").unwrap_err());
        assert!(error.ends_with("want uint64 5"), "{error}");
    }
}
