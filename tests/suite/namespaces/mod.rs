//! Namespaces: new, joined by path, and shared with the host.

mod modes;
mod shared;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [modes::tests(), shared::tests()]
        .into_iter()
        .flatten()
        .collect()
}
