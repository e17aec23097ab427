//! `check`: says what `create` would say, and changes nothing.

use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![]
}
