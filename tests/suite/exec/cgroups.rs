//! The cgroups of an exec process: the container's, or sub-cgroups given by `--cgroup`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::runner::Test;

use super::{exec, probe, running};
use crate::harness::{
    Bundle, Container, HostState, Kind, Runtime, View, cgroup_of, differs, namespace_of, on_v2,
    only_rt, signal, skip, trials, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_process_joins_every_v1_cgroup_of_the_container,
        the_process_joins_the_cgroup_of_the_container_in_the_v2_view,
        the_process_joins_the_cgroup_namespace_too,
        descendants_are_in_the_cgroups_of_the_container,
        a_sub_cgroup_can_be_given_for_one_hierarchy,
        a_sub_cgroup_can_be_given_for_all_hierarchies,
        a_sub_cgroup_can_be_given_in_the_v2_view,
        a_cgroup_outside_of_the_containers_is_refused,
        a_cgroup_outside_of_the_containers_is_refused_in_the_v2_view,
        a_missing_cgroup_is_refused,
        an_unknown_controller_is_refused,
        exec_works_if_the_container_moved_its_processes_to_a_sub_cgroup,
        the_pids_limit_applies_to_exec,
    ]
}

fn on_v1() {
    if on_v2() {
        skip("this host has no cgroup v1");
    }
}

fn in_view(view: View) -> (Bundle, Container) {
    running(Bundle::with_runtime(&Runtime::new().view(view)))
}

/// Runs `exec --detach` and returns the pid on the host.
#[track_caller]
fn join(bundle: &Bundle, flags: &[&str]) -> i32 {
    let file = bundle.runtime().home().join("exec.pid");
    let flags = [&["-d", "--pid-file", file.to_str().unwrap()], flags].concat();
    exec(bundle, &flags, &["/bin/sleep", "1001"]).assert_ok();
    fs::read_to_string(file).unwrap().parse().unwrap()
}

fn table(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

fn the_process_joins_every_v1_cgroup_of_the_container() {
    on_v1();
    let (bundle, container) = in_view(View::Host);
    let own = table(container.pid());
    assert!(
        own.lines()
            .filter(|line| line.contains(bundle.id()))
            .count()
            > 5,
        "{own}"
    );
    assert_eq!(table(join(&bundle, &[])), own);
}

fn the_process_joins_the_cgroup_of_the_container_in_the_v2_view() {
    let (bundle, container) = in_view(View::V2);
    let pid = join(&bundle, &[]);
    assert_eq!(cgroup_of(pid, ""), cgroup_of(container.pid(), ""));
    assert!(cgroup_of(pid, "").ends_with(bundle.id()));
}

/// With `nsdelegate`, as in the virtual machine, the kernel refuses a process of the namespace to create one in the
/// container's cgroup.
fn the_process_joins_the_cgroup_namespace_too() {
    for view in [View::Host, View::V2] {
        let bundle = Bundle::with_runtime(&Runtime::new().view(view)).namespace("cgroup", None);
        let (bundle, container) = running(bundle);
        let pid = join(&bundle, &[]);
        assert_eq!(cgroup_of(pid, ""), cgroup_of(container.pid(), ""));
        let namespace = |pid: i32| namespace_of(&pid.to_string(), "cgroup");
        assert_eq!(namespace(pid), namespace(container.pid()));
    }
}

/// The process must be in its cgroups before it can fork.
fn descendants_are_in_the_cgroups_of_the_container() {
    let (bundle, _container) = in_view(View::Host);
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", "cat /proc/self/cgroup"]).assert_ok();
    let seen = probe(&bundle, &[])["cgroups"].clone();
    let lines: Vec<&str> = seen
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line.as_str())
        .collect();
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), lines);
}

