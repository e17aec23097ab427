//! Golden errors: one line that says verb, container, place in config.json, what and why;
//! and nothing left behind. Under another runtime only the refusal and the traces count.

mod absent;
mod config;
mod log;
mod machine;

use libtest_mimic::Trial;

use crate::harness::{Bundle, Kind, Outcome, Traces};

pub(crate) fn tests() -> Vec<Trial> {
    [
        absent::tests(),
        config::tests(),
        machine::tests(),
        log::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Both verbs fail with this line, `BUNDLE` filled in, and leave nothing.
#[track_caller]
fn assert_error(bundle: &Bundle, line: &str) {
    for verb in ["create", "run"] {
        let before = Traces::of(bundle);
        let outcome = bundle.call(verb, &[]).run();
        before.assert_unchanged(bundle);
        assert_line(&outcome, bundle, verb, line);
    }
}

/// The same for a config.json that a test has written itself.
#[track_caller]
fn assert_error_as_written(bundle: &Bundle, line: &str) {
    for verb in ["create", "run"] {
        let before = Traces::of(bundle);
        let directory = bundle.path().to_str().unwrap();
        let outcome = bundle
            .runtime()
            .call(&[verb, "--bundle", directory, bundle.id()])
            .run();
        before.assert_unchanged(bundle);
        assert_line(&outcome, bundle, verb, line);
    }
}

#[track_caller]
fn assert_line(outcome: &Outcome, bundle: &Bundle, verb: &str, line: &str) {
    assert_eq!(outcome.code(), 1, "{outcome}");
    if bundle.runtime().kind() == Kind::Rt {
        let line = line.replace("BUNDLE", bundle.path().to_str().unwrap());
        assert_eq!(
            outcome.stderr,
            format!("rt {verb}: {}: {line}\n", bundle.id())
        );
        assert_eq!(outcome.stdout, "");
    }
}
