//! Rootless callers: a user with or without subordinate ids, and root of a user namespace.

pub(crate) mod callers;
mod exec;
mod ids;
mod life;
mod limits;
mod mounts;
mod spec;
mod view;

use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    [
        spec::tests(),
        ids::tests(),
        view::tests(),
        life::tests(),
        limits::tests(),
        mounts::tests(),
        exec::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
