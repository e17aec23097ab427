//! `ps`: the processes of a container, through the machine's ps(1) and as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, Kind, Outcome, Runtime, View, alive, cgroup_of, differs, namespace_of,
    on_v2, only_rt, signal, skip, trials, wait_until,
};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        table_has_the_lines_of_the_container,
        options_go_to_ps,
        options_may_come_in_one_word,
        flags_after_the_id_are_for_ps,
        json_is_one_line_of_pids,
        processes_in_cgroups_below_are_listed,
        processes_are_listed_in_the_v2_view,
        a_process_in_a_threaded_cgroup_is_listed,
        without_cgroups_the_namespace_counts,
        a_stopped_container_has_no_processes,
        what_cannot_be_shown_is_an_error,
        programs_and_settings_of_the_caller_are_not_used,
        an_ignored_sigchld_is_no_matter,
    ]
}

/// A shell with two children.
fn three() -> Bundle {
    Bundle::new().sh("sleep 1000 & sleep 1000 & echo ready; wait")
}

fn running(bundle: &Bundle) -> Container {
    let container = bundle.run_detached();
    container.wait_for("ready");
    // The shell says so before its children have become what they are.
    let is_shell = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == "sh")
    };
    wait_until("the shell's children are no shells", || {
        !children(container.pid()).iter().any(is_shell)
    });
    container
}

/// The container's first process and its children.
fn family(container: &Container) -> Vec<i32> {
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

fn ps(bundle: &Bundle, words: &[&str]) -> Outcome {
    let mut args = vec!["ps"];
    args.extend(words);
    bundle.runtime().call(&args).run()
}

#[track_caller]
fn listed(bundle: &Bundle) -> Vec<i32> {
    let said = ps(bundle, &["--format", "json", bundle.id()])
        .assert_ok()
        .stdout;
    let list: Value = serde_json::from_str(&said).unwrap();
    let pids = list.as_array().into_iter().flatten();
    let mut pids: Vec<i32> = pids
        .map(|pid| i32::try_from(pid.as_i64().unwrap()).unwrap())
        .collect();
    pids.sort_unstable();
    pids
}

/// Titles, and one row for each line.
fn rows(table: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect());
    (lines.next().unwrap(), lines.collect())
}

/// The column PID of a table.
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

fn table_has_the_lines_of_the_container() {
    differs(Kind::Crun, "shows pids alone");
    let bundle = three();
    let container = running(&bundle);
    for words in [
        &[bundle.id()] as &[&str],
        &["-f", "table", bundle.id()],
        &["--format=table", bundle.id()],
    ] {
        let said = ps(&bundle, words).assert_ok().stdout;
        let (titles, rows) = rows(&said);
        assert_eq!(titles[..3], ["UID", "PID", "PPID"], "those of -ef: {said}");
        assert_eq!(titles.last(), Some(&"CMD"));
        assert_eq!(pids(&said), family(&container), "{said}");
        let sleeps = rows.iter().filter(|row| row[7..] == ["sleep", "1000"]);
        assert_eq!(sleeps.count(), 2, "{said}");
    }
}

fn options_go_to_ps() {
    differs(Kind::Crun, "shows pids alone");
    let bundle = three();
    let container = running(&bundle);
    let said = ps(&bundle, &[bundle.id(), "-e", "-o", "pid,comm"])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&said).0, ["PID", "COMMAND"]);
    assert_eq!(pids(&said), family(&container));
    let said = ps(&bundle, &[bundle.id(), "-eo", "comm,pid", "--sort=-pid"])
        .assert_ok()
        .stdout;
    let (titles, rows) = rows(&said);
    assert_eq!(titles, ["COMMAND", "PID"]);
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(
        names,
        ["sleep", "sleep", "sh"],
        "in the order of ps: {said}"
    );
}

