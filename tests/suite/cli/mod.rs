//! The command line: parsing of arguments, errors, output and exit statuses.

mod cgroups;
mod flags;
mod naming;
mod outputs;
mod refusals;
mod spec;
mod statuses;

use std::path::Path;

use crate::runner::Test;

use crate::harness::{Outcome, Runtime};

pub(crate) fn tests() -> Vec<Test> {
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

fn call(args: &[&str]) -> Outcome {
    Runtime::new().call(args).run()
}

/// Calls the runtime in a working directory.
fn call_in(runtime: &Runtime, directory: &Path, args: &[&str]) -> Outcome {
    let call = runtime.call(args);
    call.with(|command| command.current_dir(directory)).run()
}
