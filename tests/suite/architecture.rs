//! The shape of the source: who may name whom, where `unsafe` lives, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        modules_name_only_lower_ones,
        the_rule_finds_what_breaks_it,
        every_module_has_a_layer,
        unsafe_lives_in_sys,
        the_parsed_config_does_not_cross_the_clone,
        files_fit_a_sitting,
        every_file_opens_with_its_idea,
    ]
}

/// Lowest first. Modules on one line are peers and never name each other.
const LAYERS: &[&[&str]] = &[
    &["log", "step", "sys"],
    &["seal", "trusted_proc"],
    &["annotations", "bundle", "host"],
    &["cgroups", "namespaces", "process", "rootfs"],
    &["plan"],
    &["container"],
    &["commands"],
    &["cli"],
];

/// The crate's root names them all.
const EXEMPT: [&str; 2] = ["lib", "main"];

/// Where the program is entered is below everything, and calls what the crate's root shows.
const ENTRY: (&str, [&str; 2]) = ("sys/entry.rs", ["execute_read_only", "run"]);

/// A file may be this long, its unit tests included.
const LONGEST: usize = 450;

struct Source {
    /// Below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module of the crate's root that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.iter().next().and_then(|name| name.to_str());
        first.unwrap_or_default().trim_end_matches(".rs")
    }

    /// Lines of code with their numbers: no comments, no unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("tests.rs");
        let lines = self
            .text
            .lines()
            .take_while(move |line| !is_test && *line != "#[cfg(test)]");
        let lines = lines.enumerate().map(|(number, line)| (number + 1, line));
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut waiting = vec![top.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source {
                    path: path.strip_prefix(&top).unwrap().to_owned(),
                    text,
                });
            }
        }
    }
    assert!(found.len() > 20, "the source lies in {}", top.display());
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|peers| peers.contains(&module))
}

/// Every `crate::x` that a line names.
fn names(line: &str) -> Vec<&str> {
    let rests = line.split("crate::").skip(1);
    let names = rests.map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    });
    names.map(Option::unwrap_or_default).collect()
}

fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (here, path) = (source.module(), source.path.display().to_string());
        for (number, line) in source.code() {
            for name in names(line) {
                let is_entry = path == ENTRY.0 && ENTRY.1.contains(&name);
                if !may_name(here, name) && !is_entry {
                    found.push(format!("{path}:{number}: {here} may not name {name:?}"));
                }
            }
        }
    }
    found
}

fn may_name(here: &str, name: &str) -> bool {
    let is_lower =
        || layer(name).is_some_and(|theirs| layer(here).is_some_and(|mine| theirs < mine));
    EXEMPT.contains(&here) || name == here || is_lower()
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The lines of code that `is_wrong` finds, but for the files that may.
fn lines(may: impl Fn(&Source) -> bool, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !may(source)) {
        for (number, line) in source.code().filter(|(_, line)| is_wrong(line)) {
            found.push(format!(
                "{}:{number}: {}",
                source.path.display(),
                line.trim()
            ));
        }
    }
    found
}

fn modules_name_only_lower_ones() {
    assert_none(&violations(&sources()));
}

fn the_rule_finds_what_breaks_it() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.to_owned(),
    };
    let wrong = [
        source("rootfs/mount.rs", "use crate::process::Process;"),
        source("sys/mod.rs", "\nuse crate::plan::Plan;"),
        source("log.rs", "fn f() { crate::host::probe() }"),
        source("plan.rs", "use crate::unheard_of;"),
        source("plan.rs", "use crate::{bundle, host};"),
    ];
    for source in wrong {
        let path = source.path.clone();
        assert_eq!(violations(&[source]).len(), 1, "{}", path.display());
    }
    let right = [
        source("cli/mod.rs", "use crate::commands::Verb; // crate::nothing"),
        source(
            "rootfs/mount.rs",
            "use crate::rootfs::root;\n#[cfg(test)]\nuse crate::plan;",
        ),
        source("lib.rs", "use crate::cli;"),
    ];
    assert_none(&violations(&right));
}

fn every_module_has_a_layer() {
    let without = sources()
        .into_iter()
        .filter(|source| layer(source.module()).is_none() && !EXEMPT.contains(&source.module()));
    assert_none(
        &without
            .map(|source| source.path.display().to_string())
            .collect::<Vec<_>>(),
    );
}

fn unsafe_lives_in_sys() {
    let is_word = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == "unsafe")
    };
    assert_none(&lines(|source| source.module() == "sys", is_word));
}

/// Its types end in `plan()`: nothing that init performs can look at the configuration again.
fn the_parsed_config_does_not_cross_the_clone() {
    let may = |source: &Source| {
        let is_feature = layer(source.module()) <= layer("plan");
        is_feature || source.module() == "commands"
    };
    assert_none(&lines(may, |line| line.contains("oci_spec")));
    let never = ["log", "step", "sys", "trusted_proc", "host"];
    let never = |source: &Source| !never.contains(&source.module());
    assert_none(&lines(never, |line| line.contains("oci_spec")));
}

fn files_fit_a_sitting() {
    let long = sources().into_iter().filter_map(|source| {
        let count = source.text.lines().count();
        (count > LONGEST).then(|| format!("{}: {count} lines", source.path.display()))
    });
    assert_none(&long.collect::<Vec<_>>());
}

fn every_file_opens_with_its_idea() {
    let without = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "));
    assert_none(
        &without
            .map(|source| source.path.display().to_string())
            .collect::<Vec<_>>(),
    );
}