fn a_sub_cgroup_can_be_given_for_one_hierarchy() {
    on_v1();
    let (bundle, container) = in_view(View::Host);
    let below = cgroup_of(container.pid(), "memory").join("below");
    fs::create_dir(&below).unwrap();
    let pid = join(&bundle, &["--cgroup", "memory:below"]);
    assert_eq!(cgroup_of(pid, "memory"), below);
    assert_eq!(cgroup_of(pid, "pids"), cgroup_of(container.pid(), "pids"));
    let pid = join(
        &bundle,
        &["--cgroup", "memory:/below/", "--cgroup", "cpu:."],
    );
    assert_eq!(cgroup_of(pid, "memory"), below);
}

fn a_sub_cgroup_can_be_given_for_all_hierarchies() {
    on_v1();
    let (bundle, container) = in_view(View::Host);
    let own = table(container.pid());
    let mut all: Vec<PathBuf> = own
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .map(|controllers| hierarchy_of(container.pid(), controllers))
        .filter(|path| path.ends_with(bundle.id()))
        .collect();
    all.dedup();
    for path in &all {
        drop(fs::create_dir(path.join("below")));
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(path.join(file)) {
                fs::write(path.join("below").join(file), value).unwrap();
            }
        }
    }
    let pid = join(&bundle, &["--cgroup", "below"]);
    for controller in ["memory", "pids", "devices", "freezer"] {
        assert_eq!(
            cgroup_of(pid, controller),
            cgroup_of(container.pid(), controller).join("below"),
            "{controller}"
        );
    }
}

/// `cpu,cpuacct` may be mounted as `cpu` or `cpuacct`.
fn hierarchy_of(pid: i32, controllers: &str) -> PathBuf {
    let path = cgroup_of(pid, controllers);
    let names = controllers.split(',').chain([controllers]);
    let tops = names.map(|name| Path::new("/sys/fs/cgroup").join(name));
    let relative = path.strip_prefix(Path::new("/sys/fs/cgroup")).unwrap();
    let relative: PathBuf = relative.components().skip(1).collect();
    let found = tops
        .map(|top| top.join(&relative))
        .find(|path| path.is_dir());
    found.unwrap_or(path)
}

fn a_sub_cgroup_can_be_given_in_the_v2_view() {
    let (bundle, container) = in_view(View::V2);
    let own = cgroup_of(container.pid(), "");
    fs::create_dir_all(own.join("a/b")).unwrap();
    for (path, below) in [
        ("a", "a"),
        ("/a/b", "a/b"),
        ("a/../a/./b", "a/b"),
        ("/", ""),
        (".", ""),
    ] {
        let pid = join(&bundle, &["--cgroup", path]);
        assert_eq!(
            cgroup_of(pid, ""),
            own.join(below).components().collect::<PathBuf>(),
            "{path}"
        );
        signal(pid, nix::sys::signal::Signal::SIGKILL);
        crate::harness::wait_gone(pid);
    }
}

/// A sibling cgroup whose name begins with that of the container's is outside too.
#[track_caller]
fn assert_outside_refused(bundle: &Bundle, own: &Path, prefix: &str) {
    let neighbour = own.with_file_name(format!("{}-neighbour", bundle.id()));
    fs::create_dir(&neighbour).unwrap();
    let name = neighbour.file_name().unwrap().to_str().unwrap().to_owned();
    let before = HostState::of(bundle);
    for path in [
        "..",
        "../",
        &format!("../{name}"),
        "a/../..",
        "../../../..",
        &format!("x/../../{name}"),
    ] {
        let flag = format!("{prefix}{path}");
        let outcome = exec(bundle, &["--cgroup", &flag], &["/bin/sleep", "1001"]);
        let outcome = outcome.assert_code(255);
        if Kind::under_test() == Kind::Rt {
            outcome.one_line();
        }
        let members = fs::read_to_string(neighbour.join("cgroup.procs")).unwrap();
        assert_eq!(members, "", "{path}");
    }
    before.assert_unchanged(bundle);
    fs::remove_dir(neighbour).unwrap();
}

