//! `info`: the host, the kernel and the caller, on one screen.

use crate::harness::trials;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![]
}
