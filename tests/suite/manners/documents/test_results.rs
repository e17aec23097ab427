//! docs/engines.md, as whole runs write it: from results to text.

use std::collections::BTreeMap;

use libtest_mimic::Arguments;

use crate::harness::trials;
use crate::runner::Test;
use engines::{Line, Lines, Verdict};
use page::{Facts, Part};

#[path = "../../../engines/results.rs"]
mod engines;
#[path = "../../../runner/page.rs"]
mod page;
#[path = "../../../vm/results.rs"]
mod vm;

pub(super) fn tests() -> Vec<Test> {
    trials![
        only_a_whole_run_is_kept,
        a_part_leaves_the_other,
        the_part_of_the_engines,
        the_part_of_the_virtual_machine,
    ]
}

fn only_a_whole_run_is_kept() {
    let is_whole = |line: &[&str], rt_tests| {
        let line = ["engines"].iter().chain(line);
        page::is_whole(&Arguments::from_iter(line), rt_tests)
    };
    assert!(is_whole(&[], Some("all")));
    assert!(is_whole(
        &["--test-threads", "1", "--format", "pretty"],
        Some("all")
    ));
    assert!(!is_whole(&[], Some("smoke")));
    assert!(!is_whole(&[], None));
    for part in [
        &["podman::"][..],
        &["--skip", "podman::"],
        &["--list"],
        &["--ignored"],
    ] {
        assert!(!is_whole(part, Some("all")), "{part:?}");
    }
}

fn a_part_leaves_the_other() {
    let engines = page::with_part("", Part::Engines, "first\n\n| a |\n");
    assert!(
        engines.ends_with("\n## Engines\n\nfirst\n\n| a |\n"),
        "{engines}"
    );
    let both = page::with_part(&engines, Part::VirtualMachine, "second\n");
    let expected = format!("{engines}\n## The virtual machine\n\nsecond\n");
    assert_eq!(both, expected);
    let again = page::with_part(&both, Part::Engines, "third\n");
    assert_eq!(again, both.replace("first\n\n| a |", "third"));
    let again = page::with_part(&again, Part::VirtualMachine, "fourth\n");
    assert_eq!(
        again,
        both.replace("first\n\n| a |", "third")
            .replace("second", "fourth")
    );
}

fn facts() -> Facts {
    Facts {
        date: "2026-11-28".to_owned(),
        rt: "rt 0.1.0 (commit 0123456789ab)".to_owned(),
        runc: "runc version 1.1.5".to_owned(),
        kernel: "Linux 6.1.0 with cgroup v1".to_owned(),
    }
}

fn the_part_of_the_engines() {
    let ran = |rt, runc| Line::Ran { rt, runc };
    let skipped = |reason: &str| Line::Skipped(reason.to_owned());
    use Verdict::{Failed, Passed, PassedAgain};
    let lines = [
        ("docker::build", ran(Passed, Passed)),
        ("docker::exec", ran(PassedAgain, Passed)),
        (
            "docker::nginx",
            skipped("no Debian from http://mirror.example"),
        ),
        ("docker::privileged", ran(Passed, Failed)),
        ("docker::run", ran(Failed, Failed)),
        ("buildah::run", skipped("buildah is not installed")),
        ("buildah::bud", skipped("buildah is not installed")),
    ];
    let lines: Lines = lines.map(|(name, line)| (name.to_owned(), line)).into();
    let version = |engine: &str| match engine {
        "docker" => "Docker version 20.10.24".to_owned(),
        _ => "not installed".to_owned(),
    };
    let reason = |name: &str| match name {
        "docker::privileged" => "the reason".to_owned(),
        _ => String::new(),
    };
    let text = engines::text(&facts(), &lines, version, reason);
    let expected = "\
2026-11-28: rt 0.1.0 (commit 0123456789ab) and runc version 1.1.5, on Linux 6.1.0 with cgroup v1.
A line tests one feature of an engine.

| engine | version | `rt` passes | fails | skipped | runc passes | fails | skipped |
|---|---|---:|---:|---:|---:|---:|---:|
| `buildah` | not installed | 0 | 0 | 2 | 0 | 0 | 2 |
| `docker` | Docker version 20.10.24 | 3 | 1 | 1 | 2 | 2 | 1 |

The lines that fail, or that `rt` passes only when it runs them a second time, alone. runc runs each line once.

| line | `rt` | runc | known reason |
|---|---|---|---|
| `docker::exec` | passes the second time | passes | |
| `docker::privileged` | passes | fails | the reason |
| `docker::run` | fails | fails | |

- skipped 2: buildah is not installed
- skipped 1: the host lacks what they need
";
    assert_eq!(text, expected);
    let all_pass = BTreeMap::from([("docker::run".to_owned(), ran(Passed, Passed))]);
    let text = engines::text(&facts(), &all_pass, version, reason);
    assert!(text.ends_with("| 1 | 0 | 0 | 1 | 0 | 0 |\n"), "{text}");
}

fn the_part_of_the_virtual_machine() {
    use vm::Verdict::{Failed, Passed, Skipped};
    let list = |runtime: &str, filter: &str, tests: &[(&str, vm::Verdict)]| vm::List {
        runtime: runtime.to_owned(),
        filter: filter.to_owned(),
        tests: tests
            .iter()
            .map(|(name, verdict)| ((*name).to_owned(), verdict.clone()))
            .collect(),
    };
    let reason = Skipped("strace is not installed (package strace)".to_owned());
    let lists = [
        list(
            "rt",
            "pause::",
            &[("rt::pause::a", Passed), ("rt::pause::b", Passed)],
        ),
        list(
            "runc",
            "pause::",
            &[("runc::pause::a", Failed), ("runc::pause::b", reason)],
        ),
    ];
    let expected = "\
2026-11-28: rt 0.1.0 (commit 0123456789ab) and runc version 1.1.5, on Linux 6.1.0 with cgroup v1.
A list has tests.

| list | runtime | passed | failed | skipped |
|---|---|---:|---:|---:|
| `pause::` | rt | 2 | 0 | 0 |
| `pause::` | runc | 0 | 1 | 1 |

- failed: `runc::pause::a`
- skipped 1: strace is not installed (package strace)
";
    assert_eq!(vm::text(&facts(), "A list has tests.", &lists), expected);
}
