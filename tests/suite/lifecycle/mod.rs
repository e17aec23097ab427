//! The life of a container: create, start, run, kill and delete, with the states in between.

mod damaged;
mod hung;
mod ids;
mod kill;
mod killed;
mod odd;
mod processless;
mod unexecuted;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, HostState, Runtime, alive, on_v2, signal, trials, wait_gone, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    let mut all = trials![
        run_exits_with_the_status_of_the_process,
        run_exits_137_when_kill_9_ends_the_process,
        run_exits_137_after_kill_by_the_runtime,
        run_forwards_signals,
        run_detached_leaves_the_process_running,
        run_keep_leaves_a_stopped_container,
        create_executes_nothing_before_start,
        create_reads_the_config_once,
        create_writes_the_pid_to_the_pid_file,
        run_resolves_the_pid_file_against_the_working_directory,
        state_has_the_fields_of_the_specification,
        state_says_stopped_when_the_process_has_ended,
        state_json_has_the_keys_that_other_tools_read,
        a_second_start_is_refused,
        start_of_a_stopped_container_is_refused,
        delete_of_a_running_container_is_refused,
        delete_of_a_created_container_works,
        delete_force_ends_a_running_container,
        a_missing_container_is_refused_except_by_delete_force,
        an_id_in_use_is_refused,
        an_id_can_be_reused_after_delete,
        invalid_ids_are_refused,
    ];
    all.extend(damaged::tests());
    all.extend(hung::tests());
    all.extend(ids::tests());
    all.extend(kill::tests());
    all.extend(killed::tests());
    all.extend(odd::tests());
    all.extend(processless::tests());
    all.extend(unexecuted::tests());
    all
}

fn sleeper() -> Bundle {
    Bundle::new().args(&["/probe", "sleep"])
}

fn waiter() -> Bundle {
    Bundle::new().args(&["/probe", "wait-signal"])
}

fn run_exits_with_the_status_of_the_process() {
    let bundle = Bundle::new().sh("exit 7");
    let before = HostState::of(&bundle);
    bundle.run().assert_code(7);
    before.assert_unchanged(&bundle);
}

fn run_exits_137_when_kill_9_ends_the_process() {
    let bundle = waiter();
    let before = HostState::of(&bundle);
    let run = bundle.call("run", &[]).start();
    run.wait_for("ready");
    signal(bundle.container().pid(), Signal::SIGKILL);
    run.wait().assert_code(137);
    before.assert_unchanged(&bundle);
}

fn run_exits_137_after_kill_by_the_runtime() {
    let bundle = waiter();
    let run = bundle.call("run", &[]).start();
    run.wait_for("ready");
    bundle.container().kill("KILL").assert_ok();
    run.wait().assert_code(137);
}

/// Including SIGINT, which is Ctrl-C.
fn run_forwards_signals() {
    for sent in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let bundle = waiter();
        let run = bundle.call("run", &[]).start();
        run.wait_for("ready");
        signal(run.pid(), sent);
        let outcome = run.wait().assert_ok();
        assert_eq!(
            outcome.stdout,
            format!("ready\n{}\n", sent as i32),
            "after {sent}"
        );
    }
}

fn run_detached_leaves_the_process_running() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    assert_eq!(container.status(), "running");
    assert!(alive(container.pid()));
    container.end();
    before.assert_unchanged(&bundle);
}

fn run_keep_leaves_a_stopped_container() {
    let bundle = Bundle::new().sh("exit 3");
    let before = HostState::of(&bundle);
    bundle.call("run", &["--keep"]).run().assert_code(3);
    let container = bundle.container();
    assert_eq!(container.status(), "stopped");
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn create_executes_nothing_before_start() {
    let bundle = Bundle::new().sh("cat /when");
    let container = bundle.create();
    let pid = container.pid();
    assert_eq!(container.status(), "created");
    assert!(alive(pid), "init of a created container is alive");
    // The program would have found no such file.
    let _bundle = bundle.file("when", "after create\n");
    container.start().assert_ok();
    container.wait_for("after create\n");
    wait_gone(pid);
    container.delete().assert_ok();
}

/// runtime.md, create: "Any changes made to config.json after this step will have no effect on the container."
fn create_reads_the_config_once() {
    let bundle = Bundle::new().sh("echo first");
    let container = bundle.create();
    let bundle = bundle.sh("echo second");
    bundle.write();
    container.start().assert_ok();
    container.wait_stopped();
    assert_eq!(container.stdout(), "first\n");
}

fn create_writes_the_pid_to_the_pid_file() {
    let bundle = sleeper();
    let file = bundle.runtime().home().join("pid");
    let container = bundle.create_with(&["--pid-file", file.to_str().unwrap()]);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        container.pid().to_string()
    );
    assert_eq!(
        std::fs::read_dir(bundle.path()).unwrap().count(),
        2,
        "nothing else in the bundle"
    );
}

