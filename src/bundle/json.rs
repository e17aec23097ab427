//! Parses JSON, including values that serde_json cannot represent.
//!
//! Unknown properties are ignored whatever their values are (config.md, "Extensibility"). But
//! serde_json fails at deep nesting, at numbers beyond the range of `f64`, and at strings that are
//! not Unicode. A file with such values is parsed a second time with the values replaced.

use std::borrow::Cow;

use anyhow::{Error, anyhow};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Deepest nesting that is kept. No property of the specification is nested half as deep.
/// serde_json's own limit is 128.
const MAX_DEPTH: usize = 64;

/// Replaces numbers beyond the range of `f64`. It is not a valid value for any property of the
/// specification.
const LARGE_NUMBER: &str = "1e308";

/// Parses `text`. Errors begin with `name`.
///
/// # Errors
/// When `text` is not JSON: `config.json: line 3 column 7: expected value`.
pub(super) fn parse(text: &[u8], name: &str) -> Result<Value, Error> {
    let failed = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(failed) => failed,
    };
    // `IgnoredAny` checks the syntax at any depth and keeps no values.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(syntax_error(name, &error));
    }
    let readable = representable(&String::from_utf8_lossy(text));
    serde_json::from_str(&readable).map_err(|_| syntax_error(name, &failed))
}

fn syntax_error(name: &str, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let at = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&at).unwrap_or(&text);
    match text.strip_prefix("EOF while parsing ") {
        Some("a value") if line == 1 && column == 0 => anyhow!("{name}: is empty"),
        Some(part) => anyhow!("{name}: line {line} column {column}: the file ends within {part}"),
        None => anyhow!("{name}: line {line} column {column}: {text}"),
    }
}

/// Returns the same JSON without values below [`MAX_DEPTH`], with numbers clamped to the range of
/// `f64`, and with unpaired surrogates replaced by U+FFFD, as Go replaces them.
fn representable(json: &str) -> String {
    let mut readable = String::with_capacity(json.len());
    let mut depth = 0;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => number_length(rest),
            _ => first.len_utf8(),
        };
        let (token, remainder) = rest.split_at(length);
        rest = remainder;
        if matches!(first, ']' | '}') {
            depth -= 1;
        }
        if depth < MAX_DEPTH {
            readable.push_str(&match first {
                '"' => representable_string(token),
                '-' | '0'..='9' => representable_number(token),
                _ => Cow::Borrowed(token),
            });
        }
        if matches!(first, '[' | '{') {
            depth += 1;
        }
    }
    readable
}

/// Length in bytes of the string at the start of `json`, including both quotation marks.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

fn number_length(json: &str) -> usize {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    json.find(|c| !part(c)).unwrap_or(json.len())
}

fn representable_number(token: &str) -> Cow<'_, str> {
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() => Cow::Borrowed(token),
        _ if token.starts_with('-') => Cow::Owned(format!("-{LARGE_NUMBER}")),
        _ => Cow::Borrowed(LARGE_NUMBER),
    }
}

/// Replaces unpaired surrogates, which are not characters.
fn representable_string(token: &str) -> Cow<'_, str> {
    if serde_json::from_str::<Cow<str>>(token).is_ok() {
        return Cow::Borrowed(token);
    }
    let mut readable = String::with_capacity(token.len());
    let mut rest = token;
    while let Some(at) = rest.find('\\') {
        readable.push_str(&rest[..at]);
        rest = &rest[at..];
        let (unit, next) = (utf16(rest), rest.get(6..).and_then(utf16));
        let (replacement, length) = match (unit, next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&rest[..12], 12),
            (Some(0xd800..=0xdfff), _) => ("\\ufffd", 6),
            (Some(_), _) => (&rest[..6], 6),
            (None, _) => (&rest[..2], 2),
        };
        readable.push_str(replacement);
        rest = &rest[length..];
    }
    readable.push_str(rest);
    Cow::Owned(readable)
}

/// The UTF-16 code unit of an escape such as `\u0041` at the start of `escape`.
fn utf16(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_unknown_property(value: &str) -> Value {
        let text = format!(r#"{{"a": [1, "x"], "unknown": {value}, "b": {{"c": "\"\\"}}}}"#);
        parse(text.as_bytes(), "file").unwrap()
    }

    #[test]
    fn properties_after_an_unrepresentable_value_are_read() {
        let deep = |open: &str, close: &str| open.repeat(99_999) + "0" + &close.repeat(99_999);
        let values = [
            deep("[", "]"),
            deep(r#"{"":["#, "]}"),
            deep("[[],", "]"),
            deep(r#"["]\"[",{"x":1e999},"#, "]"),
            "1e400".to_owned(),
            "[-1e400, 1e-400, 123456789012345678901234567890]".to_owned(),
            r#"{"\ud800": "\udc00\ud83d\ude00\\ud800", "x": "\ud83dx\ud83d\n"}"#.to_owned(),
        ];
        for value in values {
            let parsed = with_unknown_property(&value);
            assert_eq!(parsed["a"], json!([1, "x"]));
            assert_eq!(parsed["b"], json!({"c": "\"\\"}));
        }
    }

    #[test]
    fn unrepresentable_values_are_replaced_by_the_nearest() {
        assert_eq!(
            with_unknown_property("[-1e400, 1e400, 7, 1.5e3]")["unknown"],
            json!([-1e308, 1e308, 7, 1.5e3])
        );
        assert_eq!(
            with_unknown_property(r#""\udc00A\ud83d\ude00\\ud800\ud83dx\n""#)["unknown"],
            json!("\u{fffd}A\u{1f600}\\ud800\u{fffd}x\n")
        );
        assert_eq!(
            parse(b"{\"a\": \"\xff\xc3\"}", "file").unwrap(),
            json!({"a": "\u{fffd}\u{fffd}"})
        );
    }

    #[test]
    fn every_syntax_error_is_reported() {
        let refused = |text: &str| parse(text.as_bytes(), "file").unwrap_err().to_string();
        assert_eq!(
            refused("{\"a\": 1e400,\n \"b\": }"),
            "file: line 2 column 7: expected value"
        );
        assert_eq!(refused(""), "file: is empty");
        assert_eq!(
            refused("{\"a\": [1,\n"),
            "file: line 2 column 0: the file ends within a value"
        );
        assert_eq!(
            refused("{\"a\": 1"),
            "file: line 1 column 7: the file ends within an object"
        );
        for text in [
            "[".repeat(200_000),
            "[".repeat(200) + "}" + &"]".repeat(199),
            r#"["\ud800", 1e400] x"#.to_owned(),
            r#"["\ud80"]"#.to_owned(),
            "[01e400]".to_owned(),
            "[1e400, \"a\nb\"]".to_owned(),
        ] {
            assert!(refused(&text).starts_with("file: line "), "{text:.40}");
        }
    }
}
