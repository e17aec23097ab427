//! What can still be read of a damaged `state.json`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::file::{Config, State, read_file};
use crate::process::SavedHooks;

impl State {
    /// The fields that can be read, if the file belongs to the container `id`. All other
    /// fields are those of a container that has no process and no cgroup.
    pub(crate) fn recover(directory: BorrowedFd, id: &str) -> State {
        let text = read_file(directory).ok().flatten().unwrap_or_default();
        let found = intact_fields(&text);
        let mut state = State::empty(id);
        if found.get("id").and_then(Value::as_str) != Some(id) {
            return state;
        }
        for (name, value) in found {
            let Ok(mut fields) = serde_json::to_value(&state) else {
                continue;
            };
            fields[name] = value;
            // A value of the wrong type is skipped.
            state = serde_json::from_str(&fields.to_string()).unwrap_or(state);
        }
        state
    }

    /// The state of a container that has left nothing on the host.
    fn empty(id: &str) -> State {
        State {
            id: id.to_owned(),
            init_process_pid: 0,
            creating: false,
            init_process_start: 0,
            boot_id: String::new(),
            created: String::new(),
            bundle: PathBuf::new(),
            owner: 0,
            annotations: BTreeMap::new(),
            config: Config {
                rootfs: PathBuf::new(),
            },
            layers: None,
            directories_created: Vec::new(),
            cgroup_paths: BTreeMap::new(),
            cgroups_created: Vec::new(),
            systemd: None,
            resctrl: None,
            namespace_paths: BTreeMap::new(),
            own_pid_namespace: false,
            restored: false,
            restore_directory: None,
            without_process: false,
            seccomp_agent: None,
            start_step_descriptions: Vec::new(),
            hooks: SavedHooks::default(),
            exec: None,
        }
    }
}

/// The fields of the JSON object in `text`, up to the first byte that is not JSON.
fn intact_fields(text: &[u8]) -> Map<String, Value> {
    let mut found = Map::new();
    let result = serde_json::Deserializer::from_slice(text).deserialize_map(Fields(&mut found));
    // An error is expected: the object may be cut off anywhere.
    drop(result);
    found
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut last = None;
        loop {
            let name = map.next_key::<String>()?;
            // A value is complete only if another token follows: a number may be cut off.
            if let Some((name, value)) = last.take()
                && self.0.insert(name, value).is_some()
            {
                return Err(A::Error::custom("a field is there twice"));
            }
            let Some(name) = name else {
                return Ok(());
            };
            last = Some((name, map.next_value()?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_before_the_cut_are_found() {
        let whole = r#"{"id":"web","init_process_pid":7,"boot_id":"b"}"#;
        assert_eq!(intact_fields(whole.as_bytes()).len(), 3);
        let cut = intact_fields(&whole.as_bytes()[..whole.len() - 4]);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut["init_process_pid"], 7);
        let number = r#"{"id":"web","init_process_pid":7"#;
        assert_eq!(intact_fields(number.as_bytes()).len(), 1);
    }

    #[test]
    fn text_that_is_not_an_object_has_no_fields() {
        for text in [&b""[..], b"{", b"[]", b"null", &[0; 64], &[b'['; 100_000]] {
            assert!(intact_fields(text).is_empty());
        }
    }
}
