//! The list of requirements: it is read from the specification and compared with the tables beside this file, which
//! name for each sentence with MUST, REQUIRED or SHALL the tests that prove it, or say why there is none.
//!
//! The specification is not part of this repository. The comparison is skipped if it is not beside it.

mod samples;
mod table;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::{names, skip, test};
use crate::runner::Test;
use table::{Answer, Row};
use text::Requirement;

const SPECIFICATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/reference/spec");

/// Each document with its tables.
const DOCUMENTS: [(&str, &[&str]); 7] = [
    ("bundle", &[include_str!("bundle.md")]),
    (
        "config",
        &[
            include_str!("config.md"),
            include_str!("config-mounts.md"),
            include_str!("config-hooks.md"),
        ],
    ),
    (
        "config-linux",
        &[
            include_str!("config-linux.md"),
            include_str!("config-cgroups.md"),
            include_str!("config-seccomp.md"),
        ],
    ),
    ("runtime", &[include_str!("runtime.md")]),
    ("runtime-linux", &[include_str!("runtime-linux.md")]),
    ("features", &[include_str!("features.md")]),
    ("features-linux", &[include_str!("features-linux.md")]),
];

pub(crate) fn tests() -> Vec<Test> {
    let compared = DOCUMENTS.iter().map(|(document, tables)| {
        test(format!("requirements::{document}"), move || {
            compare(document, tables)
        })
    });
    compared.chain(samples::tests()).collect()
}

/// Fails for each difference between a document and its tables.
fn compare(document: &str, tables: &[&str]) {
    let path = Path::new(SPECIFICATION).join(format!("{document}.md"));
    let Ok(text) = fs::read_to_string(&path) else {
        skip("the specification is not beside the repository");
    };
    let required = text::requirements(&text);
    let found = required
        .iter()
        .map(|one| text::keywords(&one.text))
        .sum::<usize>();
    assert_eq!(
        found,
        text::keywords(&text),
        "{document}.md: a keyword is in no requirement"
    );
    let rows: Vec<Row> = tables.iter().flat_map(|table| read(table)).collect();
    let problems = problems(&required, &rows, &names());
    assert!(
        problems.is_empty(),
        "{document}.md:\n{}",
        problems.join("\n")
    );
}

fn read(table: &str) -> Vec<Row> {
    let title = table.lines().next().unwrap_or_default();
    table::rows(table).unwrap_or_else(|error| panic!("the table \"{title}\": {error}"))
}

/// What is wrong with the rows, a line each.
fn problems(required: &[Requirement], rows: &[Row], names: &BTreeSet<String>) -> Vec<String> {
    let is_about =
        |row: &Row, one: &Requirement| row.section == one.section && row.text == one.text;
    let mut found = Vec::new();
    for one in required {
        let count = rows.iter().filter(|row| is_about(row, one)).count();
        if count != 1 {
            found.push(format!("{count} rows in \"{}\": {}", one.section, one.text));
        }
    }
    for row in rows {
        let (section, text) = (&row.section, &row.text);
        if !required.iter().any(|one| is_about(row, one)) {
            found.push(format!("not required in \"{section}\": {text}"));
        }
        for name in unknown_tests(&row.answer, names) {
            found.push(format!("no test is called {name}: {text}"));
        }
    }
    found
}

/// The names of tests that do not exist.
fn unknown_tests(answer: &Answer, names: &BTreeSet<String>) -> Vec<String> {
    match answer {
        Answer::Tests(tests) => {
            let unknown = tests.iter().filter(|name| !names.contains(*name));
            unknown.cloned().collect()
        }
        Answer::NoTest(reason) => {
            let quoted = reason.split('`').skip(1).step_by(2);
            let of_suite = quoted.filter_map(|name| name.strip_prefix("suite::"));
            let unknown = of_suite.filter(|name| !is_in_the_suite(name));
            unknown.map(|name| format!("suite::{name}")).collect()
        }
    }
}

/// Whether tests/suite has a function of this name, such as `seccomp::actions::log_allows`.
fn is_in_the_suite(name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else {
        return false;
    };
    let base = format!(
        "{}/tests/suite/{}",
        env!("CARGO_MANIFEST_DIR"),
        module.replace("::", "/")
    );
    let sources = [format!("{base}.rs"), format!("{base}/mod.rs")];
    let texts = sources
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    texts
        .into_iter()
        .any(|text| text.contains(&format!("fn {function}() ")))
}

/// A requirement of the tables, for the page of results.
pub(crate) struct Tested {
    pub(crate) document: &'static str,
    /// Empty if no test proves it.
    pub(crate) tests: Vec<String>,
}

/// What the tables say.
pub(crate) fn all() -> Vec<Tested> {
    let rows = DOCUMENTS.iter().flat_map(|(document, tables)| {
        let rows = tables.iter().flat_map(|table| read(table));
        rows.map(move |row| (*document, row.answer))
    });
    let tested = |(document, answer)| match answer {
        Answer::Tests(tests) => Tested { document, tests },
        Answer::NoTest(_) => Tested {
            document,
            tests: Vec::new(),
        },
    };
    rows.map(tested).collect()
}
