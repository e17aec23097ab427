//! The descriptors that are open during execve(2), for every way to start a process. The kernel
//! resolves the image's paths before it closes the close-on-exec ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Call, Running, needs_strace, only_rt, trials, wait_until};
use crate::hooks::{CREATE_CONTAINER, CREATE_RUNTIME, POSTSTART, PRESTART, START_CONTAINER, add};
use crate::inherited::with_inherited_descriptors;

pub(super) fn tests() -> Vec<Test> {
    trials![
        nothing_is_open_at_execve_of_run,
        nothing_is_open_at_execve_of_run_with_hooks,
        nothing_is_open_at_execve_in_a_user_namespace,
        nothing_is_open_at_execve_on_an_overlay,
        nothing_is_open_at_execve_with_no_pivot,
        nothing_is_open_at_execve_without_a_mount_namespace,
        only_preserved_descriptors_are_open_at_execve,
        nothing_is_open_at_execve_of_create,
        nothing_is_open_at_execve_of_exec,
    ]
}

/// How long each execve(2) is delayed, in microseconds.
const DELAY: &str = "inject=execve:delay_enter=400000";

/// The descriptors of each process in execve(2), by pid.
type Seen = BTreeMap<i32, BTreeMap<i32, String>>;

fn tracing() -> [&'static str; 7] {
    [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=execve",
        "-e",
    ]
}

/// Runs the command under strace, which delays each execve(2).
fn delayed(bundle: &Bundle, arguments: &[&str], change: impl FnOnce(Call) -> Call) -> Running {
    needs_strace();
    only_rt("it inspects rt's own processes");
    let arguments: Vec<&str> = arguments.to_vec();
    let before: Vec<&str> = tracing().into_iter().chain([DELAY]).collect();
    change(bundle.runtime().call_through(&before, &arguments)).start()
}

/// Records the descriptors of the traced processes that are in execve(2).
fn record_descriptors(tracer: i32, seen: &mut Seen) {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let is = |field: &str| status.contains(&format!("{field}:\t{tracer}\n"));
        // The runtime itself executes no file of the image.
        if !is("TracerPid") || is("PPid") {
            continue;
        }
        let in_execve = || read("syscall").starts_with(&format!("{} ", libc::SYS_execve));
        if !in_execve() {
            continue;
        }
        let open = descriptors(pid);
        if in_execve() {
            seen.insert(pid, open);
        }
    }
}

fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let links = links.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let target: PathBuf = fs::read_link(entry.path()).ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    });
    links.collect()
}

/// Records descriptors until the command has ended.
fn watch(running: Running, mut seen: Seen) -> Seen {
    let tracer = running.pid();
    let gone = format!("/proc/{tracer}/stat");
    wait_until("the end of what is traced", || {
        record_descriptors(tracer, &mut seen);
        fs::read_to_string(&gone).map_or(true, |stat| stat.contains(") Z "))
    });
    running.wait().assert_ok();
    seen
}

/// Besides the descriptors below `passed` at most one is open, a socket or pipe.
#[track_caller]
fn assert_closed(seen: &Seen, passed: i32, processes: usize) {
    assert!(
        seen.len() >= processes,
        "not all processes were seen: {seen:?}"
    );
    for open in seen.values() {
        let rest: Vec<_> = open
            .iter()
            .filter(|(number, _)| **number >= 3 + passed)
            .collect();
        let is_socket_or_pipe =
            |link: &str| link.starts_with("socket:") || link.starts_with("pipe:");
        assert!(rest.len() <= 1, "{rest:?}");
        assert!(
            rest.iter().all(|(_, link)| is_socket_or_pipe(link)),
            "{rest:?}"
        );
    }
}

#[track_caller]
fn check_run(bundle: &Bundle, flags: &[&str], processes: usize) {
    bundle.write();
    let path = bundle.path().to_str().unwrap().to_owned();
    let mut arguments = vec!["run", "--bundle", &path];
    arguments.extend(flags);
    arguments.push(bundle.id());
    let running = delayed(bundle, &arguments, |call| call);
    assert_closed(&watch(running, Seen::new()), 0, processes);
}

fn quick() -> Bundle {
    Bundle::new().args(&["/bin/true"])
}

fn nothing_is_open_at_execve_of_run() {
    check_run(&quick(), &[], 1);
}

fn nothing_is_open_at_execve_of_run_with_hooks() {
    let outside = [PRESTART, CREATE_RUNTIME, CREATE_CONTAINER, POSTSTART];
    let kinds = outside.into_iter().chain([START_CONTAINER]);
    let bundle = kinds.fold(quick(), |bundle, kind| {
        add(bundle, kind, json!({ "path": "/bin/true" }))
    });
    check_run(&bundle, &[], 6);
}

fn nothing_is_open_at_execve_in_a_user_namespace() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = quick()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    check_run(&bundle, &[], 1);
}

fn nothing_is_open_at_execve_on_an_overlay() {
    let bundle = quick().set("/annotations", json!({ "rt.rootfs.overlay": "ephemeral" }));
    check_run(&bundle, &[], 1);
}

fn nothing_is_open_at_execve_with_no_pivot() {
    check_run(&quick(), &["--no-pivot"], 1);
}

fn nothing_is_open_at_execve_without_a_mount_namespace() {
    let bundle = quick()
        .writable()
        .without_namespace("mount")
        .remove("/mounts")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths");
    check_run(&bundle, &[], 1);
}

fn only_preserved_descriptors_are_open_at_execve() {
    let bundle = quick();
    bundle.write();
    let path = bundle.path().to_str().unwrap().to_owned();
    let arguments = ["run", "--preserve-fds", "2", "--bundle", &path, bundle.id()];
    let file = fs::File::open("/proc/self/status").unwrap();
    let running = delayed(&bundle, &arguments, |call| {
        with_inherited_descriptors(call, &[(3, &file), (4, &file)])
    });
    let seen = watch(running, Seen::new());
    assert_closed(&seen, 2, 1);
    assert!(
        seen.values()
            .all(|open| open.contains_key(&3) && open.contains_key(&4))
    );
}

fn nothing_is_open_at_execve_of_create() {
    let bundle = quick();
    bundle.write();
    let path = bundle.path().to_str().unwrap().to_owned();
    let running = delayed(
        &bundle,
        &["create", "--bundle", &path, bundle.id()],
        |call| call,
    );
    let container = bundle.container();
    wait_until("the container", || {
        let state = bundle.runtime().call(&["state", bundle.id()]).run();
        state.stdout.contains("\"status\": \"created\"")
    });
    let start = bundle.runtime().call(&["start", bundle.id()]).start();
    assert_closed(&watch(running, Seen::new()), 0, 1);
    start.wait().assert_ok();
    container.end();
}

fn nothing_is_open_at_execve_of_exec() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    for flags in [&[] as &[&str], &["--no-new-privs"], &["--user", "1000"]] {
        let arguments = [&["exec"], flags, &[container.id(), "/bin/true"]].concat();
        let running = delayed(&bundle, &arguments, |call| call);
        assert_closed(&watch(running, Seen::new()), 0, 1);
    }
}
