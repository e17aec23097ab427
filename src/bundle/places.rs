//! Places in config.json: `mounts[].options` names several, `mounts[3].options` is one.

use serde_json::Value;

/// Every value at a pattern of names joined by dots, with its own place;
/// `name[]` stands for each item of a list, `name{}` for each value of a map.
/// What is missing, or is neither list nor map, has no places below it.
pub(super) fn at<'a>(config: &'a Value, pattern: &str) -> Vec<(String, &'a Value)> {
    let mut found = vec![(String::new(), config)];
    for part in pattern.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]").trim_end_matches("{}");
        found = found
            .into_iter()
            .filter_map(|(place, value)| Some((join(&place, name), value.get(name)?)))
            .flat_map(|(place, value)| below(part, place, value))
            .collect();
    }
    found
}

fn below<'a>(part: &str, place: String, value: &'a Value) -> Vec<(String, &'a Value)> {
    match (part.ends_with("[]"), part.ends_with("{}"), value) {
        (true, _, Value::Array(items)) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| (format!("{place}[{index}]"), item))
                .collect()
        }
        (_, true, Value::Object(members)) => {
            let members = members.iter();
            members
                .map(|(name, member)| (join(&place, name), member))
                .collect()
        }
        (false, false, value) => vec![(place, value)],
        _ => Vec::new(),
    }
}

/// The place of a member.
pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(config: &Value, pattern: &str) -> Vec<String> {
        at(config, pattern)
            .into_iter()
            .map(|(place, _)| place)
            .collect()
    }

    #[test]
    fn a_pattern_names_every_place() {
        let config = json!({
            "root": {"path": "/"},
            "mounts": [{"type": "bind"}, {}, {"type": "proc"}],
            "devices": {"eth0": {"name": "a"}},
        });
        assert_eq!(places(&config, "root.path"), ["root.path"]);
        assert_eq!(
            places(&config, "mounts[].type"),
            ["mounts[0].type", "mounts[2].type"]
        );
        assert_eq!(places(&config, "devices{}.name"), ["devices.eth0.name"]);
        assert_eq!(places(&config, ""), [""]);
    }

    #[test]
    fn what_has_another_type_has_no_places() {
        let config = json!({"root": 3, "mounts": {"a": 1}});
        assert!(places(&config, "root.path").is_empty());
        assert!(places(&config, "mounts[].type").is_empty());
        assert!(places(&config, "linux.namespaces[]").is_empty());
    }
}
