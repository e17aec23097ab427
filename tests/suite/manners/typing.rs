//! Mistyped commands and flags, and the help.

use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![]
}
