//! The fields of the specification that this version does not support.
//!
//! A configuration that uses one of them is refused with an error that names the field. A field
//! with an empty value is not in use. Remove a line when the feature is implemented.

use serde_json::Value;

use super::field_path;

/// The error names the first field in this order: `process`, `linux` in the order of the
/// specification.
const UNSUPPORTED: [&str; 2] = ["process.selinuxLabel", "linux.mountLabel"];

/// Whether this version supports a field, which is written as in the table.
pub(crate) fn is_supported(field: &str) -> bool {
    !is_in_table(field)
}

/// Whether the table has the field at this path, such as `linux.mountLabel`.
pub(super) fn is_in_table(path: &str) -> bool {
    UNSUPPORTED.contains(&path)
}

/// The paths of the fields in use that are not supported, in the order of the table.
pub(super) fn in_use(config: &Value) -> Vec<String> {
    let fields = UNSUPPORTED
        .iter()
        .flat_map(|pattern| field_path::find(config, pattern));
    let used = fields.filter(|(_, value)| !matches!(value, Value::Null));
    used.filter(|(_, value)| *value != "")
        .map(|(path, _)| path)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_in_use_are_named_in_the_order_of_the_table() {
        let config = json!({
            "linux": {"mountLabel": "a"},
            "process": {"terminal": false, "selinuxLabel": "a"},
        });
        assert_eq!(in_use(&config), UNSUPPORTED);
        let config = json!({"linux": {"mountLabel": ""}, "process": {"selinuxLabel": null}});
        assert_eq!(in_use(&config), [""; 0]);
    }
}
