//! Single commands: ps, exec, pause, run, delete.

use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![]
}
