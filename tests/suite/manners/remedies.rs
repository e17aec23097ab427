//! Errors of the setup say what to do where that is nearly always right.

use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![]
}
