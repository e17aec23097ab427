//! Finds properties that the specification does not define, such as misspelt ones.

use std::cell::RefCell;

use oci_spec::runtime::Spec;
use serde_json::Value;

use super::values;
use super::walker::{Segment, record_unknown};

/// How many invalid values are skipped. Each costs another pass.
const MAX_INVALID: usize = 32;

/// One sentence for each unknown property of `config`: `process.capabilites: unknown property; did you
/// mean "capabilities"?`. Unknown properties are legal, and are ignored (config.md, "Extensibility").
pub(super) fn find(config: &Value) -> Vec<String> {
    let mut config = config.clone();
    values::drop_unset(&mut config);
    values::normalize(&mut config);
    let found = RefCell::new(Vec::new());
    for _ in 0..MAX_INVALID {
        let Err(misfit) = record_unknown::<Spec>(&config, &found) else {
            break;
        };
        // The walk ends at an invalid value. It goes on without that value.
        if remove(&mut config, &misfit.path).is_none() {
            break;
        }
    }
    found.into_inner()
}

/// Removes the value at a path. `None` if there is none.
fn remove(config: &mut Value, path: &[Segment]) -> Option<()> {
    let mut path = path;
    // The object in place of a name is removed as a whole.
    if let [parents @ .., Segment::Variant] = path {
        path = parents;
    }
    let (last, parents) = path.split_last()?;
    let parent = (parents.iter()).try_fold(config, |value, segment| match segment {
        Segment::Item(index) => value.get_mut(index),
        Segment::Member(name) => value.get_mut(name),
        Segment::Variant => None,
    })?;
    match (last, parent) {
        // The other items keep their positions, and so their paths. `Items` skips it.
        (Segment::Item(index), Value::Array(items)) => *items.get_mut(*index)? = Value::Null,
        (Segment::Member(name), Value::Object(members)) => drop(members.remove(name)?),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::field_path;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_misspelt_property_is_named_with_the_nearest_of_its_object() {
        let config = json!({
            "ociVersion": "1.3.0", "hostName": "a", "x": 1,
            "process": {"args": ["a"], "cwd": "/", "capabilites": {"bounding": []}, "user": {"uuid": 0}},
            "mounts": [{"destination": "/a"}, {"destinaton": "/b", "capabilities": 3}],
            "annotations": {"capabilites": ""},
            "linux": {"sysctl": {"capabilites": ""}, "unified": 1},
        });
        let expected = [
            "hostName: unknown property; did you mean \"hostname\"?",
            "x: unknown property",
            "linux.unified: unknown property",
            "mounts[1].capabilities: unknown property",
            "mounts[1].destinaton: unknown property; did you mean \"destination\"?",
            "process.capabilites: unknown property; did you mean \"capabilities\"?",
            "process.user.uuid: unknown property; did you mean \"uid\"?",
        ];
        assert_eq!(find(&config), expected);
    }

    #[test]
    fn an_invalid_value_hides_no_other() {
        let config = json!({
            "linux": {"namespaces": [{"type": "none"}, {"type": "pid", "paht": "/a"}], "maskedPath": []},
            "process": {"cwd": 3, "noNewPrivilege": true},
            "root": "rootfs",
        });
        let mut found = find(&config);
        found.sort();
        let expected = [
            "linux.maskedPath: unknown property; did you mean \"maskedPaths\"?",
            "linux.namespaces[1].paht: unknown property; did you mean \"path\"?",
            "process.noNewPrivilege: unknown property; did you mean \"noNewPrivileges\"?",
        ];
        assert_eq!(found, expected);
    }

    /// An example of each property that a JSON schema defines.
    fn example(schema: &Value, file: &str, files: &dyn Fn(&str) -> Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let (name, pointer) = reference.split_once('#').unwrap();
            let name = if name.is_empty() { file } else { name };
            let target = files(name);
            // The schemas of other platforms are not there.
            let target = target.pointer(pointer);
            return target.map_or(json!({}), |target| example(target, name, files));
        }
        let all = |list: &str| schema[list].as_array().into_iter().flatten();
        let mut examples = all("allOf").chain(all("anyOf")).chain(all("oneOf"));
        if let Some(first) = examples.next() {
            return example(first, file, files);
        }
        if let Some(properties) = schema["properties"].as_object() {
            let members = properties
                .iter()
                .map(|(name, schema)| (name.clone(), example(schema, file, files)));
            return Value::Object(members.collect());
        }
        let value = || Some(schema["enum"].as_array()?.first()?.clone());
        match schema["type"].as_str() {
            _ if value().is_some() => value().unwrap(),
            Some("array") => json!([example(&schema["items"], file, files)]),
            Some("integer") => json!(schema["minimum"].as_i64().unwrap_or(0).max(1)),
            Some("boolean") => json!(true),
            Some("object") => json!({}),
            _ => json!("x"),
        }
    }

    /// Adds an unknown property to each object that has known ones, and the sentence about it to `all`.
    fn spoil(value: &mut Value, path: &str, all: &mut Vec<String>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, member) in members.iter_mut() {
                    spoil(member, &field_path::join(path, name), all);
                }
                let place = field_path::join(path, "0123456789");
                members.insert("0123456789".to_owned(), json!(1));
                all.push(format!("{place}: unknown property"));
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    spoil(item, &format!("{path}[{index}]"), all);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn no_property_of_the_specification_is_unknown() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/spec");
        if !directory.exists() {
            eprintln!("skipped: the specification is not beside the repository");
            return;
        }
        let read = |name: &str| {
            let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
            serde_json::from_str::<Value>(&text).unwrap_or_default()
        };
        let name = "config-schema.json";
        let mut config = example(&read(name), name, &read);
        let text = serde_json::to_string(&config).unwrap();
        for property in [
            "hugepageLimits",
            "memoryPolicy",
            "schemata",
            "startContainer",
        ] {
            assert!(text.contains(property), "{property} is not in {text}");
        }
        assert_eq!(find(&config), [""; 0]);
        // The walk reaches every object.
        let mut all = Vec::new();
        spoil(&mut config, "", &mut all);
        // Names of clocks are no properties: another one is an error.
        all.retain(|line| line != "linux.timeOffsets.0123456789: unknown property");
        let mut found = find(&config);
        found.sort();
        all.sort();
        assert_eq!(found, all);
    }
}
