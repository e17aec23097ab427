//! runtime.md, "Operations": what each operation must do, and when it must generate an error.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use crate::common::{sleeper, stopped};
use crate::harness::{
    Bundle, Directory, Holder, HostState, Kind, alive, trials, violates, wait_gone, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        state_without_an_id_is_an_error,
        create_without_an_id_is_an_error,
        start_without_an_id_is_an_error,
        kill_without_an_id_is_an_error,
        delete_without_an_id_is_an_error,
        create_without_a_configuration_is_an_error,
        operations_on_a_missing_container_are_errors,
        create_with_a_used_id_is_an_error,
        create_with_an_invalid_id_is_an_error,
        create_without_a_bundle_is_an_error,
        start_of_a_running_container_is_an_error,
        start_and_delete_of_a_creating_container_are_errors,
        start_of_a_stopped_container_is_an_error,
        start_without_a_process_is_an_error,
        kill_sends_the_signal,
        kill_reaches_a_created_container,
        kill_of_a_stopped_container_is_an_error,
        delete_of_a_running_container_is_an_error,
        delete_keeps_resources_that_create_did_not_make,
        delete_frees_the_id,
    ]
}

/// "This operation MUST generate an error if it is not provided the ID of a container."
#[track_caller]
fn assert_needs_an_id(verb: &str) {
    let bundle = sleeper();
    bundle.write();
    let before = HostState::of(&bundle);
    let directory = ["-b", bundle.path().to_str().unwrap()];
    let more = if verb == "create" {
        &directory[..]
    } else {
        &[]
    };
    let outcome = bundle.runtime().call(&[&[verb], more].concat()).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    before.assert_unchanged(&bundle);
}

fn state_without_an_id_is_an_error() {
    assert_needs_an_id("state");
}

fn create_without_an_id_is_an_error() {
    assert_needs_an_id("create");
}

fn start_without_an_id_is_an_error() {
    assert_needs_an_id("start");
}

fn kill_without_an_id_is_an_error() {
    assert_needs_an_id("kill");
}

fn delete_without_an_id_is_an_error() {
    assert_needs_an_id("delete");
}

/// bundle.md: "This REQUIRED file MUST reside in the root of the bundle directory and MUST be named config.json."
fn create_without_a_configuration_is_an_error() {
    let bundle = sleeper();
    bundle.write();
    let file = bundle.path().join("config.json");
    for place in ["rootfs/config.json", "configuration.json"] {
        fs::rename(&file, bundle.path().join(place)).unwrap();
        let before = HostState::of(&bundle);
        let outcome = bundle.call_as_written(&[], "create", &[]).run();
        assert_ne!(outcome.code(), 0, "{place}: {outcome}");
        before.assert_unchanged(&bundle);
        fs::rename(bundle.path().join(place), &file).unwrap();
    }
}

/// "Attempting to query a container that does not exist MUST generate an error."
fn operations_on_a_missing_container_are_errors() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    for verb in ["state", "start", "kill", "delete"] {
        let outcome = bundle.runtime().call(&[verb, "no-such-container"]).run();
        assert_ne!(outcome.code(), 0, "{outcome}");
    }
    before.assert_unchanged(&bundle);
}

/// "If the ID provided is not unique … a new container MUST NOT be created", and the old one stays.
fn create_with_a_used_id_is_an_error() {
    let bundle = sleeper();
    let container = bundle.create();
    let (state, before) = (container.state(), HostState::of(&bundle));
    assert_ne!(bundle.call("create", &[]).run().code(), 0);
    before.assert_unchanged(&bundle);
    assert_eq!(container.state(), state);
    container.start().assert_ok();
    assert_ne!(bundle.call("create", &[]).run().code(), 0);
    assert_eq!(container.status(), "running");
}

/// "or is not valid in any other way"
fn create_with_an_invalid_id_is_an_error() {
    violates(Kind::Crun, "takes any id that is a file name");
    for id in ["", ".", "..", "a/b", "../x", "a b", "a\nb", "ä", "a*"] {
        let bundle = sleeper().with_id(id);
        let before = HostState::of(&bundle);
        let outcome = bundle.call("create", &[]).run();
        assert_ne!(outcome.code(), 0, "{id:?}: {outcome}");
        before.assert_unchanged(&bundle);
    }
}

/// "MUST generate an error if it is not provided a path to the bundle", and the working directory is not a bundle.
fn create_without_a_bundle_is_an_error() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let call = bundle.runtime().call(&["create", bundle.id()]);
    let outcome = call.with(|command| command.current_dir("/proc")).run();
    assert_ne!(outcome.code(), 0, "{outcome}");
    before.assert_unchanged(&bundle);
}

