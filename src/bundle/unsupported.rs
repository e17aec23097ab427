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
    ("linux.seccomp.flags", Set),
    ("linux.seccomp.listenerPath", Set),
    ("linux.seccomp.listenerMetadata", Set),
    ("linux.mountLabel", Set),
    ("linux.memoryPolicy", AnyMember),
    (MOUNT_OPTIONS, Contains("remount")),
    (MOUNT_OPTIONS, Contains("iversion")),
];

const MOUNT_OPTIONS: &str = "mounts[].options";

/// Whether this version supports a field, which is written as in the table.
pub(crate) fn is_supported(field: &str) -> bool {
    !UNSUPPORTED.iter().any(|(pattern, _)| *pattern == field)
}

/// Whether the table has the field at this path, such as `linux.netDevices`.
pub(super) fn is_in_table(path: &str) -> bool {
    UNSUPPORTED.iter().any(|(pattern, _)| *pattern == path)
}

/// The paths of the fields in use that are not supported, in the order of the table:
/// `linux.netDevices` or `mounts[3].options: remount`.
pub(super) fn in_use(config: &Value) -> Vec<String> {
    let fields = UNSUPPORTED.iter().flat_map(|(pattern, in_use)| {
        let found = field_path::find(config, pattern).into_iter();
        found.filter_map(|(path, value)| path_in_use(path, value, *in_use))
    });
    fields.collect()
}

/// Removes the options of `mounts` in the table, so that the rest of the configuration can be planned.
pub(super) fn drop_options(config: &mut Value) {
    let refused = |option: &Value| {
        UNSUPPORTED.iter().any(|(pattern, in_use)| {
            *pattern == MOUNT_OPTIONS && matches!(in_use, Contains(text) if option == text)
        })
    };
    let mounts = config.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            options.retain(|option| !refused(option));
        }
    }
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
                "uidMappings": [], "timeOffsets": {}, "seccomp": {"flags": []},
                "namespaces": [{"type": "pid"}, {"type": "cgroup"}],
            },
            "mounts": [{"options": ["rbind", "ro"]}],
        });
        assert_eq!(in_use(&config), [""; 0]);
    }

    #[test]
    fn the_path_has_the_index_of_the_item() {
        let config = json!({"mounts": [{}, {"options": ["rbind", "remount"]}]});
        assert_eq!(in_use(&config), ["mounts[1].options: remount"]);
    }

    #[test]
    fn all_are_named_in_the_order_of_the_table() {
        let mut config = json!({
            "mounts": [{"options": ["remount", "ro"]}],
            "linux": {"seccomp": {"listenerPath": "/run/agent.sock"}, "memoryPolicy": {"mode": "MPOL_DEFAULT"}},
        });
        let all = [
            "linux.seccomp.listenerPath",
            "linux.memoryPolicy",
            "mounts[0].options: remount",
        ];
        assert_eq!(in_use(&config), all);
        drop_options(&mut config);
        assert_eq!(config["mounts"], json!([{"options": ["ro"]}]));
    }
}
