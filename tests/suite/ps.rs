//! `ps`: the processes of a container, as a table of the host's ps(1) and as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, Kind, Outcome, Runtime, View, alive, cgroup_of, differs, namespace_of,
    needs, on_v2, only_rt, signal, skip, trials, wait_until,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_table_has_the_lines_of_the_container,
        options_are_passed_to_ps,
        options_may_be_one_argument,
        flags_after_the_id_are_passed_to_ps,
        json_is_one_line_of_pids,
        processes_in_nested_cgroups_are_listed,
        processes_are_listed_in_the_v2_view,
        a_process_in_a_threaded_cgroup_is_listed,
        without_cgroups_the_processes_of_the_pid_namespace_are_listed,
        a_stopped_container_has_no_processes,
        a_table_that_cannot_be_printed_is_an_error,
        the_path_and_environment_of_the_caller_are_not_used,
        an_ignored_sigchld_has_no_effect,
    ]
}

/// A shell with two children.
fn shell_with_children() -> Bundle {
    Bundle::new().sh("sleep 1000 & sleep 1000 & echo ready; wait")
}

fn running(bundle: &Bundle) -> Container {
    let container = bundle.run_detached();
    container.wait_for("ready");
    // The shell prints this before its children have executed their program.
    let is_shell = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == "sh")
    };
    wait_until("the shell's children execute their program", || {
        !children(container.pid()).iter().any(is_shell)
    });
    container
}

/// The container's first process and its children.
fn process_tree(container: &Container) -> Vec<i32> {
    let pid = container.pid();
    let mut pids = vec![pid];
    pids.extend(children(pid));
    pids.sort_unstable();
    pids
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn ps(bundle: &Bundle, args: &[&str]) -> Outcome {
    needs("ps", "procps");
    let args: Vec<&str> = ["ps"].iter().chain(args).copied().collect();
    bundle.runtime().call(&args).run()
}

#[track_caller]
fn listed(bundle: &Bundle) -> Vec<i32> {
    let output = ps(bundle, &["--format", "json", bundle.id()])
        .assert_ok()
        .stdout;
    let list: Value = serde_json::from_str(&output).unwrap();
    let pids = list.as_array().into_iter().flatten();
    let mut pids: Vec<i32> = pids
        .map(|pid| i32::try_from(pid.as_i64().unwrap()).unwrap())
        .collect();
    pids.sort_unstable();
    pids
}

/// The column titles and the rows of a table.
fn rows(table: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect());
    (lines.next().unwrap(), lines.collect())
}

/// The sorted values of a table's column PID.
fn pids(table: &str) -> Vec<i32> {
    let (titles, rows) = rows(table);
    let column = titles.iter().position(|title| *title == "PID").unwrap();
    let mut pids: Vec<i32> = rows
        .iter()
        .map(|row| row[column].parse().unwrap())
        .collect();
    pids.sort_unstable();
    pids
}

fn the_table_has_the_lines_of_the_container() {
    differs(Kind::Crun, "prints only pids");
    let bundle = shell_with_children();
    let container = running(&bundle);
    for args in [
        &[bundle.id()] as &[&str],
        &["-f", "table", bundle.id()],
        &["--format=table", bundle.id()],
    ] {
        let output = ps(&bundle, args).assert_ok().stdout;
        let (titles, rows) = rows(&output);
        assert_eq!(
            titles[..3],
            ["UID", "PID", "PPID"],
            "those of -ef: {output}"
        );
        assert_eq!(titles.last(), Some(&"CMD"));
        assert_eq!(pids(&output), process_tree(&container), "{output}");
        let sleeps = rows.iter().filter(|row| row[7..] == ["sleep", "1000"]);
        assert_eq!(sleeps.count(), 2, "{output}");
    }
}

fn options_are_passed_to_ps() {
    differs(Kind::Crun, "prints only pids");
    let bundle = shell_with_children();
    let container = running(&bundle);
    let output = ps(&bundle, &[bundle.id(), "-e", "-o", "pid,comm"])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&output).0, ["PID", "COMMAND"]);
    assert_eq!(pids(&output), process_tree(&container));
    let output = ps(&bundle, &[bundle.id(), "-eo", "comm,pid", "--sort=-pid"])
        .assert_ok()
        .stdout;
    let (titles, rows) = rows(&output);
    assert_eq!(titles, ["COMMAND", "PID"]);
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(
        names,
        ["sleep", "sleep", "sh"],
        "in the order of ps: {output}"
    );
}

/// containerd passes all options in one argument, which may be empty.
fn options_may_be_one_argument() {
    differs(Kind::Crun, "prints only pids");
    let bundle = shell_with_children();
    let container = running(&bundle);
    let output = ps(&bundle, &[bundle.id(), "aux"]).assert_ok().stdout;
    assert_eq!(rows(&output).0[..2], ["USER", "PID"]);
    assert_eq!(pids(&output), process_tree(&container));
    differs(
        Kind::Runc,
        "passes an empty argument, and one with spaces, to ps, which refuses it",
    );
    let output = ps(&bundle, &[bundle.id(), ""]).assert_ok().stdout;
    assert_eq!(rows(&output).0[..3], ["UID", "PID", "PPID"]);
    assert_eq!(pids(&output), process_tree(&container));
    let output = ps(&bundle, &[bundle.id(), " -e -o pid,comm  "])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&output).0, ["PID", "COMMAND"]);
    assert_eq!(pids(&output), process_tree(&container));
}

