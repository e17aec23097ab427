//! The text of a plan: what `rt` will do with a container, one decision a line, in the terms of
//! config.json, the kernel and the manual pages.
//!
//! Each feature module writes its part in a file `decisions.rs`. The text holds everything that
//! config.json, the command line and the host decide. It is for people, who read and compare it:
//! no program parses it.

use std::fmt::{Display, Write};

/// Lines of text, indented by group.
#[derive(Default)]
pub(crate) struct Decisions {
    text: String,
    depth: usize,
}

impl Decisions {
    /// Adds a line.
    pub(crate) fn line(&mut self, decision: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:1$}{decision}", "", 2 * self.depth);
    }

    /// Adds a line, and below it the lines of `members`.
    pub(crate) fn group(&mut self, heading: impl Display, members: impl FnOnce(&mut Decisions)) {
        self.line(heading);
        self.depth += 1;
        members(self);
        self.depth -= 1;
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A text of config.json as one word of a line: in quotes, with escapes, unless it consists of
/// ordinary characters. So it can neither look like several words, nor start a line of its own.
pub(crate) fn word(text: impl Display) -> String {
    let text = text.to_string();
    let is_ordinary = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !text.is_empty() && text.bytes().all(is_ordinary) {
        text
    } else {
        format!("{text:?}")
    }
}

/// The items with commas between them; `none` for an empty list.
pub(crate) fn list(items: impl IntoIterator<Item: Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_indented_below_their_heading() {
        let mut to = Decisions::default();
        to.group("a", |to| {
            to.line("b");
            to.group("c", |to| to.line(list([1, 2])));
        });
        to.line(list([""; 0]));
        assert_eq!(to.into_text(), "a\n  b\n  c\n    1, 2\nnone\n");
    }

    #[test]
    fn a_text_of_config_json_stays_one_word() {
        assert_eq!(word("/proc/sys,a=b"), "/proc/sys,a=b");
        for (text, quoted) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("a\n  user 0:0", r#""a\n  user 0:0""#),
            ("\u{1b}[2J\"\\", r#""\u{1b}[2J\"\\""#),
            ("\u{202e}x", r#""\u{202e}x""#),
        ] {
            assert_eq!(word(text), quoted);
        }
    }
}
