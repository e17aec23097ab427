//! The results of a whole run in a virtual machine, as a part of docs/engines.md.

use super::page::{Counts, Facts, skips, table};

/// How a test ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// For this reason.
    Skipped(String),
}

/// The tests of one program that a filter selects, by their names.
pub(crate) struct List {
    pub(crate) runtime: String,
    pub(crate) filter: String,
    pub(crate) tests: Vec<(String, Verdict)>,
}

impl List {
    fn row(&self) -> Vec<String> {
        let mut counts = Counts::default();
        for (_, verdict) in &self.tests {
            match verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed => counts.failed += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
            }
        }
        let names = vec![format!("`{}`", self.filter), self.runtime.clone()];
        [names, counts.cells().to_vec()].concat()
    }
}

/// The part of the page. `about` says what a list is.
pub(crate) fn text(facts: &Facts, about: &str, lists: &[List]) -> String {
    let Facts {
        date,
        rt,
        runc,
        kernel,
    } = facts;
    let mut text = format!("{date}: {rt} and {runc}, on {kernel}.\n{about}\n\n");
    let rows: Vec<Vec<String>> = lists.iter().map(List::row).collect();
    text += &table(
        &["list", "runtime", "passed", "failed", "skipped"],
        2,
        &rows,
    );
    let tests = || lists.iter().flat_map(|list| &list.tests);
    let failed = tests().filter(|(_, verdict)| *verdict == Verdict::Failed);
    let failed: String = failed
        .map(|(name, _)| format!("- failed: `{name}`\n"))
        .collect();
    let skips = skips(tests().filter_map(|(_, verdict)| match verdict {
        Verdict::Skipped(reason) => Some(reason.as_str()),
        _ => None,
    }));
    if !failed.is_empty() || !skips.is_empty() {
        text += &format!("\n{failed}{skips}");
    }
    text
}
