//! The source files, read once for each rule.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Source {
    /// Relative to `src`, or to the top for [`all`].
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// The module of the crate's root that the file belongs to.
    pub(crate) fn module(&self) -> &str {
        let first = self.path.iter().next().and_then(|name| name.to_str());
        first.unwrap_or_default().trim_end_matches(".rs")
    }

    /// Lines of code with their numbers: no comments, no unit tests.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test =
            self.path.ends_with("tests.rs") || self.path.iter().any(|part| part == "tests");
        let lines = self
            .lines()
            .take_while(move |(_, line)| !is_test && line.trim_end() != "#[cfg(test)]");
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    /// All lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(number, line)| (number + 1, line))
    }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program's, by their paths below `src`.
pub(crate) fn of_program() -> Vec<Source> {
    below(&top().join("src"), &top().join("src"))
}

/// Those of the tests as well.
pub(crate) fn all() -> Vec<Source> {
    let directories = ["src", "tests", "benches", "examples"];
    let each = directories
        .iter()
        .map(|name| below(&top().join(name), top()));
    each.flatten().collect()
}

fn below(directory: &Path, relative_to: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(relative_to).unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no source below {}", directory.display());
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}