/// As containerd's client passes them, which also may pass nothing.
fn options_may_come_in_one_word() {
    differs(Kind::Crun, "shows pids alone");
    let bundle = three();
    let container = running(&bundle);
    let said = ps(&bundle, &[bundle.id(), "aux"]).assert_ok().stdout;
    assert_eq!(rows(&said).0[..2], ["USER", "PID"]);
    assert_eq!(pids(&said), family(&container));
    differs(
        Kind::Runc,
        "passes an empty word, and one with spaces, to ps, which refuses it",
    );
    let said = ps(&bundle, &[bundle.id(), ""]).assert_ok().stdout;
    assert_eq!(rows(&said).0[..3], ["UID", "PID", "PPID"]);
    assert_eq!(pids(&said), family(&container));
    let said = ps(&bundle, &[bundle.id(), " -e -o pid,comm  "])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&said).0, ["PID", "COMMAND"]);
    assert_eq!(pids(&said), family(&container));
}

fn flags_after_the_id_are_for_ps() {
    differs(Kind::Crun, "takes flags everywhere");
    let bundle = three();
    let container = running(&bundle);
    // `-f` is the full format of ps, `--help` has a word, and `--format` its own meaning there.
    let said = ps(&bundle, &[bundle.id(), "-e", "-f"]).assert_ok().stdout;
    assert_eq!(pids(&said), family(&container));
    let said = ps(&bundle, &[bundle.id(), "-e", "--format", "comm,pid"])
        .assert_ok()
        .stdout;
    assert_eq!(rows(&said).0, ["COMMAND", "PID"]);
    ps(&bundle, &[bundle.id(), "--format", "json"]).assert_refused("unknown user-defined format");
    ps(&bundle, &[bundle.id(), "--", "-e"]).assert_refused("garbage option");
    let said = ps(&bundle, &["--", bundle.id(), "-e"]).assert_ok().stdout;
    assert_eq!(pids(&said), family(&container));
}

fn json_is_one_line_of_pids() {
    let bundle = three();
    let container = running(&bundle);
    let said = ps(&bundle, &["-f", "json", bundle.id()]).assert_ok().stdout;
    if bundle.runtime().kind() != Kind::Crun {
        let numbers: Vec<String> = family(&container).iter().map(i32::to_string).collect();
        assert_eq!(said, format!("[{}]\n", numbers.join(",")));
    }
    assert_eq!(listed(&bundle), family(&container));
}

/// Moves a process to `name` below its cgroup, in each hierarchy that has one for it.
fn move_below(pid: i32, name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let controllers = table.lines().filter_map(|line| line.split(':').nth(1));
    let mut made = Vec::new();
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
        made.push(below);
    }
    made
}

fn processes_in_cgroups_below_are_listed() {
    if on_v2() {
        skip("on cgroup v2 the test of its view does this");
    }
    differs(Kind::Crun, "has cgroups of its own below");
    let bundle = three();
    let container = running(&bundle);
    let pids = family(&container);
    let made = move_below(*pids.last().unwrap(), "below");
    assert!(made.len() > 3, "{made:?}");
    assert_eq!(listed(&bundle), pids);
    let said = ps(&bundle, &[bundle.id()]).assert_ok().stdout;
    assert_eq!(self::pids(&said), pids);
}

fn three_on_v2() -> Bundle {
    let runtime = Runtime::new().view(View::V2);
    Bundle::with_runtime(&runtime)
        .remove("/linux/resources")
        .sh("sleep 1000 & sleep 1000 & echo ready; wait")
}

fn processes_are_listed_in_the_v2_view() {
    let bundle = three_on_v2();
    let container = running(&bundle);
    let pids = family(&container);
    assert_eq!(listed(&bundle), pids);
    let own = cgroup_of(pids[0], "");
    for (name, pid) in [("one", pids[1]), ("one/two", pids[2])] {
        fs::create_dir(own.join(name)).unwrap();
        fs::write(own.join(name).join("cgroup.procs"), pid.to_string()).unwrap();
    }
    assert_eq!(listed(&bundle), pids);
    differs(Kind::Crun, "shows pids alone");
    let said = ps(&bundle, &[bundle.id(), "aux"]).assert_ok().stdout;
    assert_eq!(self::pids(&said), pids);
}