fn a_cgroup_outside_of_the_containers_is_refused() {
    differs(
        Kind::Runc,
        "found in 1.5.1, without a CVE: it compares prefixes of names",
    );
    on_v1();
    let (bundle, container) = in_view(View::Host);
    assert_outside_refused(&bundle, &cgroup_of(container.pid(), "memory"), "memory:");
}

fn a_cgroup_outside_of_the_containers_is_refused_in_the_v2_view() {
    differs(Kind::Runc, "found in 1.5.1: it compares prefixes of names");
    let (bundle, container) = in_view(View::V2);
    assert_outside_refused(&bundle, &cgroup_of(container.pid(), ""), "");
}

fn a_missing_cgroup_is_refused() {
    for (view, path) in [(View::Host, "memory:missing"), (View::V2, "missing")] {
        if view == View::Host && on_v2() {
            continue;
        }
        let (bundle, _container) = in_view(view);
        let before = HostState::of(&bundle);
        let outcome = exec(&bundle, &["--cgroup", path], &["/bin/true"]).assert_code(255);
        assert!(outcome.stderr.contains("missing"), "{outcome}");
        before.assert_unchanged(&bundle);
    }
}

fn an_unknown_controller_is_refused() {
    let (bundle, _container) = in_view(View::Host);
    let outcome = exec(&bundle, &["--cgroup", "nosuch:a"], &["/bin/true"]).assert_code(255);
    outcome.assert_refused("unknown controller nosuch");
    differs(Kind::Runc, "Debian's old one takes the last");
    for (flags, message) in [
        (
            &["--cgroup", "a", "--cgroup", "b"] as &[&str],
            "missing <controller>: prefix",
        ),
        (
            &["--cgroup", "memory:a", "--cgroup", "memory:b"],
            "memory specified multiple times",
        ),
    ] {
        let outcome = exec(&bundle, flags, &["/bin/true"]).assert_code(255);
        outcome.assert_refused(message).one_line();
    }
}

/// As systemd and dockerd do in a container, because a cgroup with controllers enabled for
/// its children must not have processes (cgroups(7), "no internal processes").
fn exec_works_if_the_container_moved_its_processes_to_a_sub_cgroup() {
    only_rt("Debian's old one fails with EBUSY, newer runc uses the cgroup of init");
    let (bundle, container) = in_view(View::V2);
    let own = cgroup_of(container.pid(), "");
    let below = own.join("init/deep");
    fs::create_dir_all(&below).unwrap();
    fs::write(below.join("cgroup.procs"), container.pid().to_string()).unwrap();
    let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap();
    let Some(one) = controllers.split_whitespace().next() else {
        skip("no controller below the container's cgroup");
    };
    fs::write(own.join("cgroup.subtree_control"), format!("+{one}")).unwrap();
    let pid = join(&bundle, &[]);
    assert_eq!(cgroup_of(pid, ""), below);
    let other = own.join("other");
    fs::create_dir(&other).unwrap();
    let pid = join(&bundle, &["--cgroup", "other"]);
    assert_eq!(cgroup_of(pid, ""), other);
}

fn the_pids_limit_applies_to_exec() {
    differs(Kind::Runc, "its own threads count, and Go aborts");
    on_v1();
    let bundle = Bundle::new().set("/linux/resources/pids", serde_json::json!({"limit": 3}));
    let (bundle, _container) = running(bundle);
    let pids: Vec<i32> = (0..2).map(|_| join(&bundle, &[])).collect();
    let outcome = exec(
        &bundle,
        &[],
        &["/bin/sh", "-c", "sleep 1 & sleep 1 & sleep 1; wait"],
    );
    assert_ne!(outcome.code(), 0, "{outcome}");
    for pid in pids {
        signal(pid, nix::sys::signal::Signal::SIGKILL);
        wait_until("it to end", || !crate::harness::alive(pid));
    }
}