fn flags_after_the_id_are_passed_to_ps() {
    differs(Kind::Crun, "accepts flags everywhere");
    let bundle = shell_with_children();
    let container = running(&bundle);
    // `-f` and `--format` have another meaning for ps than for the runtime.
    let output = ps(&bundle, &[bundle.id(), "-e", "-f"]).assert_ok().stdout;
    assert_eq!(pids(&output), process_tree(&container));
    let output = ps(&bundle, &[bundle.id(), "-e", "--format", "comm,pid"])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&output).0, ["COMMAND", "PID"]);
    ps(&bundle, &[bundle.id(), "--format", "json"]).assert_refused("unknown user-defined format");
    ps(&bundle, &[bundle.id(), "--", "-e"]).assert_refused("garbage option");
    let output = ps(&bundle, &["--", bundle.id(), "-e"]).assert_ok().stdout;
    assert_eq!(pids(&output), process_tree(&container));
}

fn json_is_one_line_of_pids() {
    let bundle = shell_with_children();
    let container = running(&bundle);
    let output = ps(&bundle, &["-f", "json", bundle.id()]).assert_ok().stdout;
    if bundle.runtime().kind() != Kind::Crun {
        let numbers: Vec<String> = process_tree(&container)
            .iter()
            .map(i32::to_string)
            .collect();
        assert_eq!(output, format!("[{}]\n", numbers.join(",")));
    }
    assert_eq!(listed(&bundle), process_tree(&container));
}

/// Moves a process to a new cgroup `name` below its own, in every v1 hierarchy.
fn move_below(pid: i32, name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let controllers = table.lines().filter_map(|line| line.split(':').nth(1));
    let mut cgroups = Vec::new();
    for controller in controllers.filter(|names| !names.is_empty()) {
        let own = cgroup_of(pid, controller);
        let below = own.join(name);
        fs::create_dir(&below).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(own.join(file)) {
                fs::write(below.join(file), value).unwrap();
            }
        }
        fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
        cgroups.push(below);
    }
    cgroups
}

fn processes_in_nested_cgroups_are_listed() {
    if on_v2() {
        skip("the test of the v2 view covers cgroup v2");
    }
    differs(Kind::Crun, "creates cgroups below the container's itself");
    let bundle = shell_with_children();
    let container = running(&bundle);
    let pids = process_tree(&container);
    let cgroups = move_below(*pids.last().unwrap(), "below");
    assert!(cgroups.len() > 3, "{cgroups:?}");
    assert_eq!(listed(&bundle), pids);
    let output = ps(&bundle, &[bundle.id()]).assert_ok().stdout;
    assert_eq!(self::pids(&output), pids);
}

fn shell_with_children_on_v2() -> Bundle {
    let runtime = Runtime::new().view(View::V2);
    Bundle::with_runtime(&runtime)
        .remove("/linux/resources")
        .sh("sleep 1000 & sleep 1000 & echo ready; wait")
}

fn processes_are_listed_in_the_v2_view() {
    let bundle = shell_with_children_on_v2();
    let container = running(&bundle);
    let pids = process_tree(&container);
    assert_eq!(listed(&bundle), pids);
    let own = cgroup_of(pids[0], "");
    for (name, pid) in [("one", pids[1]), ("one/two", pids[2])] {
        fs::create_dir(own.join(name)).unwrap();
        fs::write(own.join(name).join("cgroup.procs"), pid.to_string()).unwrap();
    }
    assert_eq!(listed(&bundle), pids);
    differs(Kind::Crun, "prints only pids");
    let output = ps(&bundle, &[bundle.id(), "aux"]).assert_ok().stdout;
    assert_eq!(self::pids(&output), pids);
}

/// cgroup.procs of a threaded cgroup cannot be read; its processes are listed in the parent.
fn a_process_in_a_threaded_cgroup_is_listed() {
    differs(Kind::Runc, "Debian's version fails at the unreadable file");
    let bundle = shell_with_children_on_v2();
    let container = running(&bundle);
    let pids = process_tree(&container);
    let threaded = cgroup_of(pids[0], "").join("threaded");
    fs::create_dir(&threaded).unwrap();
    fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
    fs::write(threaded.join("cgroup.threads"), pids[2].to_string()).unwrap();
    assert!(fs::read_to_string(threaded.join("cgroup.procs")).is_err());
    assert_eq!(listed(&bundle), pids);
}

