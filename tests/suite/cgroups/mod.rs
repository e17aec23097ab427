//! cgroups: where the container is put, what it may use, and which devices it may open.

mod devices;
mod limits;
mod seen;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [limits::tests(), devices::tests(), seen::tests()]
        .into_iter()
        .flatten()
        .collect()
}
