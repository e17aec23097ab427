//! A configuration without `process`: the container can be created, but not started (config.md, "Process").

use serde_json::json;

use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_container_without_a_process_is_created_and_not_started,
        exec_describes_a_process_of_its_own,
        run_needs_a_process,
    ]
}

const RUNC: &str = "runc refuses to create it";

fn a_container_without_a_process_is_created_and_not_started() {
    only_rt(RUNC);
    let bundle = Bundle::new().remove("/process");
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    let outcome = container.start().assert_code(1);
    let outcome = outcome.assert_refused("cannot start a container without a process: ");
    outcome.one_line();
    assert_eq!(container.status(), "created");
    container.delete().assert_ok();
}

fn exec_describes_a_process_of_its_own() {
    only_rt(RUNC);
    let bundle = Bundle::new().remove("/process").hostname("without");
    let container = bundle.create();
    let outcome = container.call("exec", &["/bin/hostname"]).assert_code(255);
    let message = "process: the container has none; describe one with --process";
    outcome.assert_refused(message).one_line();
    let file = bundle.path().join("process.json");
    let process = json!({"args": ["/bin/hostname"], "cwd": "/"});
    std::fs::write(&file, process.to_string()).unwrap();
    let flags = ["exec", "--process", file.to_str().unwrap(), bundle.id()];
    let outcome = bundle.runtime().call(&flags).run();
    assert_eq!(outcome.assert_ok().stdout, "without\n");
    container.delete_force().assert_ok();
}

fn run_needs_a_process() {
    only_rt(RUNC);
    let bundle = Bundle::new().remove("/process");
    bundle.assert_refused(&["process: required to run the container"]);
}
