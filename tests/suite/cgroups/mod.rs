//! Cgroups: where a container's processes are, what limits they have, and which devices they may
//! open.

mod devices;
mod limits;
mod seen;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [limits::tests(), devices::tests(), seen::tests()]
        .into_iter()
        .flatten()
        .collect()
}
