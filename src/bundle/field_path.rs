//! Paths of fields in config.json. The pattern `mounts[].options` matches several fields;
//! `mounts[3].options` is the path of one.

use serde_json::Value;

/// The values that match a pattern, each with its path. A pattern is a list of names joined by
/// dots; `name[]` matches each item of an array, `name{}` each value of an object. A field that is
/// missing or has another type matches nothing.
pub(super) fn find<'a>(config: &'a Value, pattern: &str) -> Vec<(String, &'a Value)> {
    let mut matches = vec![(String::new(), config)];
    for part in pattern.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]").trim_end_matches("{}");
        matches = matches
            .into_iter()
            .filter_map(|(path, value)| Some((join(&path, name), value.get(name)?)))
            .flat_map(|(path, value)| expand(part, path, value))
            .collect();
    }
    matches
}

fn expand<'a>(part: &str, path: String, value: &'a Value) -> Vec<(String, &'a Value)> {
    match (part.ends_with("[]"), part.ends_with("{}"), value) {
        (true, _, Value::Array(items)) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| (format!("{path}[{index}]"), item))
                .collect()
        }
        (_, true, Value::Object(members)) => {
            let members = members.iter();
            members
                .map(|(name, member)| (join(&path, name), member))
                .collect()
        }
        (false, false, value) => vec![(path, value)],
        _ => Vec::new(),
    }
}

/// The path of a member of the object at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(config: &Value, pattern: &str) -> Vec<String> {
        find(config, pattern)
            .into_iter()
            .map(|(path, _)| path)
            .collect()
    }

    #[test]
    fn a_pattern_matches_every_item() {
        let config = json!({
            "root": {"path": "/"},
            "mounts": [{"type": "bind"}, {}, {"type": "proc"}],
            "devices": {"eth0": {"name": "a"}},
        });
        assert_eq!(paths(&config, "root.path"), ["root.path"]);
        assert_eq!(
            paths(&config, "mounts[].type"),
            ["mounts[0].type", "mounts[2].type"]
        );
        assert_eq!(paths(&config, "devices{}.name"), ["devices.eth0.name"]);
        assert_eq!(paths(&config, ""), [""]);
    }

    #[test]
    fn a_missing_field_or_another_type_matches_nothing() {
        let config = json!({"root": 3, "mounts": {"a": 1}});
        assert!(paths(&config, "root.path").is_empty());
        assert!(paths(&config, "mounts[].type").is_empty());
        assert!(paths(&config, "linux.namespaces[]").is_empty());
    }
}