/// "Attempting to start a container that is not created MUST have no effect on the container
/// and MUST generate an error."
fn start_of_a_running_container_is_an_error() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    let state = container.state();
    assert_ne!(container.start().code(), 0);
    assert_eq!(container.state(), state);
    assert!(alive(container.pid()));
}

fn start_of_a_stopped_container_is_an_error() {
    let bundle = sleeper();
    let container = stopped(&bundle);
    let state = container.state();
    assert_ne!(container.start().code(), 0);
    assert_eq!(container.state(), state);
}

/// "This operation MUST generate an error if process was not set." `create` may do so already.
fn start_without_a_process_is_an_error() {
    let bundle = sleeper().remove("/process");
    let before = HostState::of(&bundle);
    if bundle.call("create", &[]).run().code() == 0 {
        assert_ne!(bundle.container().start().code(), 0);
        bundle.container().delete_force().assert_ok();
    }
    before.assert_unchanged(&bundle);
}

/// "This operation MUST send the specified signal to the container process."
fn kill_sends_the_signal() {
    for (name, number) in [("TERM", 15), ("SIGUSR1", 10), ("HUP", 1), ("12", 12)] {
        let bundle = Bundle::new().args(&["/probe", "wait-signal"]);
        let container = bundle.run_detached();
        container.wait_for("ready");
        container.kill(name).assert_ok();
        assert_eq!(
            container.wait_for(&format!("{number}\n")),
            format!("ready\n{number}\n")
        );
    }
}

fn kill_reaches_a_created_container() {
    let bundle = sleeper();
    let container = bundle.create();
    let pid = container.pid();
    container.kill("KILL").assert_ok();
    wait_gone(pid);
    assert_eq!(container.status(), "stopped");
}

/// "neither created nor running MUST have no effect on the container and MUST generate an error"
fn kill_of_a_stopped_container_is_an_error() {
    let bundle = sleeper();
    let container = stopped(&bundle);
    let state = container.state();
    assert_ne!(container.kill("TERM").code(), 0);
    assert_eq!(container.state(), state);
}

/// While a hook of `create` runs, the container is neither created nor stopped.
fn start_and_delete_of_a_creating_container_are_errors() {
    violates(Kind::Runc, "its delete makes create fail");
    violates(Kind::Crun, "its delete removes the container");
    let files = Directory::new();
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!(
        "echo > {0}/began; read line < {0}/end", files.path().display()
    )] }]);
    nix::unistd::mkfifo(&files.join("end"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let bundle = sleeper().set("/hooks/createRuntime", hook);
    let create = bundle.call("create", &[]).start();
    wait_until("the hook", || files.join("began").exists());
    for verb in ["start", "delete"] {
        assert_ne!(
            bundle.runtime().call(&[verb, bundle.id()]).run().code(),
            0,
            "{verb}"
        );
    }
    fs::write(files.join("end"), "go\n").unwrap();
    create.wait().assert_ok();
    let container = bundle.container();
    assert_eq!(container.status(), "created");
    container.delete_force().assert_ok();
}

/// "Attempting to delete a container that is not stopped MUST have no effect on the container
/// and MUST generate an error." All runtimes
/// make an exception for a container that is only created, because its program has not run.
fn delete_of_a_running_container_is_an_error() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    let (state, before) = (container.state(), HostState::of(&bundle));
    assert_ne!(container.delete().code(), 0);
    assert_eq!(container.state(), state);
    assert!(alive(container.pid()));
    before.assert_unchanged(&bundle);
}

/// "resources associated with the container, but not created by this container, MUST NOT be
/// deleted"
fn delete_keeps_resources_that_create_did_not_make() {
    let holder = Holder::new(&["--net"]);
    let shared = crate::harness::Directory::new();
    fs::write(shared.join("file"), "kept").unwrap();
    let network = holder.path("net");
    let bundle = sleeper()
        .namespace("network", Some(&network))
        .mount(json!({"destination": "/tmp", "type": "bind", "source": shared.path(), "options": ["bind"]}));
    let before = holder.namespace("net");
    let container = bundle.run_detached();
    container.end();
    assert_eq!(holder.namespace("net"), before);
    assert!(alive(holder.pid()));
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "kept");
    assert!(bundle.rootfs().join("bin/busybox").exists());
    assert!(bundle.path().join("config.json").exists());
}

/// "Once a container is deleted its ID MAY be used by a subsequent container."
fn delete_frees_the_id() {
    let bundle = sleeper();
    for _ in 0..2 {
        stopped(&bundle).delete().assert_ok();
        let outcome = bundle.runtime().call(&["state", bundle.id()]).run();
        assert_ne!(outcome.code(), 0, "{outcome}");
    }
}
