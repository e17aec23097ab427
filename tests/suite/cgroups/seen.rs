//! The cgroups that a container is in and those that it sees: with v2 alone, on a hybrid host,
//! and below a threaded cgroup.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Holder, HostState, Kind, Runtime, View, cgroup_of, cgroup_top, differs, needs, on_v2,
    remove_cgroup, skip, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_writable_mount_shows_only_the_containers_cgroup_in_the_v2_view,
        a_mount_in_a_joined_namespace_shows_only_the_containers_cgroup_in_the_v2_view,
        on_a_hybrid_host_a_container_has_a_v2_cgroup_too,
        on_a_hybrid_host_an_exec_process_joins_the_v2_cgroup_too,
        on_a_hybrid_host_v2_cgroups_made_by_the_container_are_removed,
        on_a_hybrid_host_a_cgroup2_mount_shows_the_containers_v2_cgroup,
        each_controller_of_v1_has_a_directory_or_a_link,
        a_container_runs_below_a_threaded_cgroup_in_the_v2_view,
        a_memory_limit_below_a_threaded_cgroup_is_refused_in_the_v2_view,
    ]
}

fn v2_view() -> Bundle {
    Bundle::with_runtime(&Runtime::new().view(View::V2))
        .remove("/linux/resources")
        .without_mount("/sys/fs/cgroup")
}

fn mount(kind: &str) -> Value {
    let options = ["nosuid", "noexec", "nodev", "rw"];
    json!({ "destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup", "options": options })
}

fn skip_unless_hybrid() {
    if on_v2() || !cgroup_top("").join("cgroup.procs").exists() {
        skip("this host has no cgroup v2 beside v1");
    }
}

/// A v2 cgroup of the host that is no container's. It is removed with all below it when dropped.
struct OtherCgroup(String);

impl OtherCgroup {
    fn new(name: &str) -> Self {
        let name = format!("suite-{}-{name}", std::process::id());
        fs::create_dir(cgroup_top("").join(&name)).unwrap();
        Self(name)
    }

    fn path(&self) -> PathBuf {
        cgroup_top("").join(&self.0)
    }
}

impl Drop for OtherCgroup {
    fn drop(&mut self) {
        remove_cgroup(&self.0);
    }
}

/// The mount shows the cgroup that the container is in, and the container cannot move out
/// through it.
#[track_caller]
fn assert_sees_only_its_own_cgroup(bundle: Bundle) {
    let other = OtherCgroup::new("beside");
    let script = format!(
        "cd /sys/fs/cgroup; cat cgroup.procs; ls -d {0} ../{0} 2>/dev/null; \
         for dir in .. ../.. {0} ../{0}; do echo 1 2>/dev/null >$dir/cgroup.procs && echo moved to $dir; done; true",
        other.0
    );
    let bundle = bundle.mount(mount("cgroup")).sh(&script);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_ok();
    let first = outcome.stdout.lines().next();
    assert_eq!(first, Some("1"), "{outcome}");
    for text in [&other.0, "moved to"] {
        assert!(!outcome.stdout.contains(text), "{outcome}");
    }
    before.assert_unchanged(&bundle);
}

fn a_writable_mount_shows_only_the_containers_cgroup_in_the_v2_view() {
    differs(Kind::Runc, "it shows all cgroups of the host");
    differs(Kind::Crun, "it shows all cgroups of the host");
    assert_sees_only_its_own_cgroup(v2_view().without_namespace("cgroup"));
}

fn a_mount_in_a_joined_namespace_shows_only_the_containers_cgroup_in_the_v2_view() {
    differs(Kind::Runc, "it shows all cgroups of the namespace");
    differs(Kind::Crun, "it shows all cgroups of the namespace");
    let holder = Holder::new(&["--cgroup"]);
    let bundle = v2_view().without_namespace("cgroup");
    assert_sees_only_its_own_cgroup(bundle.namespace("cgroup", Some(&holder.path("cgroup"))));
}

fn on_a_hybrid_host_a_container_has_a_v2_cgroup_too() {
    skip_unless_hybrid();
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    let own = cgroup_of(container.pid(), "");
    assert_eq!(own, cgroup_top("").join(bundle.id()));
    container.start().assert_ok();
    assert_eq!(cgroup_of(container.pid(), ""), own);
    container.end();
    assert!(!own.exists());
    before.assert_unchanged(&bundle);
}

fn on_a_hybrid_host_an_exec_process_joins_the_v2_cgroup_too() {
    skip_unless_hybrid();
    differs(Kind::Crun, "it stays in the caller's");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let arguments = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let seen = bundle.runtime().call(&arguments).run().assert_ok().stdout;
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(seen, own);
    assert!(own.contains(&format!("0::/{}\n", bundle.id())), "{own}");
}

