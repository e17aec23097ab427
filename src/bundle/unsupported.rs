//! The fields of the specification that this version does not support.
//!
//! A configuration that uses one of them is refused with an error that names the field. A field
//! with an empty value is not in use. Remove a line when the feature is implemented.

use serde_json::Value;

use super::field_path;

/// The condition under which a field is in use.
#[derive(Clone, Copy)]
enum InUseIf {
    /// The value, or a value in it, is not 0, false or empty.
    Set,
    /// The object or array has members, even if they are 0 or empty.
    AnyMember,
    /// The array contains this string.
    Contains(&'static str),
}

use InUseIf::{AnyMember, Contains, Set};

/// The error names the first field in this order: `process`, `linux` in the order of the
/// specification, `mounts`.
const UNSUPPORTED: &[(&str, InUseIf)] = &[
    ("process.selinuxLabel", Set),
    ("process.scheduler", Set),
    ("linux.netDevices", AnyMember),
    ("linux.resources.unified", AnyMember),
    ("linux.resources.blockIO.weight", Set),
    ("linux.resources.blockIO.leafWeight", Set),
    ("linux.resources.blockIO.weightDevice", Set),
    ("linux.resources.hugepageLimits", AnyMember),
    ("linux.resources.network", Set),
    ("linux.resources.rdma", AnyMember),
    ("linux.seccomp.flags", Set),
    ("linux.seccomp.listenerPath", Set),
    ("linux.seccomp.listenerMetadata", Set),
    ("linux.mountLabel", Set),
    ("linux.intelRdt", AnyMember),
    ("linux.memoryPolicy", AnyMember),
    ("mounts[].options", Contains("remount")),
    ("mounts[].options", Contains("iversion")),
];

/// Whether this version supports a field, which is written as in the table.
pub(crate) fn is_supported(field: &str) -> bool {
    !UNSUPPORTED.iter().any(|(pattern, _)| *pattern == field)
}

/// The path of the first field in use that is not supported: `linux.resources.hugepageLimits` or
/// `mounts[3].options: remount`.
pub(super) fn first(config: &Value) -> Option<String> {
    UNSUPPORTED.iter().find_map(|(pattern, in_use)| {
        field_path::find(config, pattern)
            .into_iter()
            .find_map(|(path, value)| path_in_use(path, value, *in_use))
    })
}

fn path_in_use(path: String, value: &Value, in_use: InUseIf) -> Option<String> {
    match in_use {
        Set => is_set(value).then_some(path),
        AnyMember => has_members(value).then_some(path),
        Contains(text) => contains(value, text).then(|| format!("{path}: {text}")),
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(is_set),
    }
}

fn has_members(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        value => is_set(value),
    }
}

fn contains(value: &Value, text: &str) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().any(|item| item == text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_field_is_not_in_use() {
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
    fn a_limit_of_zero_is_in_use() {
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
    fn the_path_has_the_index_of_the_item() {
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
            "linux": {"seccomp": {"listenerPath": "/run/agent.sock"}, "memoryPolicy": {"mode": "MPOL_DEFAULT"}},
        });
        assert_eq!(
            first(&config).as_deref(),
            Some("linux.seccomp.listenerPath")
        );
    }
}
