//! Finds the examples: in Markdown, in the text of the manual pages, and in the help.

use std::fs;
use std::path::Path;

use crate::harness::Runtime;

#[allow(dead_code, reason = "only the examples are read here")]
#[path = "../../../../examples/pages/text.rs"]
mod text;

/// Command lines that belong together, in their order.
#[derive(Clone)]
pub(super) struct Block {
    /// The file or the page, for messages.
    pub(super) place: String,
    pub(super) lines: Vec<String>,
}

/// The examples of one document, in their order.
pub(super) type Page = Vec<Block>;

/// A fenced block whose language is no shell's.
pub(super) struct Snippet {
    pub(super) place: String,
    pub(super) language: String,
    pub(super) text: String,
}

/// README.md and the other documents that a user reads, by their paths, with their text.
pub(super) fn documents() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(top.join("docs")).expect("read docs");
    let docs = docs.map(|entry| entry.expect("read docs").file_name());
    let docs = docs.map(|name| format!("docs/{}", name.to_string_lossy()));
    let mut paths: Vec<String> = docs.filter(|path| path.ends_with(".md")).collect();
    paths.sort();
    let above = ["README.md", "CONTRIBUTING.md", "SECURITY.md"];
    let paths = above.into_iter().map(str::to_owned).chain(paths);
    let read = |path: String| {
        let text = fs::read_to_string(top.join(&path));
        let text = text.unwrap_or_else(|e| panic!("{path}: {e}"));
        (path, text)
    };
    paths.map(read).collect()
}

/// The examples of a document: its indented blocks, and its fenced ones without a language.
pub(super) fn in_markdown(name: &str, text: &str) -> Page {
    let mut blocks = Vec::new();
    for block in blocks_of(text).filter(|block| block.language.is_none()) {
        let lines = command_lines(&block.lines.join("\n"));
        let place = format!("{name}:{}", block.number);
        blocks.push(Block { place, lines });
    }
    blocks
}

/// The fenced blocks of a document that have a language.
pub(super) fn snippets(name: &str, text: &str) -> Vec<Snippet> {
    let snippet = |block: MarkdownBlock<'_>| {
        Some(Snippet {
            place: format!("{name}:{}", block.number),
            language: block.language?.to_owned(),
            text: block.lines.join("\n"),
        })
    };
    blocks_of(text).filter_map(snippet).collect()
}

/// The examples of the manual pages.
pub(super) fn in_manual_pages() -> Vec<Page> {
    let program = rt::command_line();
    let verbs = program.get_subcommands();
    let titles = verbs.map(|verb| format!("rt-{}", verb.get_name()));
    let page = |title: String| {
        let text = text::page_text(&title).unwrap_or_else(|| panic!("{title}: no text"));
        let block = |(_, commands): &(&str, &str)| Block {
            place: format!("{title}(1)"),
            lines: command_lines(commands),
        };
        text.examples.iter().map(block).collect()
    };
    titles.chain(["rt".to_owned()]).map(page).collect()
}

/// The lines of `--help` after `Example:`, of the program and of each command. Each is an example of its own.
pub(super) fn in_help(runtime: &Runtime) -> Vec<Page> {
    let program = rt::command_line();
    let verbs = program.get_subcommands().map(clap::Command::get_name);
    let commands = verbs
        .map(|verb| vec![verb, "--help"])
        .chain([vec!["--help"]]);
    let page = |command: Vec<&str>| {
        let help = runtime.call(&command).run().assert_ok().stdout;
        let block = |line: &str| Block {
            place: format!("rt {}", command.join(" ")),
            lines: command_lines(line),
        };
        examples_of_help(&help).into_iter().map(block).collect()
    };
    commands.map(page).collect()
}

/// The text behind `Example:` on its line, and the indented lines below it.
pub(super) fn examples_of_help(help: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut lines = help.lines();
    while let Some(line) = lines.next() {
        let words = ["Example:", "Examples:"];
        let rest = words.iter().find_map(|word| line.trim().strip_prefix(word));
        let Some(rest) = rest else { continue };
        let below = lines.clone().take_while(|line| line.starts_with(' '));
        let all = std::iter::once(rest).chain(below).map(str::trim);
        found.extend(all.filter(|line| !line.is_empty()));
    }
    found
}

/// The command lines of a block: joined where one goes on in the next, and without comments and messages.
pub(super) fn command_lines(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if let (true, Some(last)) = (goes_on, found.last_mut()) {
            *last = format!("{} {line}", last.trim_end_matches('\\').trim_end());
        } else if !line.is_empty() && !line.starts_with('#') && !is_message(line) {
            found.push(line.to_owned());
        }
        goes_on = line.ends_with(['\\', '|']);
    }
    found
}

/// Whether a line is what a program prints: `rt create: web: …`.
fn is_message(line: &str) -> bool {
    line.split(' ').take(2).any(|word| word.ends_with(':'))
}

/// An indented or a fenced block.
struct MarkdownBlock<'a> {
    /// Of the first line.
    number: usize,
    language: Option<&'a str>,
    lines: Vec<&'a str>,
}

fn blocks_of(text: &str) -> impl Iterator<Item = MarkdownBlock<'_>> {
    let mut lines = text.lines().zip(1..).peekable();
    let mut after_empty = true;
    std::iter::from_fn(move || {
        while let Some((line, number)) = lines.next() {
            let is_indented = line.starts_with("    ") && after_empty;
            after_empty = line.trim().is_empty();
            let (language, lines) = if let Some(language) = line.trim().strip_prefix("```") {
                let body = lines.by_ref().map(|(line, _)| line);
                let body = body.take_while(|line| line.trim() != "```").collect();
                ((!language.is_empty()).then_some(language), body)
            } else if is_indented {
                let mut body = vec![line];
                while let Some((line, _)) = lines.next_if(|(line, _)| line.starts_with("    ")) {
                    body.push(line);
                }
                (None, body)
            } else {
                continue;
            };
            return Some(MarkdownBlock {
                number,
                language,
                lines,
            });
        }
        None
    })
}
