//! The beginning of a JSON object that was cut off.

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The fields of the object in `text` before the first place that is no JSON.
pub(super) fn fields(text: &[u8]) -> Map<String, Value> {
    let mut found = Map::new();
    let read = serde_json::Deserializer::from_slice(text).deserialize_map(Fields(&mut found));
    // Where the object ends, whole or not, is all the same.
    drop(read);
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
            // Only what something follows is whole: a number may have gone on.
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
    fn what_comes_before_the_cut_is_found() {
        let whole = r#"{"id":"web","init_process_pid":7,"boot_id":"b"}"#;
        assert_eq!(fields(whole.as_bytes()).len(), 3);
        let cut = fields(&whole.as_bytes()[..whole.len() - 4]);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut["init_process_pid"], 7);
        let number = r#"{"id":"web","init_process_pid":7"#;
        assert_eq!(fields(number.as_bytes()).len(), 1);
    }

    #[test]
    fn what_is_no_object_has_none() {
        for text in [&b""[..], b"{", b"[]", b"null", &[0; 64], &[b'['; 100_000]] {
            assert!(fields(text).is_empty());
        }
    }
}
