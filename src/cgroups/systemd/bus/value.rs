//! Values of D-Bus, as far as calls of systemd's manager need them, and how they are written.

/// A value, and the type that it has on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups::systemd) enum Value {
    Bool(bool),
    U32(u32),
    U64(u64),
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `as`
    Texts(Vec<String>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(sv)`
    Properties(Vec<Property>),
    /// `a(sa(sv))`: other units that a transient unit brings with it. There are none.
    NoUnits,
}

/// A property of a unit: `CPUWeight`, 100.
pub(in crate::cgroups::systemd) type Property = (String, Value);

/// Makes a property.
pub(in crate::cgroups::systemd) fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

impl Value {
    pub(in crate::cgroups::systemd) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// The type (D-Bus specification, "Type System").
    pub(super) fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::U32(_) => "u",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::Bytes(_) => "ay",
            Value::Numbers(_) => "au",
            Value::Texts(_) => "as",
            Value::Pairs(_) => "a(ss)",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        match self {
            Value::Bool(value) => to.u32(u32::from(*value)),
            Value::U32(value) => to.u32(*value),
            Value::U64(value) => to.u64(*value),
            Value::Text(text) => to.text(text),
            Value::Bytes(bytes) => to.array(1, |to| to.0.extend_from_slice(bytes)),
            Value::Numbers(all) => to.array(4, |to| all.iter().for_each(|one| to.u32(*one))),
            Value::Texts(all) => to.array(4, |to| all.iter().for_each(|one| to.text(one))),
            Value::Pairs(all) => to.array(8, |to| {
                for (first, second) in all {
                    to.align(8);
                    to.text(first);
                    to.text(second);
                }
            }),
            Value::Properties(all) => to.array(8, |to| {
                for (name, value) in all {
                    to.align(8);
                    to.text(name);
                    to.signature(value.signature());
                    value.write(to);
                }
            }),
            Value::NoUnits => to.array(8, |_| {}),
        }
    }
}

/// Bytes of a message, little-endian. Every part starts at a multiple of its alignment, counted
/// from the start of the message.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    /// An array whose elements have this alignment. Its length comes first, and does not count
    /// the padding before the first element.
    pub(super) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let written = (self.0.len() - start) as u32;
        self.0[length..length + 4].copy_from_slice(&written.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut writer = Writer::default();
        value.write(&mut writer);
        writer.0
    }

    #[test]
    fn values_are_written_as_the_specification_says() {
        assert_eq!(bytes(&Value::Bool(true)), [1, 0, 0, 0]);
        assert_eq!(bytes(&Value::U64(258)), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&Value::text("ab")), [2, 0, 0, 0, b'a', b'b', 0]);
        assert_eq!(bytes(&Value::Bytes(vec![5])), [1, 0, 0, 0, 5]);
        assert_eq!(bytes(&Value::Numbers(vec![7])), [4, 0, 0, 0, 7, 0, 0, 0]);
        // An empty array of structures still has the padding before the first one.
        assert_eq!(bytes(&Value::NoUnits), [0; 8]);
        let property = Value::Properties(vec![property("n", Value::U32(9))]);
        let expected = [
            16, 0, 0, 0, 0, 0, 0, 0, // Length, padding.
            1, 0, 0, 0, b'n', 0, 1, b'u', 0, 0, 0, 0, 9, 0, 0, 0,
        ];
        assert_eq!(bytes(&property), expected);
    }
}
