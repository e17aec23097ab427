//! The differences between the process of `rt exec` and the container's `process`.

use serde_json::{Map, Value, json};

/// The values that replace or extend those of the container's `process`. An empty field changes
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessOverrides {
    pub(crate) args: Vec<String>,
    /// Replaces the container's value even if it is `false`.
    pub(crate) terminal: bool,
    pub(crate) cwd: Option<String>,
    /// `NAME=value`; each one overrides a variable of the container's process.
    pub(crate) env: Vec<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Added to the groups of the container's process.
    pub(crate) additional_gids: Vec<u32>,
    /// Added to the capabilities of the container's process. Names begin with `CAP_`.
    pub(crate) capabilities: Vec<String>,
    pub(crate) apparmor: Option<String>,
    pub(crate) selinux_label: Option<String>,
    pub(crate) no_new_privileges: bool,
}

impl ProcessOverrides {
    /// Returns `process` with the changes.
    pub(crate) fn apply(self, mut process: Value) -> Value {
        let Some(members) = process.as_object_mut() else {
            return process;
        };
        members.insert("args".into(), json!(self.args));
        members.insert("terminal".into(), json!(self.terminal));
        let texts = [
            ("cwd", self.cwd),
            ("apparmorProfile", self.apparmor),
            ("selinuxLabel", self.selinux_label),
        ];
        for (name, text) in texts {
            members.extend(text.map(|text| (name.to_owned(), json!(text))));
        }
        if self.no_new_privileges {
            members.insert("noNewPrivileges".into(), json!(true));
        }
        append(members, "env", self.env);
        if !self.capabilities.is_empty() {
            change_object(members, "capabilities", |sets| {
                grant(sets, &self.capabilities)
            });
        }
        change_object(members, "user", |user| {
            for (name, id) in [("uid", self.uid), ("gid", self.gid)] {
                user.extend(id.map(|id| (name.to_owned(), json!(id))));
            }
            append(user, "additionalGids", self.additional_gids);
        });
        process
    }
}

/// Adds capabilities to the sets of a process. They never become inheritable (CVE-2022-29162),
/// and they become ambient only if the configuration's inheritable set is not empty.
fn grant(capabilities: &mut Map<String, Value>, names: &[String]) {
    let has_inheritable = capabilities
        .get("inheritable")
        .and_then(Value::as_array)
        .is_some_and(|set| !set.is_empty());
    for set in ["bounding", "effective", "permitted"] {
        append(capabilities, set, names.to_vec());
    }
    if has_inheritable {
        append(capabilities, "ambient", names.to_vec());
    }
}

fn append<T: Into<Value>>(members: &mut Map<String, Value>, name: &str, more: Vec<T>) {
    if more.is_empty() {
        return;
    }
    let list = members.entry(name).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.extend(more.into_iter().map(Into::into));
    }
}

/// Calls `change` with the object `name`, which is created if it is missing.
fn change_object(
    members: &mut Map<String, Value>,
    name: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) {
    let mut object = match members.remove(name) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    change(&mut object);
    members.insert(name.to_owned(), Value::Object(object));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Value {
        json!({
            "args": ["sh"], "cwd": "/", "terminal": true, "env": ["A=1"],
            "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
            "capabilities": {"bounding": ["CAP_KILL"]},
        })
    }

    #[test]
    fn a_field_without_a_change_keeps_its_value() {
        let changes = ProcessOverrides {
            args: vec!["ls".to_owned()],
            ..ProcessOverrides::default()
        };
        let mut expected = own();
        expected["args"] = json!(["ls"]);
        expected["terminal"] = json!(false);
        assert_eq!(changes.apply(own()), expected);
    }

    #[test]
    fn lists_are_extended_and_other_fields_are_replaced() {
        let changes = ProcessOverrides {
            args: vec!["ls".to_owned()],
            terminal: true,
            cwd: Some("/tmp".to_owned()),
            env: vec!["B=2".to_owned()],
            uid: Some(7),
            gid: None,
            additional_gids: vec![8],
            capabilities: vec!["CAP_CHOWN".to_owned()],
            apparmor: Some("a".to_owned()),
            selinux_label: None,
            no_new_privileges: true,
        };
        let expected = json!({
            "args": ["ls"], "cwd": "/tmp", "terminal": true, "env": ["A=1", "B=2"],
            "user": {"uid": 7, "gid": 2, "additionalGids": [3, 8]},
            "apparmorProfile": "a", "noNewPrivileges": true,
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"],
            },
        });
        assert_eq!(changes.apply(own()), expected);
    }

    #[test]
    fn added_capabilities_are_ambient_if_the_inheritable_set_is_not_empty() {
        let changes = ProcessOverrides {
            capabilities: vec!["CAP_CHOWN".to_owned()],
            ..ProcessOverrides::default()
        };
        let own = json!({"capabilities": {"inheritable": ["CAP_KILL"]}});
        let sets = &changes.apply(own)["capabilities"];
        assert_eq!(sets["ambient"], json!(["CAP_CHOWN"]));
        assert_eq!(sets["inheritable"], json!(["CAP_KILL"]));
    }
}
