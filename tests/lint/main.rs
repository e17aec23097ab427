//! Rules about the source text: each failure names the file and the line.
//!
//! They need neither root nor any program: `cargo test --test lint`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod imports;
mod source;

use source::Source;

/// Lowest first. Modules on one line never name each other.
const LAYERS: &[&[&str]] = &[
    &["decisions", "log", "nearest", "step", "sys"],
    &["pathname", "seal", "selinux", "trusted_proc"],
    &["annotations", "bundle", "host", "layer"],
    &[
        "cgroups",
        "criu",
        "namespaces",
        "network",
        "process",
        "resctrl",
        "rootfs",
    ],
    &["plan"],
    &["container"],
    &["commands"],
    &["cli"],
];

/// The crate's root names all modules.
const EXEMPT: [&str; 2] = ["lib", "main"];

/// The program's entry is below everything, and calls what the crate's root exports.
const ENTRY: (&str, [&str; 2]) = ("sys/entry.rs", ["before_c_library", "run"]);

/// A file may have this many lines, its unit tests included.
const LONGEST: usize = 450;

/// Names that say nothing to somebody who knows the specification and the man pages.
const UNPLAIN: &[&str] = &[
    "Doors",
    "birth",
    "Stillborn",
    "obituary",
    "forerunner",
    "Guest",
    "Traces",
    "Wish",
    "Need",
    "Care",
    "Duty",
    "Branch",
    "Tree",
    "Leaf",
    "Told",
    "Shown",
    "Scene",
    "Ground",
    "Spent",
    "Way",
    "Made",
    "Dice",
    "attend",
    "blame",
    "let_go",
    "sift",
    "obey",
    "bear",
    "judge",
    "traces",
];

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|peers| peers.contains(&module))
}

fn may_name(here: &str, name: &str) -> bool {
    let is_lower =
        || layer(name).is_some_and(|theirs| layer(here).is_some_and(|mine| theirs < mine));
    EXEMPT.contains(&here) || name == here || is_lower()
}

fn layer_violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let (here, path) = (source.module(), source.path.display().to_string());
        for (number, line) in source.code() {
            for rest in line.split("crate::").skip(1) {
                let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
                let name = words.next().unwrap_or_default();
                let is_entry = path == ENTRY.0 && ENTRY.1.contains(&name);
                if !may_name(here, name) && !is_entry {
                    found.push(format!("src/{path}:{number}: {here} may not name {name:?}"));
                }
            }
        }
    }
    found
}

/// The lines of code that `is_wrong` finds, except in the files that `may` have them.
fn lines(may: impl Fn(&Source) -> bool, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in source::of_program().iter().filter(|source| !may(source)) {
        for (number, line) in source.code().filter(|(_, line)| is_wrong(line)) {
            found.push(format!(
                "src/{}:{number}: {}",
                source.path.display(),
                line.trim()
            ));
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|other| other == word)
}

#[test]
fn modules_name_only_lower_ones() {
    assert_none(&layer_violations(&source::of_program()));
}

#[test]
fn the_layer_rule_finds_violations() {
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
        assert_eq!(layer_violations(&[source]).len(), 1, "{}", path.display());
    }
    let right = [
        source("cli/mod.rs", "use crate::commands::Verb; // crate::nothing"),
        source(
            "rootfs/mount.rs",
            "use crate::rootfs::inside;\n#[cfg(test)]\nuse crate::plan;",
        ),
        source("lib.rs", "use crate::cli;"),
    ];
    assert_none(&layer_violations(&right));
}

#[test]
fn every_module_has_a_layer() {
    let sources = source::of_program();
    let without = sources
        .iter()
        .filter(|source| layer(source.module()).is_none() && !EXEMPT.contains(&source.module()));
    let without: Vec<String> = without
        .map(|source| format!("src/{}:1: its module is in no layer", source.path.display()))
        .collect();
    assert_none(&without);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_none(&imports::circles(&source::of_program()));
}

#[test]
fn the_circle_rule_finds_circles() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.to_owned(),
    };
    let of = |one: &str, other: &str| {
        imports::circles(&[
            source("lib.rs", "mod a;"),
            source(
                "a/mod.rs",
                "mod one;\nmod other;\npub(crate) use one::One;\npub(crate) use other::Other;",
            ),
            source("a/one.rs", one),
            source("a/other.rs", other),
        ])
        .len()
    };
    assert_eq!(of("use super::other::Other;", "use super::one::One;"), 1);
    assert_eq!(of("use super::Other;", "use crate::a::{self, One};"), 1);
    assert_eq!(
        of(
            "use super::other::{\n    Other, f,\n};",
            "fn f() { super::one::g() }"
        ),
        1
    );
    assert_eq!(
        of(
            "use super::Other;",
            "fn f() {}\n#[cfg(test)]\nuse super::One;"
        ),
        0
    );
    assert_eq!(of("use super::Other;", "// super::One"), 0);
}

#[test]
fn unsafe_lives_in_sys() {
    assert_none(&lines(
        |source| source.module() == "sys",
        |line| has_word(line, "unsafe"),
    ));
}

/// Types of the parsed config.json end in `plan()`: what init performs cannot read the configuration again.
#[test]
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

#[test]
fn files_fit_a_sitting() {
    let sources = source::of_program();
    let long = sources.iter().filter_map(|source| {
        let count = source.text.lines().count();
        let path = source.path.display();
        (count > LONGEST).then(|| format!("src/{path}:{count}: longer than {LONGEST} lines"))
    });
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn every_file_says_first_what_it_is() {
    let sources = source::of_program();
    let without = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    let without: Vec<String> = without
        .map(|source| format!("src/{}:1: no `//!` line", source.path.display()))
        .collect();
    assert_none(&without);
}

#[test]
fn names_are_plain() {
    let mut found = Vec::new();
    let all = source::all();
    let others = all.iter();
    for source in others.filter(|source| !source.path.ends_with("tests/lint/main.rs")) {
        for (number, line) in source.lines() {
            for name in UNPLAIN.iter().filter(|name| has_word(line, name)) {
                found.push(format!("{}:{number}: {name}", source.path.display()));
            }
        }
    }
    assert_none(&found);
}
