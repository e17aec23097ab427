//! Programs, machines and callers that are not as usual.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use super::sleeper;
use crate::exec::{exec, running, through};
use crate::harness::{
    Bundle, Kind, Outcome, Runtime, Traces, differs, needs_strace, only_rt, trials, wait_until,
};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        the_kernel_may_cut_a_programs_name_inside_a_letter,
        a_program_whose_first_thread_has_ended_runs,
        where_proc_sys_is_a_mount_of_its_own,
        from_a_directory_that_is_gone,
        the_bundle_is_told_without_dots,
        an_empty_id_is_named,
        others_in_a_cgroup_of_the_same_name_are_left_alone,
        a_create_that_waits_for_a_hook_is_ended_by_delete_force,
        a_hook_that_is_ended_is_no_start,
    ]
}

/// After 15 bytes (`TASK_COMM_LEN`): what is left is no UTF-8.
fn the_kernel_may_cut_a_programs_name_inside_a_letter() {
    let name = "bin/\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}\u{43c}\u{438}\u{440}";
    let program = format!("/{name}");
    let bundle = Bundle::new()
        .executable(
            name,
            "#!/bin/sh\n[ \"$1\" = end ] || { sleep 1000 & wait; }\n",
        )
        .args(&[&program]);
    let before = Traces::of(&bundle);
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

/// The kernel shows it as a zombie, as it shows a process that has ended.
fn a_program_whose_first_thread_has_ended_runs() {
    differs(Kind::Runc, "the old one takes it for stopped");
    differs(Kind::Crun, "it takes it for stopped");
    let bundle = Bundle::new().args(&["/probe", "lose-first-thread"]);
    let before = Traces::of(&bundle);
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

/// In another container, or below a service manager that protects it (`ProtectKernelTunables=`).
const PROC_SYS: &str = "mount --bind /proc/sys /proc/sys && \
    mount -o remount,ro,bind /proc/sys && exec \"$@\"";

fn where_proc_sys_is_a_mount_of_its_own() {
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

fn from_a_directory_that_is_gone() {
    let gone = [
        "sh",
        "-c",
        "cd $(mktemp -d) && rmdir $PWD && exec \"$@\"",
        "sh",
    ];
    let bundle = sleeper();
    let run = bundle.call_through(&gone, "run", &["--detach"]);
    run.run().assert_ok();
    through(&bundle, &gone, &[], &["/bin/true"])
        .run()
        .assert_ok();
    only_rt("the text is our own");
    let relative = ["--pid-file", "pid"];
    let refused = through(&bundle, &gone, &relative, &["/bin/true"]).run();
    refused.assert_refused("working directory: ").one_line();
}

fn the_bundle_is_told_without_dots() {
    differs(Kind::Crun, "it tells it as it was given");
    let bundle = sleeper();
    bundle.write();
    let given = bundle.path().join("rootfs/..");
    let words = ["create", "--bundle", given.to_str().unwrap(), bundle.id()];
    bundle.runtime().call(&words).run().assert_ok();
    let container = bundle.container();
    assert_eq!(container.state()["bundle"], bundle.path().to_str().unwrap());
    container.delete().assert_ok();
}

fn an_empty_id_is_named() {
    differs(Kind::Crun, "it looks for it");
    for verb in ["state", "start", "delete"] {
        let outcome = Runtime::new().call(&[verb, ""]).run();
        outcome.assert_refused("container id cannot be empty");
    }
}

/// Whoever was to make the cgroup was killed before, and another has made it since.
fn others_in_a_cgroup_of_the_same_name_are_left_alone() {
    only_rt("the system call at which it is killed is ours");
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
    // It says that somebody is in there, or that there is nothing left.
    drop(first.container().delete());
    assert_eq!(running.status(), "running");
    running.delete_force().assert_ok();
    first.container().delete_force().assert_ok();
}

/// The rest of what it has made goes by itself.
fn a_create_that_waits_for_a_hook_is_ended_by_delete_force() {
    only_rt("runc's delete does nothing, and create waits on");
    let hook = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"]}]);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = sleeper().set(&format!("/hooks/{kind}"), hook.clone());
        let before = Traces::of(&bundle);
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

/// Nobody is told that it runs, and what it has made goes.
fn a_hook_that_is_ended_is_no_start() {
    only_rt("runc's start knows nothing of its hooks");
    let noted = |bundle: &Bundle| bundle.runtime().home().join("noted");
    let bundle = sleeper();
    let note = format!("touch {}", noted(&bundle).display());
    let bundle = bundle
        .writable()
        .set(
            "/hooks/startContainer",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "touch /hangs; exec sleep 1000"]}]),
        )
        .set(
            "/hooks/poststart",
            json!([{"path": "/bin/sh", "args": ["sh", "-c", note], "env": ["PATH=/bin:/usr/bin"]}]),
        );
    let run = bundle.call("run", &[]).start();
    let hangs = bundle.rootfs().join("hangs");
    wait_until("the hook", || hangs.exists());
    bundle.container().kill("KILL").assert_ok();
    let outcome = run.wait().assert_code(1);
    outcome.assert_refused("init: ended before it was executed");
    assert!(!noted(&bundle).exists(), "poststart hooks were called");
    running(sleeper()).1.end();
}
