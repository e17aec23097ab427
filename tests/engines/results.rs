//! The results of a whole run of the engines, as a part of docs/engines.md.

use std::collections::BTreeMap;

use super::page::{Counts, Facts, skips, table};

/// How a line ended with one runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Passed,
    /// Only when it ran again, with no other line running.
    PassedAgain,
    Failed,
}

impl Verdict {
    pub(crate) fn is_pass(self) -> bool {
        self != Self::Failed
    }

    fn text(self) -> &'static str {
        match self {
            Self::Passed => "passes",
            Self::PassedAgain => "passes the second time",
            Self::Failed => "fails",
        }
    }
}

/// What a line has given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Ran {
        rt: Verdict,
        runc: Verdict,
    },
    /// It did not run, for this reason.
    Skipped(String),
}

/// The lines by their names, such as `docker::exec_tty`.
pub(crate) type Lines = BTreeMap<String, Line>;

/// The name of the engine in the name of a line.
pub(crate) fn engine_of(name: &str) -> &str {
    name.split("::").next().unwrap_or_default()
}

/// The counts of one engine, with `rt` and with runc, and how many lines `rt` passed the second time.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) rt: Counts,
    pub(crate) runc: Counts,
    pub(crate) again: usize,
}

impl Summary {
    fn add(&mut self, line: &Line) {
        let (rt, runc) = match line {
            Line::Ran { rt, runc } => (Some(*rt), Some(*runc)),
            Line::Skipped(_) => (None, None),
        };
        count(&mut self.rt, rt);
        count(&mut self.runc, runc);
        self.again += usize::from(rt == Some(Verdict::PassedAgain));
    }
}

fn count(counts: &mut Counts, verdict: Option<Verdict>) {
    match verdict {
        Some(verdict) if verdict.is_pass() => counts.passed += 1,
        Some(_) => counts.failed += 1,
        None => counts.skipped += 1,
    }
}

/// The counts of each engine.
pub(crate) fn summaries(lines: &Lines) -> BTreeMap<&str, Summary> {
    let mut all = BTreeMap::<&str, Summary>::new();
    for (name, line) in lines {
        all.entry(engine_of(name)).or_default().add(line);
    }
    all
}

/// The part of the page. `version` is what an engine reports of itself, `reason` why a line is known to fail.
pub(crate) fn text(
    facts: &Facts,
    lines: &Lines,
    version: impl Fn(&str) -> String,
    reason: impl Fn(&str) -> String,
) -> String {
    let Facts {
        date,
        rt,
        runc,
        kernel,
    } = facts;
    let mut text = format!(
        "{date}: {rt} and {runc}, on {kernel}.\nA line tests one feature of an engine.\n\n"
    );
    let row = |(engine, summary): (&str, Summary)| {
        let counts = [summary.rt.cells(), summary.runc.cells()].concat();
        [vec![format!("`{engine}`"), version(engine)], counts].concat()
    };
    let rows: Vec<Vec<String>> = summaries(lines).into_iter().map(row).collect();
    let header = [
        "engine",
        "version",
        "`rt` passes",
        "fails",
        "skipped",
        "runc passes",
        "fails",
        "skipped",
    ];
    text += &table(&header, 2, &rows);
    let exceptions = exceptions(lines, reason);
    if !exceptions.is_empty() {
        text += "\nThe lines that fail, or that `rt` passes only when it runs them a second time, alone. \
                 runc runs each line once.\n\n";
        text += &table(&["line", "`rt`", "runc", "known reason"], 4, &exceptions);
    }
    let reasons = lines.values().filter_map(|line| match line {
        Line::Skipped(reason) => Some(reason.as_str()),
        Line::Ran { .. } => None,
    });
    let skips = skips(reasons);
    if !skips.is_empty() {
        text += &format!("\n{skips}");
    }
    text
}

fn exceptions(lines: &Lines, reason: impl Fn(&str) -> String) -> Vec<Vec<String>> {
    let row = |(name, line): (&String, &Line)| match line {
        Line::Ran {
            rt: Verdict::Passed,
            runc: Verdict::Passed,
        }
        | Line::Skipped(_) => None,
        Line::Ran { rt, runc } => {
            let verdicts = [rt, runc].map(|verdict| verdict.text().to_owned());
            Some(
                [
                    vec![format!("`{name}`")],
                    verdicts.to_vec(),
                    vec![reason(name)],
                ]
                .concat(),
            )
        }
    };
    lines.iter().filter_map(row).collect()
}
