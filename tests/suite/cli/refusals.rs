//! Refused command lines: the error texts and the exit statuses.

use crate::runner::Test;

use super::call;
use crate::harness::{Kind, Runtime, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_unknown_verb_is_refused_with_the_text_of_runc,
        a_wrong_number_of_arguments_is_refused,
        an_unknown_flag_is_refused,
        a_flag_without_its_value_is_refused,
        an_unimplemented_flag_may_be_false,
        the_state_directory_cannot_be_the_root_directory,
        an_unknown_log_format_is_refused,
        a_missing_log_directory_is_refused,
    ]
}

fn an_unknown_verb_is_refused_with_the_text_of_runc() {
    differs(Kind::Crun, "has another text");
    for args in [&["foo"] as &[&str], &["foo", "-h"], &["help", "foo"]] {
        let outcome = call(args).assert_code(3);
        outcome.assert_refused("No help topic for 'foo'");
    }
}

fn a_wrong_number_of_arguments_is_refused() {
    differs(Kind::Crun, "has another text");
    let cases: [(&[&str], &str); 8] = [
        (&["start"], "\"start\" requires exactly 1 argument(s)"),
        (
            &["start", "a", "b"],
            "\"start\" requires exactly 1 argument(s)",
        ),
        (&["run"], "\"run\" requires exactly 1 argument(s)"),
        (&["list", "a"], "\"list\" requires exactly 0 argument(s)"),
        (&["spec", "a"], "\"spec\" requires exactly 0 argument(s)"),
        (&["kill"], "\"kill\" requires a minimum of 1 argument(s)"),
        (&["ps"], "\"ps\" requires a minimum of 1 argument(s)"),
        (
            &["kill", "a", "9", "b"],
            "\"kill\" requires a maximum of 2 argument(s)",
        ),
    ];
    for (args, text) in cases {
        let outcome = call(args).assert_code(1).assert_refused(text);
        if Kind::under_test() == Kind::Rt {
            assert!(outcome.one_line().starts_with(&format!("rt: {text}: ")));
            assert_eq!(outcome.stdout, "");
        }
    }
}

/// runc always names the flag with one dash.
fn an_unknown_flag_is_refused() {
    for (args, typed) in [
        (&["--bogus", "list"] as &[&str], "--bogus"),
        (&["list", "--bogus"], "--bogus"),
        (&["list", "-bogus=1"], "-bogus"),
    ] {
        let outcome = call(args);
        assert_ne!(outcome.code(), 0, "{outcome}");
        let flag = match Kind::under_test() {
            Kind::Rt => typed,
            Kind::Runc => "-bogus",
            _ => continue,
        };
        let text = format!("flag provided but not defined: {flag}");
        assert!(outcome.one_line().contains(&text), "{outcome}");
    }
}

fn a_flag_without_its_value_is_refused() {
    let outcome = call(&["run", "-bundle"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() != Kind::Crun {
        assert!(
            outcome
                .one_line()
                .contains("flag needs an argument: -bundle"),
            "{outcome}"
        );
    }
}

/// go-runc writes `=false` for every flag that a manager has not set.
fn an_unimplemented_flag_may_be_false() {
    differs(Kind::Crun, "its flags without a value accept none");
    let runtime = Runtime::new();
    std::fs::create_dir_all(runtime.root()).unwrap();
    for flag in ["--systemd-cgroup=false", "-systemd-cgroup=0"] {
        runtime.call(&[flag, "list"]).run().assert_ok();
    }
}

fn the_state_directory_cannot_be_the_root_directory() {
    only_rt("Debian's runc accepts it");
    for root in ["/", "//", "/usr/..", "/."] {
        let outcome = Runtime::new()
            .global("--root")
            .global(root)
            .call(&["list"])
            .run();
        let outcome = outcome.assert_code(1);
        assert_eq!(
            outcome.stderr,
            "rt: Option --root argument should not be set to /\n"
        );
    }
}

fn an_unknown_log_format_is_refused() {
    let outcome = call(&["--log-format=xml", "list"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() != Kind::Crun {
        assert!(
            outcome.one_line().contains("invalid log-format: xml"),
            "{outcome}"
        );
    }
}

fn a_missing_log_directory_is_refused() {
    let outcome = call(&["--log=/nonexistent/log", "list"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() == Kind::Rt {
        assert_eq!(
            outcome.stderr,
            "rt: --log /nonexistent/log: not found (ENOENT; there is no /nonexistent)\n"
        );
    }
}
