//! How flags may be written, and what the global ones do.

use std::fs;

use libtest_mimic::Trial;

use super::{call, call_in};
use crate::harness::{Bundle, Directory, Kind, Runtime, differs, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        version_has_the_lines_that_engines_read,
        a_link_called_runc_answers_as_runc,
        help_is_shown_and_succeeds,
        one_dash_is_as_good_as_two,
        a_flag_can_be_true_or_false,
        flags_may_follow_the_id,
        a_relative_root_is_taken_from_here,
        debug_says_more,
    ]
}

fn version_has_the_lines_that_engines_read() {
    for flag in ["--version", "-v", "-version"] {
        let said = call(&[flag]).assert_ok().stdout;
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].contains(" version "), "{said}");
        assert!(
            lines.iter().any(|line| line.starts_with("commit: ")),
            "{said}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("spec: 1.")),
            "{said}"
        );
        if Kind::under_test() == Kind::Rt {
            assert_eq!(
                lines[0],
                format!("rt version {}", env!("CARGO_PKG_VERSION"))
            );
            assert_eq!(lines[2..], ["spec: 1.3.0"]);
        }
    }
}

/// containerd's library reads the version of nobody else.
fn a_link_called_runc_answers_as_runc() {
    differs(Kind::Crun, "is always crun");
    let home = Directory::new();
    let runtime = Runtime::new();
    let link = home.join("runc");
    std::os::unix::fs::symlink(runtime.program(), &link).unwrap();
    let words = vec![link.to_str().unwrap(), "--version"];
    let said = runtime.call_as_is(words).run().assert_ok().stdout;
    let lines: Vec<&str> = said.lines().collect();
    let version = lines[0].strip_prefix("runc version 1.");
    assert!(version.is_some(), "{said}");
    assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."));
    if Kind::under_test() == Kind::Rt {
        let own = concat!("+rt.", env!("CARGO_PKG_VERSION"));
        assert!(lines[0].ends_with(own), "{said}");
        let words = vec![link.to_str().unwrap(), "bogus"];
        let outcome = runtime.call_as_is(words).run();
        assert_eq!(outcome.stderr, "rt: No help topic for 'bogus'\n");
    }
}

fn help_is_shown_and_succeeds() {
    differs(Kind::Crun, "has no -h");
    let verbs = [
        "run", "create", "start", "state", "kill", "delete", "list", "ps", "spec", "features",
    ];
    for words in [&["--help"] as &[&str], &["-h"], &["help"], &[]] {
        let said = call(words).assert_ok().stdout;
        for verb in verbs {
            assert!(said.contains(verb), "{verb} in {said}");
        }
    }
    for verb in verbs {
        for words in [[verb, "--help"], [verb, "-h"]] {
            assert!(call(&words).assert_ok().stdout.contains(verb));
        }
    }
}

fn one_dash_is_as_good_as_two() {
    differs(Kind::Crun, "takes one dash for single letters");
    let bundle = Bundle::new().sh("exit 4");
    bundle.write();
    let directory = bundle.path().to_str().unwrap();
    for flags in [
        ["-bundle", directory],
        ["--bundle", directory],
        ["-b", directory],
    ] {
        let words = ["run", flags[0], flags[1], "-no-new-keyring", bundle.id()];
        bundle.runtime().call(&words).run().assert_code(4);
    }
    let joined = format!("-bundle={directory}");
    bundle
        .runtime()
        .call(&["run", &joined, bundle.id()])
        .run()
        .assert_code(4);
}

fn a_flag_can_be_true_or_false() {
    differs(Kind::Crun, "has flags without a value");
    let bundle = Bundle::new().sh("exit 0");
    bundle.call("run", &["--keep=false"]).run().assert_ok();
    assert_eq!(
        bundle
            .runtime()
            .call(&["list", "--quiet=true"])
            .run()
            .stdout,
        ""
    );
    bundle.call("run", &["--keep=true"]).run().assert_ok();
    let kept = bundle.runtime().call(&["list", "-q"]).run().stdout;
    assert_eq!(kept, format!("{}\n", bundle.id()));
    let outcome = bundle.runtime().call(&["list", "--quiet=perhaps"]).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
}

/// cri-o and people write `delete ID --force`.
fn flags_may_follow_the_id() {
    differs(Kind::Crun, "takes flags before the id only");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.create();
    bundle
        .runtime()
        .call(&["delete", container.id(), "--force"])
        .run()
        .assert_ok();
    assert_eq!(bundle.runtime().call(&["list", "-q"]).run().stdout, "");
}

fn a_relative_root_is_taken_from_here() {
    let home = Directory::new();
    fs::create_dir(home.join("here")).unwrap();
    let runtime = Runtime::new().global("--root").global("here");
    call_in(&runtime, home.path(), &["list"]).assert_ok();
}

fn debug_says_more() {
    differs(Kind::Crun, "says nothing");
    let runtime = Runtime::new().global("--debug");
    let bundle = Bundle::with_runtime(&runtime).sh("exit 0");
    let outcome = bundle.run().assert_ok();
    assert!(!outcome.stderr.is_empty(), "{outcome}");
}
