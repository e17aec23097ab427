//! Cgroups: where a container's processes are, what limits they have, and which devices they may
//! open.

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
