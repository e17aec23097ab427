//! config.json under construction: the template that `spec` writes, changed by JSON pointers.

use serde_json::{Value, json};

/// runc's `spec` without a terminal and without ambient capabilities.
const TEMPLATE: &str = include_str!("template.json");

#[derive(Clone)]
pub(crate) struct Config(pub(crate) Value);

impl Config {
    pub(crate) fn template() -> Self {
        Self::parse(TEMPLATE)
    }

    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|e| panic!("parse the config: {e}")))
    }

    pub(crate) fn get(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Sets the value at a JSON pointer, making objects on the way; `-` appends to an array.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        let mut at = &mut self.0;
        for key in pointer.split('/').skip(1) {
            at = child(at, key);
        }
        *at = value;
    }

    /// Removes what a JSON pointer names, if it is there.
    pub(crate) fn remove(&mut self, pointer: &str) {
        let Some((parent, key)) = pointer.rsplit_once('/') else {
            return;
        };
        match self.0.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(key)),
            Some(Value::Array(items)) => {
                if let Ok(index) = key.parse() {
                    items.remove(index);
                }
            }
            _ => {}
        }
    }

    /// The items of an array, empty when there is none.
    pub(crate) fn items(&self, pointer: &str) -> &[Value] {
        self.get(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    /// Keeps the items of an array for which `keep` holds.
    pub(crate) fn retain(&mut self, pointer: &str, keep: impl Fn(&Value) -> bool) {
        if let Some(Value::Array(items)) = self.0.pointer_mut(pointer) {
            items.retain(keep);
        }
    }
}

fn child<'a>(at: &'a mut Value, key: &str) -> &'a mut Value {
    if key == "-" && at.is_null() {
        *at = json!([]);
    }
    let Value::Array(items) = at else {
        return &mut at[key];
    };
    let index = match key {
        "-" => {
            items.push(Value::Null);
            items.len() - 1
        }
        _ => key
            .parse()
            .unwrap_or_else(|_| panic!("{key} is no index of an array")),
    };
    &mut items[index]
}
