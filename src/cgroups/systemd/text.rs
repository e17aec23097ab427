//! Values in the text format of GVariant (<https://docs.gtk.org/glib/gvariant-text-format.html>),
//! in which annotations hold them: `uint64 5`, `'text'`, `true`, `['a', 'b']`.

use super::bus::value::Value;

/// The type that a property has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    U32,
    U64,
    Text,
    Texts,
}

impl Type {
    /// An example, for error messages.
    pub(super) fn example(self) -> &'static str {
        match self {
            Type::Bool => "true",
            Type::U32 => "uint32 5",
            Type::U64 => "uint64 5",
            Type::Text => "'text'",
            Type::Texts => "['a.service', 'b.service']",
        }
    }
}

/// The words for types of integers, with their letters and largest values.
const INTEGERS: [(&str, &str, u64); 7] = [
    ("byte", "@y", u8::MAX as u64),
    ("int16", "@n", i16::MAX as u64),
    ("uint16", "@q", u16::MAX as u64),
    ("int32", "@i", i32::MAX as u64),
    ("uint32", "@u", u32::MAX as u64),
    ("int64", "@x", i64::MAX as u64),
    ("uint64", "@t", u64::MAX),
];

/// Reads a value of the type `kind`. `None` when the text is none. A number may be of any type of
/// integers that holds it.
pub(super) fn parse(text: &str, kind: Type) -> Option<Value> {
    let text = text.trim();
    Some(match kind {
        Type::Bool => match without_type(text, &["boolean", "@b"]) {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return None,
        },
        Type::U32 => Value::U32(u32::try_from(integer(text)?).ok()?),
        Type::U64 => Value::U64(integer(text)?),
        Type::Text => {
            let (value, rest) = string(without_type(text, &["string", "@s"]))?;
            rest.is_empty().then_some(Value::Text(value))?
        }
        Type::Texts => Value::Texts(list(without_type(text, &["@as"]))?),
    })
}

/// A number of seconds, which may have a fraction, as microseconds.
pub(super) fn parse_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(seconds) = integer(text) {
        return seconds.checked_mul(1_000_000);
    }
    let seconds: f64 = without_type(text, &["double", "@d"]).parse().ok()?;
    let microseconds = seconds * 1e6;
    (0.0..=9e18)
        .contains(&microseconds)
        .then_some(microseconds as u64)
}

/// The text after the name of its type, if that is one of `names`.
fn without_type<'a>(text: &'a str, names: &[&str]) -> &'a str {
    let named = text.split_once(char::is_whitespace);
    match named.filter(|(name, _)| names.contains(name)) {
        Some((_, value)) => value.trim_start(),
        None => text,
    }
}

/// An integer that is not negative: decimal, `0x1f` or `017`.
fn integer(text: &str) -> Option<u64> {
    let (text, max) = match text.split_once(char::is_whitespace) {
        Some((name, value)) => {
            let mut known = INTEGERS.iter();
            let (.., max) = known.find(|(word, letter, _)| [*word, *letter].contains(&name))?;
            (value.trim_start(), *max)
        }
        None => (text, u64::MAX),
    };
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None; // A sign.
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    (number <= max).then_some(number)
}

/// A string in quotes of either kind, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => return Some((value, text[at + 1..].trim_start())),
            '\\' => value.push(match characters.next()?.1 {
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            }),
            // No property holds one, and a message cannot hold NUL.
            _ if character.is_control() => return None,
            _ => value.push(character),
        }
    }
    None
}

/// `['a', 'b']`
fn list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut all = Vec::new();
    while !rest.starts_with(']') {
        let (value, after) = string(rest)?;
        all.push(value);
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.starts_with(']') => after,
            None => return None,
        };
    }
    (rest == "]").then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let text = |text: &str| Some(Value::text(text));
        let texts =
            |all: &[&str]| Some(Value::Texts(all.iter().map(|it| it.to_string()).collect()));
        for (given, kind, expected) in [
            ("true", Type::Bool, Some(Value::Bool(true))),
            (" boolean false ", Type::Bool, Some(Value::Bool(false))),
            ("1", Type::Bool, None),
            ("uint64 5", Type::U64, Some(Value::U64(5))),
            ("@t 0x10", Type::U64, Some(Value::U64(16))),
            ("017", Type::U64, Some(Value::U64(15))),
            ("0", Type::U64, Some(Value::U64(0))),
            ("byte 256", Type::U64, None),
            ("-5", Type::U64, None),
            ("+5", Type::U64, None),
            ("uint64 5 6", Type::U64, None),
            ("string 5", Type::U64, None),
            ("4294967296", Type::U32, None),
            ("'a\\'b'", Type::Text, text("a'b")),
            ("\"it's\"", Type::Text, text("it's")),
            ("string 'é'", Type::Text, text("é")),
            ("'a' 'b'", Type::Text, None),
            ("'a", Type::Text, None),
            ("a", Type::Text, None),
            ("'a\nb'", Type::Text, None),
            ("[]", Type::Texts, texts(&[])),
            ("@as ['a', \"b\"]", Type::Texts, texts(&["a", "b"])),
            ("['a' 'b']", Type::Texts, None),
            ("['a'] x", Type::Texts, None),
            ("", Type::Texts, None),
        ] {
            assert_eq!(parse(given, kind), expected, "{given:?}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        for (given, expected) in [
            ("uint64 2", Some(2_000_000)),
            ("5", Some(5_000_000)),
            ("0.5", Some(500_000)),
            ("double 1.5", Some(1_500_000)),
            ("-1", None),
            ("nan", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(parse_seconds(given), expected, "{given:?}");
        }
    }
}
