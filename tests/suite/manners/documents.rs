//! The examples of README, manual pages, help and docs do what they say.

mod decisions;
mod environment;
mod examples;
mod messages;
mod snippets;
mod test_results;

use crate::harness::{Runtime, needs, only_rt, trials};
use crate::runner::Test;
use decisions::Decision;
use examples::Page;

pub(super) fn tests() -> Vec<Test> {
    let mut all = trials![
        every_example_is_run_or_listed,
        examples_of_documents,
        examples_of_an_ordinary_user,
        examples_of_manual_pages,
        examples_of_help,
        examples_are_found,
    ];
    all.extend(messages::tests());
    all.extend(snippets::tests());
    all.extend(test_results::tests());
    all
}

/// Its examples are those of an ordinary user.
const ROOTLESS: &str = "docs/rootless.md";

/// The examples of the documents whose path fits.
fn in_documents(fits: impl Fn(&str) -> bool) -> Vec<Page> {
    let documents = examples::documents().into_iter();
    let documents = documents.filter(|(path, _)| fits(path));
    let pages = documents.map(|(path, text)| examples::in_markdown(&path, &text));
    pages.collect()
}

/// A new example must be one that can run here, or get a line in the list.
fn every_example_is_run_or_listed() {
    only_rt("the examples are those of rt");
    let help = examples::in_help(&Runtime::new());
    let pages = [in_documents(|_| true), examples::in_manual_pages(), help].concat();
    let mut lines = Vec::new();
    let mut undecided = Vec::new();
    for block in pages.into_iter().flatten() {
        for line in block.lines {
            if decisions::decide(&line) == Decision::Undecided {
                undecided.push(format!("{}: {line}", block.place));
            }
            lines.push(line);
        }
    }
    let list = file!().replace(".rs", "/decisions.rs");
    assert!(
        undecided.is_empty(),
        "neither run nor listed in {list}:\n{}",
        undecided.join("\n")
    );
    let unused = decisions::unused(&lines);
    assert!(
        unused.is_empty(),
        "no example begins like these lines of {list}:\n{}",
        unused.join("\n")
    );
}

fn run_as_root(pages: &[Page]) {
    only_rt("the examples are those of rt");
    needs("jq", "jq");
    pages.iter().for_each(environment::run_as_root);
}

fn examples_of_documents() {
    run_as_root(&in_documents(|path| path != ROOTLESS));
}

fn examples_of_an_ordinary_user() {
    only_rt("the examples are those of rt");
    let pages = in_documents(|path| path == ROOTLESS);
    assert!(!pages.is_empty(), "no {ROOTLESS}");
    pages.iter().for_each(environment::run_as_user);
}

fn examples_of_manual_pages() {
    run_as_root(&examples::in_manual_pages());
}

fn examples_of_help() {
    only_rt("the examples are those of rt");
    run_as_root(&examples::in_help(&Runtime::new()));
}

fn examples_are_found() {
    let text = "text\n\n    rt spec     # a comment\n    rt run \\\n        web\n\nand\n\n```json\n{}\n```\n\n\
                ```\nrt list |\n    rt web\nrt create: web: a message\n```\n";
    let page = examples::in_markdown("page", text);
    let blocks: Vec<(&str, &[String])> = page
        .iter()
        .map(|block| (block.place.as_str(), block.lines.as_slice()))
        .collect();
    let first = ["rt spec".to_owned(), "rt run web".to_owned()];
    let second = ["rt list | rt web".to_owned()];
    assert_eq!(blocks, [("page:3", &first[..]), ("page:13", &second[..])]);
    let help = "Usage: rt run\n\nExample: rt run web\n  rt run -b bundles/web web\n\nExamples:\n  rt ps web\n";
    let found = examples::examples_of_help(help);
    assert_eq!(
        found,
        ["rt run web", "rt run -b bundles/web web", "rt ps web"]
    );
}
