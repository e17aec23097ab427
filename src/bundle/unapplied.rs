//! The fields of the specification that this version does not apply yet.
//!
//! Each is an error that names it: none is read and ignored. A field that asks
//! for nothing is not in use. When a feature arrives, its line goes.

use serde_json::Value;

use super::places;

/// When a value is in use.
#[derive(Clone, Copy)]
enum Use {
    /// It, or something in it, is not 0, false or empty.
    Asks,
    /// It has members, of which each means something even if it is 0 or empty.
    Members,
    /// It is the string, or a list with the string, that the feature is chosen by.
    Says(&'static str),
}

use Use::{Asks, Members, Says};

/// In this order the first field in use is the one that the error names:
/// `process`, `linux` in the order of the specification, `mounts`.
const UNAPPLIED: &[(&str, Use)] = &[
    ("process.selinuxLabel", Asks),
    ("process.scheduler", Asks),
    ("process.ioPriority", Asks),
    ("linux.netDevices", Members),
    ("linux.resources.unified", Members),
    ("linux.resources.blockIO.weight", Asks),
    ("linux.resources.blockIO.leafWeight", Asks),
    ("linux.resources.blockIO.weightDevice", Asks),
    ("linux.resources.hugepageLimits", Members),
    ("linux.resources.network", Asks),
    ("linux.resources.rdma", Members),
    ("linux.seccomp.flags", Asks),
    ("linux.seccomp.listenerPath", Asks),
    ("linux.seccomp.listenerMetadata", Asks),
    ("linux.mountLabel", Asks),
    ("linux.intelRdt", Members),
    ("linux.memoryPolicy", Members),
    ("linux.personality", Members),
    ("mounts[].options", Says("remount")),
    ("mounts[].options", Says("iversion")),
];

/// Whether this version applies a field, named as in the table.
pub(crate) fn applies(field: &str) -> bool {
    !UNAPPLIED.iter().any(|(pattern, _)| *pattern == field)
}

/// The first field in use that is not applied, as `linux.namespaces[5]: user`.
pub(super) fn first(config: &Value) -> Option<String> {
    UNAPPLIED.iter().find_map(|(pattern, usage)| {
        let found = places::at(config, pattern);
        found
            .into_iter()
            .find_map(|(place, value)| named(place, value, *usage))
    })
}

fn named(place: String, value: &Value, usage: Use) -> Option<String> {
    match usage {
        Asks => asks(value).then_some(place),
        Members => has_members(value).then_some(place),
        Says(word) => says(value, word).then(|| format!("{place}: {word}")),
    }
}

fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(asks),
    }
}

fn has_members(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        value => asks(value),
    }
}

fn says(value: &Value, word: &str) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().any(|item| item == word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_asks_for_nothing_is_not_in_use() {
        let config = json!({
            "process": {"terminal": false, "selinuxLabel": ""},
            "linux": {
                "uidMappings": [], "timeOffsets": {}, "seccomp": {"flags": []}, "intelRdt": {},
                "resources": {
                    "blockIO": {"weight": 0, "leafWeight": 0, "throttleReadBpsDevice": []},
                    "hugepageLimits": [], "network": {"classID": 0, "priorities": []},
                    "rdma": {}, "unified": {},
                },
                "namespaces": [{"type": "pid"}, {"type": "cgroup"}],
            },
            "mounts": [{"options": ["rbind", "ro"]}],
        });
        assert_eq!(first(&config), None);
    }

    #[test]
    fn a_limit_of_zero_is_a_limit() {
        let cases = [
            (
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
                "hugepageLimits",
            ),
            (json!({"rdma": {"mlx5_1": {"hcaHandles": 0}}}), "rdma"),
            (json!({"unified": {"memory.high": ""}}), "unified"),
            (json!({"blockIO": {"weight": 10}}), "blockIO.weight"),
        ];
        for (resources, name) in cases {
            let config = json!({"linux": {"resources": resources}});
            assert_eq!(first(&config), Some(format!("linux.resources.{name}")));
        }
    }

    #[test]
    fn the_place_is_exact() {
        let config = json!({"mounts": [{}, {"options": ["rbind", "remount"]}]});
        assert_eq!(
            first(&config).as_deref(),
            Some("mounts[1].options: remount")
        );
    }

    #[test]
    fn the_first_of_several_is_named() {
        let config = json!({
            "mounts": [{"options": ["remount"]}],
            "linux": {"seccomp": {"listenerPath": "/run/agent.sock"}, "personality": {"domain": "LINUX"}},
        });
        assert_eq!(
            first(&config).as_deref(),
            Some("linux.seccomp.listenerPath")
        );
    }
}
