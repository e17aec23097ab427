//! Unusual programs, hosts and callers.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::sleeper;
use crate::exec::{exec, running, through};
use crate::harness::{
    Bundle, HostState, Kind, Outcome, Runtime, differs, needs_strace, only_rt, trials, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_program_name_that_the_kernel_cuts_inside_a_utf8_character_is_no_problem,
        a_program_whose_main_thread_has_ended_is_running,
        containers_work_where_proc_sys_is_a_separate_mount,
        containers_work_from_a_deleted_working_directory,
        state_reports_the_bundle_as_a_canonical_path,
        an_empty_id_is_refused,
        delete_spares_another_container_in_a_cgroup_of_the_same_name,
        delete_force_ends_a_create_that_waits_for_a_hook,
        a_container_killed_during_a_start_hook_has_not_started,
    ]
}

/// The kernel keeps 15 bytes of the name (`TASK_COMM_LEN`), which need not be valid UTF-8.
fn a_program_name_that_the_kernel_cuts_inside_a_utf8_character_is_no_problem() {
    let name = "bin/\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}\u{43c}\u{438}\u{440}";
    let program = format!("/{name}");
    let bundle = Bundle::new()
        .executable(
            name,
            "#!/bin/sh\n[ \"$1\" = end ] || { sleep 1000 & wait; }\n",
        )
        .args(&[&program]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    assert_eq!(container.status(), "running");
    exec(&bundle, &[], &["/bin/true"]).assert_ok();
    exec(&bundle, &[], &[&program, "end"]).assert_ok();
    let listed = bundle.runtime().call(&["list", "-q"]).run().assert_ok();
    assert_eq!(listed.stdout.trim_end(), bundle.id());
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

/// The kernel shows the process as a zombie, like a process that has ended.
fn a_program_whose_main_thread_has_ended_is_running() {
    differs(Kind::Runc, "an old runc reports it as stopped");
    differs(Kind::Crun, "it reports it as stopped");
    let bundle = Bundle::new().args(&["/probe", "lose-first-thread"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    container.wait_for("lost");
    let stat = format!("/proc/{}/stat", container.pid());
    wait_until("the thread to end", || {
        fs::read_to_string(&stat).unwrap().contains(") Z ")
    });
    assert_eq!(container.status(), "running");
    container.delete().assert_refused("not stopped");
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

/// As in a container, or in a service with `ProtectKernelTunables=`.
const PROC_SYS: &str = "mount --bind /proc/sys /proc/sys && \
    mount -o remount,ro,bind /proc/sys && exec \"$@\"";

fn containers_work_where_proc_sys_is_a_separate_mount() {
    let inside = ["unshare", "-m", "sh", "-c", PROC_SYS, "sh"];
    let bundle = sleeper();
    let run = bundle.call_through(&inside, "run", &["--detach"]);
    run.run().assert_ok();
    through(&bundle, &inside, &[], &["/bin/true"])
        .run()
        .assert_ok();
    let delete = ["delete", "--force", bundle.id()];
    let delete = bundle.runtime().call_through(&inside, &delete);
    delete.run().assert_ok();
}

fn containers_work_from_a_deleted_working_directory() {
    let deleted = [
        "sh",
        "-c",
        "cd $(mktemp -d) && rmdir $PWD && exec \"$@\"",
        "sh",
    ];
    let bundle = sleeper();
    let run = bundle.call_through(&deleted, "run", &["--detach"]);
    run.run().assert_ok();
    through(&bundle, &deleted, &[], &["/bin/true"])
        .run()
        .assert_ok();
    only_rt("the text is our own");
    let relative = ["--pid-file", "pid"];
    let refused = through(&bundle, &deleted, &relative, &["/bin/true"]).run();
    refused.assert_refused("working directory: ").one_line();
}

fn state_reports_the_bundle_as_a_canonical_path() {
    differs(Kind::Crun, "it reports the path as given");
    let bundle = sleeper();
    bundle.write();
    let given = bundle.path().join("rootfs/..");
    let arguments = ["create", "--bundle", given.to_str().unwrap(), bundle.id()];
    bundle.runtime().call(&arguments).run().assert_ok();
    let container = bundle.container();
    assert_eq!(container.state()["bundle"], bundle.path().to_str().unwrap());
    container.delete().assert_ok();
}

fn an_empty_id_is_refused() {
    differs(Kind::Crun, "it looks for a container with an empty id");
    for verb in ["state", "start", "delete"] {
        let outcome = Runtime::new().call(&[verb, ""]).run();
        outcome.assert_refused("container id cannot be empty");
    }
}

/// The first create is killed before it makes the cgroup; a second container then makes it.
fn delete_spares_another_container_in_a_cgroup_of_the_same_name() {
    only_rt("the test depends on the system calls of rt");
    needs_strace();
    let runtime = Runtime::new();
    let first = Bundle::with_runtime(&runtime).args(&["/probe", "sleep"]);
    let path = json!(format!("/of-both-{}", first.id()));
    let first = first.set("/linux/cgroupsPath", path.clone());
    let second = sleeper().set("/linux/cgroupsPath", path);
    let kill = "inject=mkdirat:signal=KILL:when=1";
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", kill];
    drop(first.call_through(&strace, "create", &[]).run());
    assert_eq!(first.container().status(), "stopped", "it was not killed");
    let running = second.run_detached();
    // The delete may fail, because the cgroup is in use.
    drop(first.container().delete());
    assert_eq!(running.status(), "running");
    running.delete_force().assert_ok();
    first.container().delete_force().assert_ok();
}

/// The create command then removes everything that it has made.
fn delete_force_ends_a_create_that_waits_for_a_hook() {
    only_rt("runc's delete does nothing, and create keeps waiting");
    let hook = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"]}]);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = sleeper().set(&format!("/hooks/{kind}"), hook.clone());
        let before = HostState::of(&bundle);
        let create = bundle.call("create", &[]).start();
        wait_until("a container", || {
            let state = bundle.runtime().root().join(bundle.id()).join("state.json");
            let text = fs::read_to_string(state).unwrap_or_default();
            text.contains("init_process_pid") && !text.contains("\"init_process_pid\":0,")
        });
        assert_eq!(bundle.container().status(), "creating", "{kind}");
        bundle.container().delete_force().assert_ok();
        let outcome: Outcome = create.wait().assert_code(1);
        outcome.one_line();
        before.assert_unchanged(&bundle);
    }
}

/// No poststart hook is called, and the container is removed.
fn a_container_killed_during_a_start_hook_has_not_started() {
    only_rt("runc's start does not notice it");
    let marker = |bundle: &Bundle| bundle.runtime().home().join("called");
    let bundle = sleeper();
    let script = format!("touch {}", marker(&bundle).display());
    let bundle = bundle
        .writable()
        .set(
            "/hooks/startContainer",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "touch /hangs; exec sleep 1000"]}]),
        )
        .set(
            "/hooks/poststart",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]),
        );
    let run = bundle.call("run", &[]).start();
    let hangs = bundle.rootfs().join("hangs");
    wait_until("the hook", || hangs.exists());
    bundle.container().kill("KILL").assert_ok();
    let outcome = run.wait().assert_code(1);
    outcome.assert_refused("init: ended before it was executed");
    assert!(!marker(&bundle).exists(), "poststart hooks were called");
    running(sleeper()).1.end();
}
