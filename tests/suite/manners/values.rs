//! Errors in config.json name the nearest value, the list, an example or the limit.

mod limits;
mod names;
mod terminal;
mod types;
mod warnings;

use serde_json::Value;

use crate::harness::{Bundle, HostState, only_rt};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    [
        limits::tests(),
        names::tests(),
        terminal::tests(),
        types::tests(),
        warnings::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A value at a JSON pointer of the template's config.json, and the line with which `rt create`
/// refuses it, without verb and id.
type Row<'a> = (&'a str, Value, &'a str);

#[track_caller]
fn assert_lines(rows: &[Row]) {
    only_rt("the texts are those of rt");
    for (pointer, value, line) in rows {
        assert_line(&Bundle::new().set(pointer, value.clone()), line);
    }
}

/// `rt create` fails with this line, and nothing of the container remains.
#[track_caller]
fn assert_line(bundle: &Bundle, line: &str) {
    assert_call(bundle, "create", &[], line);
}

#[track_caller]
fn assert_call(bundle: &Bundle, verb: &str, flags: &[&str], line: &str) {
    let before = HostState::of(bundle);
    let outcome = bundle.call(verb, flags).run().assert_code(1);
    before.assert_unchanged(bundle);
    let line = format!("rt {verb}: {}: {line}\n", bundle.id());
    assert_eq!(outcome.stderr, line);
    assert_eq!(outcome.stdout, "");
}
