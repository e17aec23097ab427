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
}

use InUseIf::{AnyMember, Set};

/// The error names the first field in this order: `process`, `linux` in the order of the
/// specification.
const UNSUPPORTED: &[(&str, InUseIf)] = &[
    ("process.selinuxLabel", Set),
    ("linux.mountLabel", Set),
    ("linux.intelRdt", AnyMember),
];

/// Whether this version supports a field, which is written as in the table.
pub(crate) fn is_supported(field: &str) -> bool {
    !UNSUPPORTED.iter().any(|(pattern, _)| *pattern == field)
}

/// Whether the table has the field at this path, such as `linux.mountLabel`.
pub(super) fn is_in_table(path: &str) -> bool {
    UNSUPPORTED.iter().any(|(pattern, _)| *pattern == path)
}

/// The paths of the fields in use that are not supported, in the order of the table.
pub(super) fn in_use(config: &Value) -> Vec<String> {
    let fields = UNSUPPORTED.iter().flat_map(|(pattern, in_use)| {
        let found = field_path::find(config, pattern).into_iter();
        found.filter_map(|(path, value)| path_in_use(path, value, *in_use))
    });
    fields.collect()
}

fn path_in_use(path: String, value: &Value, in_use: InUseIf) -> Option<String> {
    match in_use {
        Set => is_set(value).then_some(path),
        AnyMember => has_members(value).then_some(path),
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
                "namespaces": [{"type": "pid"}, {"type": "cgroup"}],
            },
            "mounts": [{"options": ["rbind", "ro"]}],
        });
        assert_eq!(in_use(&config), [""; 0]);
    }

    #[test]
    fn all_are_named_in_the_order_of_the_table() {
        let config = json!({
            "linux": {"mountLabel": "a", "intelRdt": {"closID": "a"}},
            "process": {"selinuxLabel": "a"},
        });
        let all = ["process.selinuxLabel", "linux.mountLabel", "linux.intelRdt"];
        assert_eq!(in_use(&config), all);
    }
}
