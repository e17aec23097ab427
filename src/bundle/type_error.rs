//! Errors about values of the wrong type, in the terms of config.json.
//!
//! serde tells what it has found and what it has expected in terms of Rust: `invalid type: string
//! "sh", expected a sequence`. Its text is the only source of both, and never shown.

use anyhow::{Error, anyhow};

use super::examples::{self, Kind};
use super::field_path;
use super::known_values::unknown_value;
use super::walker::{Misfit, Segment};

/// The error to show for an error of deserialization.
pub(super) fn translate(misfit: Misfit) -> Error {
    let Place {
        path,
        pattern,
        mismatch,
    } = Place::of(&misfit.path);
    if let Some((found, wanted)) = mismatch {
        return anyhow!(
            "{path}: {found}; want {}",
            examples::wanted(wanted, &pattern)
        );
    }
    let text = misfit.error.to_string();
    if let Some((field, _)) = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
    {
        return anyhow!("{}: required", field_path::join(&path, field));
    }
    let reason = unknown_variant(&text)
        .or_else(|| wrong_type(&text, &pattern))
        .or_else(|| out_of_range(&text, &pattern));
    let reason = reason.unwrap_or_else(|| match examples::example(&pattern) {
        Some(example) => format!("not a valid value, such as {example}"),
        None => "not a valid value".to_owned(),
    });
    anyhow!("{path}: {reason}")
}

/// The place of an error in config.json.
#[derive(Default)]
struct Place {
    /// `mounts[3].options`
    path: String,
    /// `mounts[].options`. Names that the user chooses are `{}`.
    pattern: String,
    /// What is there and what is wanted, if serde reads a list as an object, or an object as a
    /// name, and then fails at a part of it.
    mismatch: Option<(&'static str, Kind)>,
}

impl Place {
    fn of(segments: &[Segment]) -> Place {
        let mut place = Place::default();
        for segment in segments {
            match segment {
                Segment::Item(_) if examples::is_object(&place.pattern) => {
                    place.mismatch = Some(("a list", Kind::Object));
                    break;
                }
                Segment::Item(index) => {
                    place.path = format!("{}[{index}]", place.path);
                    place.pattern.push_str("[]");
                }
                Segment::Member(key) => {
                    place.path = field_path::join(&place.path, key);
                    place.pattern = if examples::has_free_names(&place.pattern) {
                        format!("{}{{}}", place.pattern)
                    } else {
                        field_path::join(&place.pattern, key)
                    };
                }
                Segment::Variant => {
                    place.mismatch = Some(("an object", Kind::Text));
                    break;
                }
            }
        }
        place
    }
}

/// `` unknown variant `nett`, expected one of `mount`, `cgroup` ``
fn unknown_variant(text: &str) -> Option<String> {
    let rest = text.strip_prefix("unknown variant `")?;
    let (given, known) = rest.rsplit_once("`, expected ")?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    Some(unknown_value(given, &known))
}

/// `` invalid type: string "sh", expected a sequence ``, and `` invalid length 1, expected struct
/// Root with 2 elements `` for a list in place of an object.
fn wrong_type(text: &str, pattern: &str) -> Option<String> {
    let (found, expected) = match text.strip_prefix("invalid type: ") {
        Some(rest) => rest.rsplit_once(", expected ")?,
        None if text.starts_with("invalid length ") => ("sequence", "a map"),
        None if text.starts_with("invalid value: map, ") => ("map", "a string"),
        None => return None,
    };
    let wanted = match expected {
        "a boolean" => Kind::Boolean,
        "a sequence" => Kind::List,
        "a map" => Kind::Object,
        "a string" | "path string" | "string or map" | "unit" => Kind::Text,
        number if bounds(number).is_some() => Kind::Number,
        structure if structure.starts_with("struct ") => Kind::Object,
        _ => return None,
    };
    let found = match found.split_once(' ').map_or(found, |(kind, _)| kind) {
        "string" => "a string",
        // Such as 1.5, and numbers of more than 64 bits.
        "floating" if wanted == Kind::Number => in_backticks(found)?,
        "integer" | "floating" => "a number",
        "boolean" => in_backticks(found)?,
        "sequence" => "a list",
        "map" => "an object",
        "null" | "unit" => "null",
        _ => return None,
    };
    Some(format!(
        "{found}; want {}",
        examples::wanted(wanted, pattern)
    ))
}

/// `` invalid value: integer `-1`, expected u32 ``
fn out_of_range(text: &str, pattern: &str) -> Option<String> {
    let rest = text.strip_prefix("invalid value: integer ")?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let (least, most) = examples::range(pattern).or_else(|| bounds(expected))?;
    let number = in_backticks(found)?;
    Some(format!("{number} is not between {least} and {most}"))
}

/// The least and the greatest value of an integer type.
fn bounds(integer: &str) -> Option<(i128, i128)> {
    Some(match integer {
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" | "usize" => (0, u64::MAX.into()),
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}

fn in_backticks(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}
