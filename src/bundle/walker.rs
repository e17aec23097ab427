//! Reads a value of config.json into the types of the specification.
//!
//! serde's derived code tells a deserializer the properties of each object that it wants. [`Walker`]
//! reads a value as `serde_json` does, names the place of a value with the wrong type, and can record
//! the properties that are there and not wanted.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

use super::field_path;
use crate::nearest::nearest;

/// The sentence about `name` in the object at `path`, whose known properties are `known`. `None` if the
/// specification defines it.
fn sentence(path: &str, name: &str, known: &[&str]) -> Option<String> {
    if known.contains(&name) {
        return None;
    }
    let place = field_path::join(path, name);
    Some(match nearest(name, known.iter().copied()) {
        Some(known) => format!("{place}: unknown property; did you mean {known:?}?"),
        None => format!("{place}: unknown property"),
    })
}

/// One step of the way from the root of config.json to a value.
#[derive(Debug)]
pub(super) enum Segment {
    /// Into a property of an object.
    Member(String),
    /// Into an item of a list.
    Item(usize),
    /// Into an object that stands where a name is wanted.
    Variant,
}

/// A value that does not have the type that is wanted.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Where it is, from the root.
    pub(super) path: Vec<Segment>,
    pub(super) error: Error,
}

/// Reads `value` into a type of the specification.
///
/// # Errors
/// When a value in it has the wrong type.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    walk(value, None)
}

/// Reads `value` as [`read`] does, and records the unknown properties in `found`, one sentence each.
///
/// # Errors
/// When a value in it has the wrong type. What comes after it is not recorded then.
pub(super) fn record_unknown<T: DeserializeOwned>(
    value: &Value,
    found: &RefCell<Vec<String>>,
) -> Result<(), Misfit> {
    walk(value, Some(found)).map(|_: T| ())
}

fn walk<T: DeserializeOwned>(
    value: &Value,
    found: Option<&RefCell<Vec<String>>>,
) -> Result<T, Misfit> {
    let inside = RefCell::default();
    let walker = Walker {
        value,
        path: String::new(),
        found,
        inside: &inside,
    };
    T::deserialize(walker).map_err(|error| {
        let mut path = inside.take();
        path.reverse();
        Misfit { path, error }
    })
}

/// Deserializes a value. It can record the unknown properties in it.
///
/// All configurations are read with it: the code for the types of the specification would be there
/// twice with another deserializer, and it is a tenth of the program.
struct Walker<'a> {
    value: &'a Value,
    /// Where the value is in config.json. Empty if nothing is recorded.
    path: String,
    found: Option<&'a RefCell<Vec<String>>>,
    /// The way to the value that failed, innermost first. Empty until then.
    inside: &'a RefCell<Vec<Segment>>,
}

impl<'a> Walker<'a> {
    fn compare(&self, members: &Map<String, Value>, known: &[&str]) {
        let Some(found) = self.found else {
            return;
        };
        let names = members.keys();
        let mut found = found.borrow_mut();
        for sentence in names.filter_map(|name| sentence(&self.path, name, known)) {
            // An earlier pass may have found it.
            if !found.contains(&sentence) {
                found.push(sentence);
            }
        }
    }
}

impl<'de> Deserializer<'de> for Walker<'de> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Value::Object(members) = self.value {
            self.compare(members, fields);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Walker {
            value,
            path,
            found,
            inside,
        } = self;
        match value {
            Value::Object(members) => visitor.visit_map(Members {
                members: members.iter(),
                value: None,
                path,
                found,
                inside,
            }),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                path,
                found,
                inside,
            }),
            // `Value` could do the rest, but would bring the code for all types a second time.
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => number.deserialize_any(visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let read = self.value.deserialize_enum(name, variants, visitor);
        if read.is_err() && self.value.is_object() {
            self.inside.borrow_mut().push(Segment::Variant);
        }
        read
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Members<'a> {
    members: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
    path: String,
    found: Option<&'a RefCell<Vec<String>>>,
    inside: &'a RefCell<Vec<Segment>>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.members.next() else {
            return Ok(None);
        };
        self.value = Some((name, value));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, value) = self.value.take().unwrap_or(("", &Value::Null));
        let (found, inside) = (self.found, self.inside);
        let path = found.map_or_else(String::new, |_| field_path::join(&self.path, name));
        let walker = Walker {
            value,
            path,
            found,
            inside,
        };
        seed.deserialize(walker)
            .inspect_err(|_| inside.borrow_mut().push(Segment::Member(name.to_owned())))
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
    path: String,
    found: Option<&'a RefCell<Vec<String>>>,
    inside: &'a RefCell<Vec<Segment>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let (found, inside) = (self.found, self.inside);
        // `unknown::find` leaves null in the place of an invalid item.
        let is_there = |(_, item): &(usize, &Value)| found.is_none() || !item.is_null();
        let Some((index, value)) = self.items.find(is_there) else {
            return Ok(None);
        };
        let path = found.map_or_else(String::new, |_| format!("{}[{index}]", self.path));
        let walker = Walker {
            value,
            path,
            found,
            inside,
        };
        seed.deserialize(walker)
            .map(Some)
            .inspect_err(|_| inside.borrow_mut().push(Segment::Item(index)))
    }
}
