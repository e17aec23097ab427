//! The command line: how arguments are taken, what is refused, what is printed.

mod cgroups;
mod flags;
mod naming;
mod outputs;
mod refusals;
mod spec;
mod statuses;

use std::path::Path;

use libtest_mimic::Trial;

use crate::harness::{Outcome, Runtime};

pub(crate) fn tests() -> Vec<Trial> {
    [
        cgroups::tests(),
        flags::tests(),
        refusals::tests(),
        naming::tests(),
        outputs::tests(),
        spec::tests(),
        statuses::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn call(words: &[&str]) -> Outcome {
    Runtime::new().call(words).run()
}

/// A call in a working directory.
fn call_in(runtime: &Runtime, directory: &Path, words: &[&str]) -> Outcome {
    let call = runtime.call(words);
    call.with(|command| command.current_dir(directory)).run()
}
