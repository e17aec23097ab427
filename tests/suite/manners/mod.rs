//! Manners: what `rt` says when it is asked for help, mistyped, or refuses. The texts are ours, so
//! other runtimes are not tested with them, except where they do the same.

pub(crate) mod check;
mod documents;
mod help;
mod info;
mod remedies;
mod typing;
mod values;
mod verbs;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        check::tests(),
        documents::tests(),
        help::tests(),
        info::tests(),
        remedies::tests(),
        typing::tests(),
        values::tests(),
        verbs::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
