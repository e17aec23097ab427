//! The requirements of a document: its sentences with MUST, REQUIRED or SHALL, as plain text.

/// A sentence that requires something, and where it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Requirement {
    /// The heading above it.
    pub(super) section: String,
    /// The names of the properties that the sentence is about, such as `prestart.path`, a colon, and the whole
    /// sentence without links and emphasis.
    pub(super) text: String,
}

/// A paragraph, an item of a list, or a cell of a table.
#[derive(Default)]
struct Block {
    names: Vec<String>,
    text: String,
}

/// An item of a list whose paragraphs are being read.
struct Item {
    /// The column of its marker.
    indent: usize,
    /// The property that it defines, or nothing.
    name: String,
}

/// Reads a document of the specification, which is written in Markdown.
pub(super) fn requirements(document: &str) -> Vec<Requirement> {
    let mut reader = Reader::default();
    let mut is_code = false;
    for line in document.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            is_code = !is_code;
            reader.end_block();
        } else if is_code || trimmed.is_empty() {
            reader.end_block();
        } else if let Some(heading) = trimmed.strip_prefix('#') {
            reader.end_block();
            reader.items.clear();
            reader.section = plain(heading.trim_start_matches('#'));
        } else if is_row(trimmed) {
            reader.end_block();
            reader.row(trimmed);
        } else {
            reader.line(line);
        }
    }
    reader.end_block();
    reader.found
}

#[derive(Default)]
struct Reader {
    section: String,
    items: Vec<Item>,
    block: Block,
    found: Vec<Requirement>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let indent = line.len() - line.trim_start().len();
        let is_continued = !self.block.text.is_empty();
        let Some(content) = item(line.trim_start()) else {
            if !is_continued {
                self.items.retain(|item| item.indent < indent);
                self.block.names = self.names();
            }
            self.block.text += " ";
            self.block.text += line.trim();
            return;
        };
        self.end_block();
        self.items.retain(|item| item.indent < indent);
        let (name, rest) = definition(content);
        self.items.push(Item { indent, name });
        self.block.names = self.names();
        rest.clone_into(&mut self.block.text);
    }

    /// The properties that the open items define, the outermost first.
    fn names(&self) -> Vec<String> {
        let names = self.items.iter().map(|item| item.name.clone());
        names.filter(|name| !name.is_empty()).collect()
    }

    /// A row of a table is about what its first cell names.
    fn row(&mut self, row: &str) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        for cell in &cells[1..] {
            let names = vec![plain(cells[0]).replace('`', "")];
            let text = (*cell).to_owned();
            self.block = Block { names, text };
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Block { names, text } = std::mem::take(&mut self.block);
        for sentence in sentences(&plain(&text)) {
            if keywords(sentence) == 0 {
                continue;
            }
            let about = names.join(".");
            let colon = if about.is_empty() { "" } else { ": " };
            self.found.push(Requirement {
                section: self.section.clone(),
                text: format!("{about}{colon}{sentence}"),
            });
        }
    }
}

fn is_row(line: &str) -> bool {
    line.contains(" | ") && line.contains('`')
}

/// What follows the marker of an item: `* ` or `1. `.
fn item(line: &str) -> Option<&str> {
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = (digits.len() < line.len()).then_some(digits);
    let numbered = numbered.and_then(|rest| rest.strip_prefix(". "));
    numbered
        .or_else(|| line.strip_prefix("* "))
        .or_else(|| line.strip_prefix("- "))
        .map(str::trim)
}

/// Splits `` **`name`** (string) text `` into the name and the rest. Other text has no name.
fn definition(content: &str) -> (String, &str) {
    let bold = content.strip_prefix("**").and_then(|c| c.split_once("**"));
    match bold {
        Some((name, rest)) => (name.replace('`', ""), rest),
        None => (String::new(), content),
    }
}

/// How often a text says MUST, REQUIRED or SHALL.
pub(super) fn keywords(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_ascii_alphabetic());
    words
        .filter(|word| ["MUST", "REQUIRED", "SHALL"].contains(word))
        .count()
}

/// The text without links, emphasis, tags and footnotes.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '[', '*', '<']) {
        out += &rest[..at];
        let (first, after) = rest[at..].split_at(1);
        let (kept, left) = match first {
            "`" => match after.split_once('`') {
                Some((code, left)) => (format!("`{code}`"), left),
                None => ("`".to_owned(), after),
            },
            "[" if after.starts_with('^') => {
                out.truncate(out.trim_end().len());
                (String::new(), link(after).1)
            }
            "[" => link(after),
            "<" => (
                String::new(),
                after.split_once('>').map_or("", |(_, left)| left),
            ),
            _ => (String::new(), after),
        };
        out += &kept;
        rest = left;
    }
    out += rest;
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a link shows, and what follows it. `after` begins behind its bracket.
fn link(after: &str) -> (String, &str) {
    let mut is_code = false;
    let end = after.find(|c: char| {
        is_code ^= c == '`';
        c == ']' && !is_code
    });
    let Some(end) = end else {
        return ("[".to_owned(), after);
    };
    let (shown, left) = (&after[..end], &after[end + 1..]);
    let closing = match left.chars().next() {
        Some('(') => left.find(')'),
        Some('[') => left.find(']'),
        _ => None,
    };
    let left = closing.map_or(left, |closing| &left[closing + 1..]);
    (plain(shown), left)
}

/// Splits a paragraph behind each full stop that something other than a small letter follows.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(". ") {
        let sentence = &text[start..=at];
        let starts_small = text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
        let is_short_form = ["e.g.", "i.e.", "Std."]
            .iter()
            .any(|s| sentence.ends_with(s));
        if !starts_small && !is_short_form {
            found.push(sentence.trim());
            start = at + 2;
        }
    }
    found.push(text[start..].trim());
    found
}