fn on_a_hybrid_host_v2_cgroups_made_by_the_container_are_removed() {
    skip_unless_hybrid();
    differs(Kind::Crun, "it leaves the cgroups below");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    let own = cgroup_of(container.pid(), "");
    fs::create_dir_all(own.join("inner/deeper")).unwrap();
    container.end();
    assert!(!own.exists());
    before.assert_unchanged(&bundle);
}

fn on_a_hybrid_host_a_cgroup2_mount_shows_the_containers_v2_cgroup() {
    skip_unless_hybrid();
    differs(Kind::Runc, "it shows all cgroups of the host");
    differs(Kind::Crun, "it shows all cgroups of the host");
    for namespaced in [false, true] {
        let bundle = Bundle::new().without_mount("/sys/fs/cgroup");
        let bundle = bundle.without_namespace("cgroup");
        let bundle = if namespaced {
            bundle.namespace("cgroup", None)
        } else {
            bundle
        };
        let bundle = bundle
            .mount(mount("cgroup2"))
            .sh("cat /sys/fs/cgroup/cgroup.procs");
        let seen = bundle.run().assert_ok().stdout;
        assert!(seen.starts_with("1\n"), "{namespaced}: {seen}");
        let seen = bundle.probe();
        assert_eq!(seen.mount("/sys/fs/cgroup").kind(), "cgroup2");
    }
}

/// A threaded cgroup, whose parent has become a threaded domain, and a path below it.
fn threaded() -> (OtherCgroup, String) {
    let parent = OtherCgroup::new("threads");
    let below = parent.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.type"), "threaded").unwrap();
    let path = format!("/{}/below/a/b", parent.0);
    (parent, path)
}

/// Controllers of one hierarchy of cgroup v1, such as cpu and cpuacct, are links to one directory.
fn each_controller_of_v1_has_a_directory_or_a_link() {
    if on_v2() {
        skip("this host has no cgroup v1");
    }
    let lines = fs::read_to_string("/proc/self/cgroup").unwrap();
    let hierarchies = lines.lines().filter_map(|line| line.split(':').nth(1));
    let hierarchies = hierarchies.map(|names| names.split(',').collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    for hierarchy in hierarchies {
        let paths = hierarchy
            .iter()
            .map(|name| format!("/sys/fs/cgroup/{name}"));
        let paths = paths.filter(|path| Path::new(path).join("tasks").exists());
        let paths = paths.collect::<Vec<_>>().join(" ");
        if paths.is_empty() {
            continue; // It has a name instead of controllers, or the host mounts it elsewhere.
        }
        let script = format!("stat -L -c %d:%i {paths}");
        let said = Bundle::new().sh(&script).run().assert_ok().stdout;
        let directories: BTreeSet<&str> = said.lines().collect();
        assert_eq!(directories.len(), 1, "{paths}: {said}");
        assert!(
            seen.insert(said),
            "{paths}: the directory of another hierarchy"
        );
    }
    assert!(!seen.is_empty());
}

fn a_container_runs_below_a_threaded_cgroup_in_the_v2_view() {
    differs(Kind::Crun, "it makes only the parent threaded");
    differs(
        Kind::Runc,
        "Debian's version cannot kill the processes in there",
    );
    let (_parent, path) = threaded();
    let bundle = v2_view().set("/linux/cgroupsPath", json!(path));
    let bundle = bundle.args(&["/probe", "spawn-sleep"]);
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    container.wait_for("\n");
    let pid = container.pid();
    assert!(cgroup_of(pid, "").ends_with(&path[1..]));
    needs("ps", "procps");
    let arguments = ["ps", "--format=json", bundle.id()];
    let listed = bundle.runtime().call(&arguments).run().assert_ok().stdout;
    let listed: Vec<i32> = serde_json::from_str(&listed).unwrap();
    assert!(listed.len() == 2 && listed.contains(&pid), "{listed:?}");
    let arguments = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let seen = bundle.runtime().call(&arguments).run().assert_ok().stdout;
    assert!(seen.trim_end().ends_with(&path), "{seen}");
    container.call("pause", &[]).assert_ok();
    container.call("resume", &[]).assert_ok();
    container.end();
    before.assert_unchanged(&bundle);
}

fn a_memory_limit_below_a_threaded_cgroup_is_refused_in_the_v2_view() {
    differs(Kind::Crun, "its error does not name the field");
    let (_parent, path) = threaded();
    let bundle = v2_view().set("/linux/cgroupsPath", json!(path));
    let memory = json!({ "memory": { "limit": 64 << 20 } });
    let bundle = bundle.set("/linux/resources", memory);
    bundle.assert_refused(&["memory"]);
}
