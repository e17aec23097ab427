//! Cgroups: where a container's processes are, what limits they have, and which devices they may
//! open.

mod devices;
mod effects;
mod limits;
pub(crate) mod resources;
mod seen;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    let tests = [
        limits::tests(),
        resources::tests(),
        devices::tests(),
        effects::tests(),
        seen::tests(),
    ];
    tests.into_iter().flatten().collect()
}