/// Not against the bundle.
fn run_resolves_the_pid_file_against_the_working_directory() {
    let bundle = sleeper();
    let home = bundle.runtime().home().to_owned();
    let call = bundle.call("run", &["-d", "--pid-file", "here.pid"]);
    call.with(|command| command.current_dir(&home))
        .run()
        .assert_ok();
    let written = std::fs::read_to_string(home.join("here.pid")).unwrap();
    assert_eq!(written, bundle.container().pid().to_string());
}

fn state_has_the_fields_of_the_specification() {
    let bundle = sleeper().set("/annotations", json!({ "org.example.a": "b" }));
    let container = bundle.create();
    let state = container.state();
    let version: Vec<&str> = state["ociVersion"].as_str().unwrap().split('.').collect();
    assert!(version.len() >= 3 && version[0] == "1", "{state}");
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["status"], "created");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"], json!({ "org.example.a": "b" }));
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().unwrap();
    assert!(
        created.len() >= 20 && created.ends_with('Z') && &created[10..11] == "T",
        "{created}"
    );
}

fn state_says_stopped_when_the_process_has_ended() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    assert_eq!(container.state()["pid"], 0);
}

/// cAdvisor, old kubelets and eBPF tools read these keys of runc's state.json.
fn state_json_has_the_keys_that_other_tools_read() {
    let bundle = sleeper();
    let container = bundle.create();
    let directory = bundle.runtime().root().join(bundle.id());
    let text = std::fs::read_to_string(directory.join("state.json")).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["init_process_pid"], container.pid());
    assert!(state["init_process_start"].is_u64(), "{text}");
    assert_eq!(state["config"]["rootfs"], bundle.rootfs().to_str().unwrap());
    let key = if on_v2() { "" } else { "memory" };
    let memory = state["cgroup_paths"][key].as_str().unwrap_or_default();
    assert!(memory.ends_with(bundle.id()), "{}", state["cgroup_paths"]);
    let net = state["namespace_paths"]["NEWNET"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(net, format!("/proc/{}/ns/net", container.pid()));
}

fn a_second_start_is_refused() {
    let bundle = sleeper();
    let container = bundle.create();
    container.start().assert_ok();
    assert_eq!(container.status(), "running");
    container
        .start()
        .assert_refused("cannot start an already running container");
    assert_eq!(container.status(), "running");
}

fn start_of_a_stopped_container_is_refused() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    signal(container.pid(), Signal::SIGKILL);
    container.wait_stopped();
    container
        .start()
        .assert_refused("cannot start a container that has stopped");
}

fn delete_of_a_running_container_is_refused() {
    let bundle = sleeper();
    let container = bundle.run_detached();
    container.delete().assert_refused("");
    assert_eq!(container.status(), "running");
}

fn delete_of_a_created_container_works() {
    let bundle = sleeper();
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let pid = container.pid();
    container.delete().assert_ok();
    wait_gone(pid);
    before.assert_unchanged(&bundle);
}

fn delete_force_ends_a_running_container() {
    let bundle = Bundle::new().args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let pid = container.pid();
    container.wait_for("\n");
    container.delete_force().assert_ok();
    wait_until("the process to end", || !alive(pid));
    before.assert_unchanged(&bundle);
}

fn a_missing_container_is_refused_except_by_delete_force() {
    let runtime = Runtime::new();
    for verb in ["state", "start", "kill", "delete"] {
        runtime
            .call(&[verb, "missing"])
            .run()
            .assert_refused("does not exist");
    }
    runtime
        .call(&["delete", "--force", "missing"])
        .run()
        .assert_ok();
}

fn an_id_in_use_is_refused() {
    let bundle = sleeper();
    let container = bundle.create();
    let pid = container.pid();
    let again = bundle.call("create", &[]).run();
    again.assert_refused("container with given ID already exists");
    assert_eq!(
        (container.pid(), container.status().as_str()),
        (pid, "created")
    );
}

fn an_id_can_be_reused_after_delete() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    for _ in 0..3 {
        let container = bundle.create();
        container.start().assert_ok();
        container.wait_stopped();
        container.delete().assert_ok();
    }
}

fn invalid_ids_are_refused() {
    for id in [
        "..",
        ".",
        "a/b",
        "a b",
        "a:b",
        "ü",
        "a\n",
        &"a".repeat(2000),
    ] {
        let bundle = Bundle::new().args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.write();
        let path = bundle.path().to_str().unwrap().to_owned();
        bundle
            .runtime()
            .call(&["create", "--bundle", &path, id])
            .run()
            .assert_refused("");
        before.assert_unchanged(&bundle);
    }
}