/// Rootless containers may have no cgroups. Their processes are then those in the pid namespace.
fn without_cgroups_the_processes_of_the_pid_namespace_are_listed() {
    only_rt("the test changes rt's state.json");
    let script = "busybox unshare -pf sleep 1000 & sleep 1000 & echo ready; wait";
    let bundle = Bundle::new().sh(script).capabilities(&["CAP_SYS_ADMIN"]);
    let container = running(&bundle);
    let pid = container.pid();
    let mut nsenter = Command::new("nsenter")
        .args(["-p", "-t", &pid.to_string(), "sleep", "1000"])
        .spawn()
        .unwrap();
    let joiner = nsenter.id().cast_signed();
    wait_until("the fork into the namespace", || {
        !children(joiner).is_empty()
    });
    let joined_process = children(joiner)[0];
    let mut expected = vec![joined_process];
    wait_until("the nested pid namespace", || {
        children(pid).iter().any(|pid| {
            let below = children(*pid);
            let own = namespace_of(&below.first().unwrap_or(pid).to_string(), "pid");
            own != namespace_of(&pid.to_string(), "pid")
        })
    });
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        expected.push(pid);
        waiting.extend(children(pid));
    }
    expected.sort_unstable();
    assert_eq!(
        expected.len(),
        5,
        "shell, unshare, two sleeps, and the process that joined"
    );
    let path = bundle.runtime().root().join(bundle.id()).join("state.json");
    let rewrite = |change: &dyn Fn(&mut Value)| {
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut state);
        fs::write(&path, state.to_string()).unwrap();
    };
    let before = fs::read(&path).unwrap();
    rewrite(&|state| state["cgroup_paths"] = json!({}));
    assert_eq!(listed(&bundle), expected);
    rewrite(&|state| state["own_pid_namespace"] = false.into());
    assert_eq!(listed(&bundle), [pid]);
    fs::write(&path, before).unwrap();
    signal(joined_process, Signal::SIGKILL);
    nsenter.wait().unwrap();
    container.end();
    wait_until("all to end", || !expected.iter().any(|pid| alive(*pid)));
}

fn a_stopped_container_has_no_processes() {
    differs(Kind::Crun, "refuses a stopped container");
    let bundle = shell_with_children();
    let container = running(&bundle);
    let pids = process_tree(&container);
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    wait_until("all to end", || !pids.iter().any(|pid| alive(*pid)));
    let output = ps(&bundle, &[bundle.id()]).assert_ok().stdout;
    let (titles, rows) = rows(&output);
    assert_eq!((titles[1], rows.len()), ("PID", 0), "{output}");
    assert_eq!(
        ps(&bundle, &["-f", "json", bundle.id()]).assert_ok().stdout,
        "null\n"
    );
}

fn a_table_that_cannot_be_printed_is_an_error() {
    differs(Kind::Crun, "has other texts");
    let bundle = shell_with_children();
    ps(&bundle, &[bundle.id()]).assert_refused("container does not exist");
    ps(&bundle, &["a/b"]).assert_refused("invalid container ID format");
    let _container = running(&bundle);
    let refused = |args: &[&str], text: &str| {
        let outcome = ps(&bundle, args).assert_refused(text);
        assert_eq!(outcome.stdout, "", "{outcome}");
        outcome.one_line();
        outcome
    };
    refused(&["-f", "xml", bundle.id()], "invalid format option");
    refused(
        &[bundle.id(), "-C", "sh", "-o", "comm"],
        "couldn't find PID field in ps output",
    );
    let outcome = refused(&[bundle.id(), "-Z", "--nonsense"], "exit status");
    if bundle.runtime().kind() == Kind::Rt {
        let start = format!(
            "rt ps: {}: /usr/bin/ps: exit status: 1: error: ",
            bundle.id()
        );
        assert!(outcome.stderr.starts_with(&start), "{outcome}");
    }
}

fn the_path_and_environment_of_the_caller_are_not_used() {
    only_rt("other runtimes search PATH and pass on the environment");
    let bundle = shell_with_children().executable("fake/ps", "#!/bin/sh\necho PID\n");
    let container = running(&bundle);
    let bin = bundle.rootfs().join("fake");
    let call = bundle
        .runtime()
        .call(&["ps", bundle.id(), "-e"])
        .with(|command| {
            command
                .env("PATH", &bin)
                .env("PS_FORMAT", "comm")
                .env("LD_PRELOAD", Path::new("/nonexistent.so"))
        });
    let outcome = call.run().assert_ok();
    assert_eq!(pids(&outcome.stdout), process_tree(&container));
    assert_eq!(rows(&outcome.stdout).0, ["PID", "TTY", "TIME", "CMD"]);
}

fn an_ignored_sigchld_has_no_effect() {
    let bundle = shell_with_children();
    let container = running(&bundle);
    let shell = ["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];
    let call = bundle.runtime().call_through(&shell, &["ps", bundle.id()]);
    let output = call.run().assert_ok().stdout;
    if bundle.runtime().kind() != Kind::Crun {
        assert_eq!(pids(&output), process_tree(&container));
    }
}
