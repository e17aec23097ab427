//! Errors: the exact line with verb, container, field of config.json, operation and reason. After
//! an error nothing of the container remains. Other runtimes only have to refuse and to clean up.

mod absent;
mod config;
mod host;
mod log;

use crate::runner::Test;

use crate::harness::{Bundle, HostState, Kind, Outcome};

pub(crate) fn tests() -> Vec<Test> {
    [
        absent::tests(),
        config::tests(),
        host::tests(),
        log::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `create` and `run` fail with this line, in which `BUNDLE` stands for the bundle's path, and
/// nothing of the container remains.
#[track_caller]
pub(crate) fn assert_error(bundle: &Bundle, line: &str) {
    for verb in ["create", "run"] {
        let before = HostState::of(bundle);
        let outcome = bundle.call(verb, &[]).run();
        before.assert_unchanged(bundle);
        assert_line(&outcome, bundle, verb, line);
    }
}

/// As [`assert_error`], for a config.json that the test has written itself.
#[track_caller]
fn assert_error_as_written(bundle: &Bundle, line: &str) {
    for verb in ["create", "run"] {
        let before = HostState::of(bundle);
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
