//! JSON as text, read into values.
//!
//! A property that is not known here is ignored whatever it holds (config.md,
//! "Extensibility"), but the reader of values gives up at what it cannot
//! represent: nesting that would cost the stack, numbers beyond a float, text
//! that is no Unicode. Such a file is read a second time, with those replaced.

use std::borrow::Cow;

use anyhow::{Error, anyhow};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Nothing that the specification describes is nested half as deep. Below the
/// limit of serde_json, which is 128.
const DEEPEST: usize = 64;

/// What is beyond every float. As a float it is right for no property that the
/// specification describes.
const LARGEST: &str = "1e308";

/// # Errors
/// At what is no JSON: `config.json: line 3 column 7: expected value`.
pub(super) fn read(text: &[u8], name: &str) -> Result<Value, Error> {
    let failed = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(failed) => failed,
    };
    // This reads every syntax, to any depth, and keeps nothing.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(syntax(name, &error));
    }
    let readable = representable(&String::from_utf8_lossy(text));
    serde_json::from_str(&readable).map_err(|_| syntax(name, &failed))
}

fn syntax(name: &str, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let at = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&at).unwrap_or(&text);
    anyhow!("{name}: line {line} column {column}: {text}")
}

/// The same JSON, with what is nested too deep left out, and numbers and text
/// that no value can hold replaced by their neighbours, as Go replaces text.
fn representable(json: &str) -> String {
    let mut readable = String::with_capacity(json.len());
    let mut depth = 0;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => text_length(rest),
            '-' | '0'..='9' => number_length(rest),
            _ => first.len_utf8(),
        };
        let (token, others) = rest.split_at(length);
        rest = others;
        if matches!(first, ']' | '}') {
            depth -= 1;
        }
        if depth < DEEPEST {
            readable.push_str(&match first {
                '"' => text(token),
                '-' | '0'..='9' => number(token),
                _ => Cow::Borrowed(token),
            });
        }
        if matches!(first, '[' | '{') {
            depth += 1;
        }
    }
    readable
}

/// With both quotation marks.
fn text_length(json: &str) -> usize {
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

fn number(token: &str) -> Cow<'_, str> {
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() => Cow::Borrowed(token),
        _ if token.starts_with('-') => Cow::Owned(format!("-{LARGEST}")),
        _ => Cow::Borrowed(LARGEST),
    }
}

/// Replaces halves of surrogate pairs, which are no characters.
fn text(token: &str) -> Cow<'_, str> {
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

/// The unit of UTF-16 in `\u0041` at the beginning of `escape`.
fn utf16(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unknown(value: &str) -> Value {
        let text = format!(r#"{{"a": [1, "x"], "unknown": {value}, "b": {{"c": "\"\\"}}}}"#);
        read(text.as_bytes(), "file").unwrap()
    }

    #[test]
    fn what_follows_is_read_whatever_came_before() {
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
            let read = unknown(&value);
            assert_eq!(read["a"], json!([1, "x"]));
            assert_eq!(read["b"], json!({"c": "\"\\"}));
        }
    }

    #[test]
    fn replacements_are_the_nearest() {
        assert_eq!(
            unknown("[-1e400, 1e400, 7, 1.5e3]")["unknown"],
            json!([-1e308, 1e308, 7, 1.5e3])
        );
        assert_eq!(
            unknown(r#""\udc00A\ud83d\ude00\\ud800\ud83dx\n""#)["unknown"],
            json!("\u{fffd}A\u{1f600}\\ud800\u{fffd}x\n")
        );
        assert_eq!(
            read(b"{\"a\": \"\xff\xc3\"}", "file").unwrap(),
            json!({"a": "\u{fffd}\u{fffd}"})
        );
    }

    #[test]
    fn no_mistake_of_syntax_is_forgiven() {
        let refused = |text: &str| read(text.as_bytes(), "file").unwrap_err().to_string();
        assert_eq!(
            refused("{\"a\": 1e400,\n \"b\": }"),
            "file: line 2 column 7: expected value"
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
