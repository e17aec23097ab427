//! JSON, written member by member in the given order.

/// An object that is being written. Its keys need no escapes.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Object {
        Object(String::from("{"))
    }

    /// A member whose value is JSON already.
    pub(super) fn json(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        for part in ["\"", key, "\":", value] {
            self.0.push_str(part);
        }
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.json(key, &value.to_string());
    }

    /// Left out when it is 0, as by Go's `omitempty`.
    pub(super) fn nonzero(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    /// Left out when it is empty.
    pub(super) fn numbers(&mut self, key: &str, values: &[u64]) {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        self.list(key, &values);
    }

    /// A list of JSON values. Left out when it is empty.
    pub(super) fn list(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.json(key, &format!("[{}]", values.join(",")));
        }
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
