//! docs/conformance.md, and the table of README.md: the results of whole runs against rt, runc and crun.
#![allow(
    clippy::print_stderr,
    reason = "a test program says what it has written"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::harness::{Kind, outcomes};
use crate::requirements::{self, Tested};
use crate::runner::Outcome;

/// Asks for the page: this process then runs the tests once for each runtime.
const WRITE: &str = "RT_CONFORMANCE";
/// Where a run puts what it has found.
const RESULTS: &str = "RT_CONFORMANCE_RESULTS";

const PAGE: &str = "docs/conformance.md";
const README: &str = "README.md";
/// How the table of README.md begins.
const SUMMARY: &str = "| requirements |";
/// The part of the page that is written ends where the next heading begins.
const HEADING: &str = "## Results\n";

const INTRODUCTION: &str = "\
`RT_CONFORMANCE=write cargo test --test oci-validation` runs the suite against the three runtimes and writes this part, so
changes by hand are lost. A requirement passes if all of its tests do. \"Not tested\" means that the host lacks what a test
needs, or that the runtime does not have what it MAY leave out.
";

const RUNTIMES: [(&str, Kind); 3] = [("rt", Kind::Rt), ("runc", Kind::Runc), ("crun", Kind::Crun)];

/// The name of a runtime, its version, and how its tests have ended.
type Run = (&'static str, String, Ends);

/// How each test has ended, by name: `passed`, or `skipped` or `failed` with the reason.
type Ends = BTreeMap<String, (String, String)>;

/// Whether this process is to write the page.
pub(crate) fn is_asked_for() -> bool {
    std::env::var(WRITE).as_deref() == Ok("write")
}

/// After the tests: keeps how they have ended, if a process that writes the page waits for it.
pub(crate) fn keep() {
    let Some(path) = std::env::var_os(RESULTS) else {
        return;
    };
    let text = |outcome: Outcome| match outcome {
        Outcome::Passed => json!(["passed", ""]),
        Outcome::Skipped(reason) => json!(["skipped", reason]),
        Outcome::Failed(message) => json!(["failed", message]),
    };
    let all: BTreeMap<String, Value> = outcomes()
        .into_iter()
        .map(|(name, outcome)| (name, text(outcome)))
        .collect();
    fs::write(path, json!(all).to_string()).unwrap();
}

/// Runs the tests against each runtime and writes the page.
pub(crate) fn write() -> ExitCode {
    let mut runs = Vec::new();
    for (name, kind) in RUNTIMES {
        match run(name) {
            Ok(ends) => runs.push((name, version(kind), ends)),
            Err(error) => {
                eprintln!("{PAGE}: not written: {name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let written = [
        rewrite(PAGE, |old| with_results(old, &results(&runs))),
        rewrite(README, |old| with_summary(old, &summary(&runs))),
    ];
    if written.contains(&false) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Changes a page, and says so. Returns whether it was written.
fn rewrite(page: &str, change: impl FnOnce(&str) -> String) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let written = fs::write(&path, change(&old));
    match &written {
        Ok(()) => eprintln!("{page}: written"),
        Err(error) => eprintln!("{page}: not written: {error}"),
    }
    written.is_ok()
}

fn run(name: &str) -> Result<Ends, String> {
    let file = std::env::temp_dir().join(format!("rt-conformance-{}-{name}", std::process::id()));
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let status = Command::new(own)
        .env_remove(WRITE)
        .env("RT_UNDER_TEST", name)
        .env(RESULTS, &file)
        .status();
    status.map_err(|e| e.to_string())?;
    let text = fs::read_to_string(&file).map_err(|e| format!("no results: {e}"))?;
    drop(fs::remove_file(&file));
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

/// The first line that a runtime prints of itself.
fn version(kind: Kind) -> String {
    let program: PathBuf = kind.program().into();
    let output = Command::new(program).arg("--version").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The page with other results. What stands before and after them stays.
fn with_results(old: &str, results: &str) -> String {
    let (before, rest) = old.split_once(HEADING).unwrap_or((old, ""));
    let after = rest.find("\n## ").map_or("", |at| &rest[at..]);
    format!("{before}{HEADING}\n{}\n{after}", results.trim())
}

fn results(runs: &[Run]) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions: Vec<&str> = runs
        .iter()
        .map(|(_, version, _)| version.as_str())
        .collect();
    let mut text = format!(
        "{INTRODUCTION}\n{}, on Linux {}.\n\n",
        versions.join(", "),
        kernel.trim()
    );
    text += &counts(runs);
    for (name, _, ends) in runs {
        text += &failures(name, ends);
    }
    text
}

/// How the tests of a requirement have ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    /// The host lacks what one of the tests needs.
    NotTested,
    Failed,
}

fn verdict(tests: &[String], ends: &Ends) -> Verdict {
    let of_test = |name: &String| match ends.get(name).map(|(kind, reason)| (kind.as_str(), reason))
    {
        Some(("passed", _)) => Verdict::Passed,
        Some(("skipped", reason)) if !is_known_failure(reason) => Verdict::NotTested,
        _ => Verdict::Failed,
    };
    tests
        .iter()
        .map(of_test)
        .max()
        .unwrap_or(Verdict::NotTested)
}

/// What `violates` of the harness says.
fn is_known_failure(reason: &str) -> bool {
    RUNTIMES
        .iter()
        .any(|(_, kind)| reason.starts_with(&format!("{kind:?} fails: ")))
}

/// The page with another table.
fn with_summary(old: &str, table: &str) -> String {
    let (before, rest) = old.split_once(SUMMARY).unwrap_or((old, "\n\n"));
    let after = rest.find("\n\n").map_or("", |at| &rest[at..]);
    format!("{before}{}{after}", table.trim_end())
}

/// How many requirements each runtime passes.
fn summary(runs: &[Run]) -> String {
    let tested: Vec<Tested> = requirements::all();
    let tested = || tested.iter().filter(|one| !one.tests.is_empty());
    let row = |title: &str, cell: &dyn Fn(&Run) -> String| {
        let cells: String = runs.iter().map(|run| format!(" {} |", cell(run))).collect();
        format!("{title}{cells}\n")
    };
    let header = row(SUMMARY, &|(name, version, _)| match *name {
        "rt" => (*name).to_owned(),
        // Without what Debian has added.
        _ => version
            .replace(" version", "")
            .split('+')
            .next()
            .unwrap_or(name)
            .to_owned(),
    });
    let count = |title: &str, wanted| {
        row(title, &|(_, _, ends)| {
            let matching = tested().filter(|one| verdict(&one.tests, ends) == wanted);
            matching.count().to_string()
        })
    };
    let rows = [
        count("| pass |", Verdict::Passed),
        count("| fail |", Verdict::Failed),
        count("| cannot be tested on this host |", Verdict::NotTested),
    ];
    format!("{header}|---|---:|---:|---:|\n{}", rows.concat())
}

/// A row for each document, and one for all.
fn counts(runs: &[Run]) -> String {
    let all = requirements::all();
    let mut documents: Vec<&str> = all.iter().map(|one| one.document).collect();
    documents.dedup();
    let mut header = String::from("| document | requirements | with tests |");
    let mut rule = String::from("|---|---:|---:|");
    for (name, _, _) in runs {
        header += &format!(" {name} passes | fails | not tested |");
        rule += "---:|---:|---:|";
    }
    let row = |title: &str, of: &dyn Fn(&&Tested) -> bool| {
        let rows: Vec<&Tested> = all.iter().filter(of).collect();
        let tested: Vec<&&Tested> = rows.iter().filter(|one| !one.tests.is_empty()).collect();
        let mut line = format!("| {title} | {} | {} |", rows.len(), tested.len());
        for (_, _, ends) in runs {
            for wanted in [Verdict::Passed, Verdict::Failed, Verdict::NotTested] {
                let count = tested
                    .iter()
                    .filter(|one| verdict(&one.tests, ends) == wanted)
                    .count();
                line += &format!(" {count} |");
            }
        }
        line + "\n"
    };
    let rows = documents.iter().map(|name| {
        row(&format!("{name}.md"), &|one: &&Tested| {
            one.document == *name
        })
    });
    let rows: String = rows.collect();
    format!(
        "{header}\n{rule}\n{rows}{}",
        row("all", &|_: &&Tested| true)
    )
}

/// The tests that a runtime fails, with the reasons.
fn failures(name: &str, ends: &Ends) -> String {
    let row = |(test, (kind, reason)): (&String, &(String, String))| {
        let known = reason
            .split_once(" fails: ")
            .filter(|_| is_known_failure(reason));
        match (kind.as_str(), known) {
            ("skipped", Some((_, how))) => Some(format!("| `{test}` | {how} |\n")),
            ("failed", _) => Some(format!("| `{test}` | on no list of known failures |\n")),
            _ => None,
        }
    };
    let rows: String = ends.iter().filter_map(row).collect();
    if rows.is_empty() {
        return format!("\n### {name}\n\nIt fails no test.\n");
    }
    format!("\n### {name}\n\n| test that fails | reason |\n|---|---|\n{rows}")
}
