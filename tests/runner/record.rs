//! Writes a part of docs/engines.md, and finds out what the run has used.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test program asks the environment and says what it has written"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use libtest_mimic::Arguments;

use crate::page::{self, Facts, Part};

/// Where the results of whole runs are kept.
const PAGE: &str = "docs/engines.md";

/// Whether this run is one whose results are kept.
pub(crate) fn is_whole(arguments: &Arguments) -> bool {
    page::is_whole(arguments, std::env::var("RT_TESTS").ok().as_deref())
}

/// Replaces a part of the page. A checkout that cannot be written to is no failure of the tests.
pub(crate) fn write(part: Part, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let old = fs::read_to_string(&path).unwrap_or_default();
    match fs::write(&path, page::with_part(&old, part, text)) {
        Ok(()) => eprintln!("{PAGE}: written"),
        Err(error) => eprintln!("{PAGE}: not written: {error}"),
    }
}

/// What this run uses. `kernel` is that of the containers.
pub(crate) fn facts(kernel: String) -> Facts {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Facts {
        date: now.split('T').next().unwrap_or_default().to_owned(),
        rt: format!("rt {} ({})", env!("CARGO_PKG_VERSION"), commit()),
        runc: first_line(&["runc", "--version"]).unwrap_or_else(|| "no runc".to_owned()),
        kernel,
    }
}

/// The commit of the checkout, and whether a file differs from it, apart from the page itself.
fn commit() -> String {
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "commit unknown".to_owned();
    };
    let others = format!(":!{PAGE}");
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        &others,
    ]);
    let changed = changes.is_none_or(|changes| !changes.is_empty());
    format!(
        "commit {commit}{}",
        if changed { " with changes" } else { "" }
    )
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Root may test the checkout of another user.
    let output = git
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first line that a program prints, if it can be run.
pub(crate) fn first_line(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(crate::programs::find(program)?)
        .args(arguments)
        .output();
    let output = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    output.lines().next().map(|line| line.trim().to_owned())
}
