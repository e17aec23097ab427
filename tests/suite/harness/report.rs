//! What the probe saw, with the questions that tests ask most.

use std::ops::Index;

use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Report(Value);

impl Report {
    #[track_caller]
    pub(crate) fn parse(said: &str) -> Self {
        let line = said.lines().last().unwrap_or_default();
        Self(
            serde_json::from_str(line).unwrap_or_else(|e| panic!("report is no JSON: {e}: {said}")),
        )
    }

    /// All mounts, in the order of mountinfo: by age, which need not be the order of the config.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        self.0["mounts"]
            .as_array()
            .into_iter()
            .flatten()
            .cloned()
            .map(Mount)
            .collect()
    }

    /// The mount that is visible at this place: the one that no other covers.
    #[track_caller]
    pub(crate) fn mount(&self, place: &str) -> Mount {
        let all = self.mounts_at(place);
        let parents: Vec<String> = all
            .iter()
            .map(|mount| mount.text("parent").to_owned())
            .collect();
        let covered = |mount: &Mount| parents.iter().any(|parent| parent == mount.text("id"));
        let found = all.into_iter().find(|mount| !covered(mount));
        found.unwrap_or_else(|| panic!("nothing is mounted on {place}: {}", self.0["mounts"]))
    }

    /// All that is mounted at this place, one over the other.
    pub(crate) fn mounts_at(&self, place: &str) -> Vec<Mount> {
        self.mounts()
            .into_iter()
            .filter(|mount| mount.place() == place)
            .collect()
    }

    pub(crate) fn has_mount(&self, place: &str) -> bool {
        self.mounts().iter().any(|mount| mount.place() == place)
    }

    /// The sorted names in one of the five sets.
    pub(crate) fn capabilities(&self, set: &str) -> Vec<String> {
        strings(&self.0["capabilities"][set])
    }

    /// A value of the environment, if set.
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        let all = strings(&self.0["env"]);
        let mut values = all.iter().filter_map(|entry| entry.split_once('='));
        values
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }

    /// What the probe answered to one of the questions that it was given beside the report.
    #[track_caller]
    pub(crate) fn asked(&self, question: &str) -> &str {
        let answer = self.0["asked"][question].as_str();
        answer.unwrap_or_else(|| panic!("not asked: {question}"))
    }

    /// The inode of a namespace, `pid:[4026531836]`.
    pub(crate) fn namespace(&self, kind: &str) -> String {
        self.0["namespaces"][kind]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl Index<&str> for Report {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.0[key]
    }
}

/// One line of mountinfo as the probe parsed it.
pub(crate) struct Mount(Value);

impl Mount {
    pub(crate) fn place(&self) -> &str {
        self.text("mountpoint")
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("type")
    }

    pub(crate) fn source(&self) -> &str {
        self.text("source")
    }

    /// Which part of its file system is mounted.
    pub(crate) fn root(&self) -> &str {
        self.text("root")
    }

    /// Whether the mount or its superblock has this option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options().iter().any(|o| o == option)
            || self.super_options().iter().any(|o| o == option)
    }

    /// The options of the mount itself.
    pub(crate) fn options(&self) -> Vec<String> {
        strings(&self.0["options"])
    }

    pub(crate) fn super_options(&self) -> Vec<String> {
        strings(&self.0["super_options"])
    }

    /// `shared:N`, `master:N`, `unbindable`; empty when private.
    pub(crate) fn propagation(&self) -> String {
        strings(&self.0["propagation"]).join(" ")
    }

    #[track_caller]
    pub(crate) fn assert_options(&self, options: &[&str]) {
        for option in options {
            assert!(
                self.has(option),
                "no {option} on {}: {}",
                self.place(),
                self.0
            );
        }
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
