//! The text of docs/engines.md, which whole runs of the engines and of the virtual machines write.

use std::collections::BTreeMap;

use libtest_mimic::Arguments;

/// Each is written by itself and leaves the others as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Engines,
    /// Those of another root file system.
    OtherEngines,
    VirtualMachine,
    Installed,
}

impl Part {
    /// In the order of the page.
    const ALL: [Self; 4] = [
        Self::Engines,
        Self::OtherEngines,
        Self::VirtualMachine,
        Self::Installed,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Engines => "## Engines",
            Self::OtherEngines => "## Newer engines",
            Self::VirtualMachine => "## The virtual machine",
            Self::Installed => "## Engines with their default configuration",
        }
    }
}

const TOP: &str = "\
# Test results

`RT_TESTS=all tests/run` writes this page, so changes by hand are lost. Each part has the results of the last
whole run. [CONTRIBUTING.md](../CONTRIBUTING.md) describes the tests.
";

/// What a run has used.
pub(crate) struct Facts {
    /// `2026-11-28`
    pub(crate) date: String,
    /// The version of `rt` and its commit.
    pub(crate) rt: String,
    /// The first line of `runc --version`.
    pub(crate) runc: String,
    /// The kernel and the version of the cgroups.
    pub(crate) kernel: String,
}

/// How many tests ended in each way.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    pub(crate) fn cells(self) -> [String; 3] {
        [self.passed, self.failed, self.skipped].map(|count| count.to_string())
    }
}

/// Whether `arguments` and the value of `RT_TESTS` ask for every test there is.
pub(crate) fn is_whole(arguments: &Arguments, rt_tests: Option<&str>) -> bool {
    let selects = arguments.filter.is_some() || !arguments.skip.is_empty() || arguments.ignored;
    rt_tests == Some("all") && !selects && !arguments.list && !arguments.bench
}

/// The page with `text` as one of its parts. `old` is the page as it was, or empty.
pub(crate) fn with_part(old: &str, part: Part, text: &str) -> String {
    let mut page = TOP.to_owned();
    for each in Part::ALL {
        let text = if each == part {
            Some(text)
        } else {
            part_of(old, each)
        };
        if let Some(text) = text {
            page += &format!("\n{}\n\n{}\n", each.heading(), text.trim());
        }
    }
    page
}

fn part_of(page: &str, part: Part) -> Option<&str> {
    let (_, rest) = page.split_once(&format!("\n{}\n", part.heading()))?;
    rest.split("\n## ").next()
}

/// A table of Markdown. The columns from `numbers` on are aligned to the right.
pub(crate) fn table(header: &[&str], numbers: usize, rows: &[Vec<String>]) -> String {
    let rule = (0..header.len()).map(|column| if column < numbers { "---" } else { "---:" });
    let mut table = format!(
        "| {} |\n|{}|\n",
        header.join(" | "),
        rule.collect::<Vec<_>>().join("|")
    );
    for row in rows {
        table += &format!("| {} |\n", row.join(" | ").trim_end());
    }
    table
}

/// One line for each reason to skip, with the number of tests.
///
/// A reason with a slash names a path or an address of the host where the tests ran. Only the
/// number of its tests is listed.
pub(crate) fn skips<'a>(reasons: impl IntoIterator<Item = &'a str>) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for reason in reasons {
        let reason = if reason.contains('/') {
            "the host lacks what they need"
        } else {
            reason
        };
        *counts.entry(reason).or_default() += 1;
    }
    let lines = counts
        .iter()
        .map(|(reason, count)| format!("- skipped {count}: {reason}\n"));
    lines.collect()
}