/// A threaded cgroup has no cgroup.procs; its processes are listed above it.
fn a_process_in_a_threaded_cgroup_is_listed() {
    differs(
        Kind::Runc,
        "Debian's version stops at the file that cannot be read",
    );
    let bundle = three_on_v2();
    let container = running(&bundle);
    let pids = family(&container);
    let leaf = cgroup_of(pids[0], "").join("leaf");
    fs::create_dir(&leaf).unwrap();
    fs::write(leaf.join("cgroup.type"), "threaded").unwrap();
    fs::write(leaf.join("cgroup.threads"), pids[2].to_string()).unwrap();
    assert!(fs::read_to_string(leaf.join("cgroup.procs")).is_err());
    assert_eq!(listed(&bundle), pids);
}

/// Rootless containers may have no cgroups; then the pid namespace tells who belongs to them.
fn without_cgroups_the_namespace_counts() {
    only_rt("how a state without cgroups is read");
    let script = "busybox unshare -pf sleep 1000 & sleep 1000 & echo ready; wait";
    let bundle = Bundle::new().sh(script).capabilities(&["CAP_SYS_ADMIN"]);
    let container = running(&bundle);
    let pid = container.pid();
    let mut joined = Command::new("nsenter")
        .args(["-p", "-t", &pid.to_string(), "sleep", "1000"])
        .spawn()
        .unwrap();
    let joiner = joined.id().cast_signed();
    wait_until("the fork into the namespace", || {
        !children(joiner).is_empty()
    });
    let outsider = children(joiner)[0];
    let mut expected = vec![outsider];
    wait_until("the namespace below", || {
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
        "shell, unshare, two sleeps, and who joined"
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
    signal(outsider, Signal::SIGKILL);
    joined.wait().unwrap();
    container.end();
    wait_until("all to end", || !expected.iter().any(|pid| alive(*pid)));
}

fn a_stopped_container_has_no_processes() {
    differs(Kind::Crun, "refuses it");
    let bundle = three();
    let container = running(&bundle);
    let pids = family(&container);
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    wait_until("all to end", || !pids.iter().any(|pid| alive(*pid)));
    let said = ps(&bundle, &[bundle.id()]).assert_ok().stdout;
    let (titles, rows) = rows(&said);
    assert_eq!((titles[1], rows.len()), ("PID", 0), "{said}");
    assert_eq!(
        ps(&bundle, &["-f", "json", bundle.id()]).assert_ok().stdout,
        "null\n"
    );
}

fn what_cannot_be_shown_is_an_error() {
    differs(Kind::Crun, "has other words");
    let bundle = three();
    ps(&bundle, &[bundle.id()]).assert_refused("container does not exist");
    ps(&bundle, &["a/b"]).assert_refused("invalid container ID format");
    let _container = running(&bundle);
    let refused = |words: &[&str], text: &str| {
        let outcome = ps(&bundle, words).assert_refused(text);
        assert_eq!(outcome.stdout, "", "{outcome}");
        outcome.one_line();
        outcome
    };
    refused(&["-f", "xml", bundle.id()], "invalid format option");
    refused(
        &[bundle.id(), "-o", "comm"],
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

fn programs_and_settings_of_the_caller_are_not_used() {
    only_rt("others search PATH, and pass the environment on");
    let bundle = three().executable("fake/ps", "#!/bin/sh\necho PID\n");
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
    assert_eq!(pids(&outcome.stdout), family(&container));
    assert_eq!(rows(&outcome.stdout).0, ["PID", "TTY", "TIME", "CMD"]);
}

fn an_ignored_sigchld_is_no_matter() {
    let bundle = three();
    let container = running(&bundle);
    let shell = ["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];
    let call = bundle.runtime().call_through(&shell, &["ps", bundle.id()]);
    let said = call.run().assert_ok().stdout;
    if bundle.runtime().kind() != Kind::Crun {
        assert_eq!(pids(&said), family(&container));
    }
}
