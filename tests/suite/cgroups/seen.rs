//! Which of its cgroups a container is in and sees, on each kind of machine.

use std::fs;
use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Holder, Kind, Runtime, Traces, View, cgroup_of, cgroup_top, differs, on_v2,
    remove_cgroup, skip, trials,
};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_writable_mount_shows_no_cgroup_but_its_own_in_the_v2_view,
        a_joined_namespace_shows_no_cgroup_but_its_own_in_the_v2_view,
        a_hybrid_machine_has_a_cgroup_of_version_2_too,
        a_process_joins_the_cgroup_of_version_2_too,
        cgroups_made_inside_that_of_version_2_go_with_the_container,
        a_cgroup_of_version_2_is_mounted_where_it_is_named,
        below_a_threaded_cgroup_in_the_v2_view,
        whole_processes_have_no_limit_below_a_threaded_cgroup_in_the_v2_view,
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

fn needs_hybrid() {
    if on_v2() || !cgroup_top("").join("cgroup.procs").exists() {
        skip("this machine has no cgroup v2 beside v1");
    }
}

/// A cgroup of version 2 that is no container's, removed with all below it when dropped.
struct Neighbour(String);

impl Neighbour {
    fn new(name: &str) -> Self {
        let name = format!("suite-{}-{name}", std::process::id());
        fs::create_dir(cgroup_top("").join(&name)).unwrap();
        Self(name)
    }

    fn path(&self) -> PathBuf {
        cgroup_top("").join(&self.0)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        remove_cgroup(&self.0);
    }
}

/// What it sees is where it is, and it moves out by no way.
#[track_caller]
fn assert_sees_its_own_alone(bundle: Bundle) {
    let neighbour = Neighbour::new("beside");
    let script = format!(
        "cd /sys/fs/cgroup; cat cgroup.procs; ls -d {0} ../{0} 2>/dev/null; \
         for way in .. ../.. {0} ../{0}; do echo 1 2>/dev/null >$way/cgroup.procs && echo out by $way; done; true",
        neighbour.0
    );
    let bundle = bundle.mount(mount("cgroup")).sh(&script);
    let before = Traces::of(&bundle);
    let outcome = bundle.run().assert_ok();
    let first = outcome.stdout.lines().next();
    assert_eq!(first, Some("1"), "{outcome}");
    for word in [&neighbour.0, "out by"] {
        assert!(!outcome.stdout.contains(word), "{outcome}");
    }
    before.assert_unchanged(&bundle);
}

/// T40.
fn a_writable_mount_shows_no_cgroup_but_its_own_in_the_v2_view() {
    differs(Kind::Runc, "it shows all cgroups of the machine");
    differs(Kind::Crun, "it shows all cgroups of the machine");
    assert_sees_its_own_alone(v2_view().without_namespace("cgroup"));
}

fn a_joined_namespace_shows_no_cgroup_but_its_own_in_the_v2_view() {
    differs(Kind::Runc, "it shows what the namespace shows");
    differs(Kind::Crun, "it shows what the namespace shows");
    let holder = Holder::new(&["--cgroup"]);
    let bundle = v2_view().without_namespace("cgroup");
    assert_sees_its_own_alone(bundle.namespace("cgroup", Some(&holder.path("cgroup"))));
}

fn a_hybrid_machine_has_a_cgroup_of_version_2_too() {
    needs_hybrid();
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = Traces::of(&bundle);
    let container = bundle.create();
    let own = cgroup_of(container.pid(), "");
    assert_eq!(own, cgroup_top("").join(bundle.id()));
    container.start().assert_ok();
    assert_eq!(cgroup_of(container.pid(), ""), own);
    container.end();
    assert!(!own.exists());
    before.assert_unchanged(&bundle);
}

fn a_process_joins_the_cgroup_of_version_2_too() {
    needs_hybrid();
    differs(Kind::Crun, "it stays in the caller's");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let words = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let seen = bundle.runtime().call(&words).run().assert_ok().stdout;
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(seen, own);
    assert!(own.contains(&format!("0::/{}\n", bundle.id())), "{own}");
}

fn cgroups_made_inside_that_of_version_2_go_with_the_container() {
    needs_hybrid();
    differs(Kind::Crun, "it leaves those below behind");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let before = Traces::of(&bundle);
    let container = bundle.run_detached();
    let own = cgroup_of(container.pid(), "");
    fs::create_dir_all(own.join("inner/deeper")).unwrap();
    container.end();
    assert!(!own.exists());
    before.assert_unchanged(&bundle);
}

fn a_cgroup_of_version_2_is_mounted_where_it_is_named() {
    needs_hybrid();
    differs(Kind::Runc, "it shows all cgroups of the machine");
    differs(Kind::Crun, "it shows all cgroups of the machine");
    for namespaced in [false, true] {
        let bundle = Bundle::new().without_mount("/sys/fs/cgroup");
        let bundle = bundle.without_namespace("cgroup");
        let bundle = match namespaced {
            true => bundle.namespace("cgroup", None),
            false => bundle,
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

/// A cgroup that takes threads only, below that of a process with some.
fn threaded() -> (Neighbour, String) {
    let parent = Neighbour::new("threads");
    let below = parent.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.type"), "threaded").unwrap();
    let path = format!("/{}/below/a/b", parent.0);
    (parent, path)
}

fn below_a_threaded_cgroup_in_the_v2_view() {
    differs(Kind::Crun, "it takes the parent alone for threaded");
    differs(
        Kind::Runc,
        "as old as Debian's it cannot end what is in there",
    );
    let (_parent, path) = threaded();
    let bundle = v2_view().set("/linux/cgroupsPath", json!(path));
    let bundle = bundle.args(&["/probe", "spawn-sleep"]);
    let before = Traces::of(&bundle);
    let container = bundle.run_detached();
    container.wait_for("\n");
    let pid = container.pid();
    assert!(cgroup_of(pid, "").ends_with(&path[1..]));
    let words = ["ps", "--format=json", bundle.id()];
    let listed = bundle.runtime().call(&words).run().assert_ok().stdout;
    let listed: Vec<i32> = serde_json::from_str(&listed).unwrap();
    assert!(listed.len() == 2 && listed.contains(&pid), "{listed:?}");
    let words = ["exec", bundle.id(), "cat", "/proc/self/cgroup"];
    let seen = bundle.runtime().call(&words).run().assert_ok().stdout;
    assert!(seen.trim_end().ends_with(&path), "{seen}");
    container.call("pause", &[]).assert_ok();
    container.call("resume", &[]).assert_ok();
    container.end();
    before.assert_unchanged(&bundle);
}

fn whole_processes_have_no_limit_below_a_threaded_cgroup_in_the_v2_view() {
    differs(Kind::Crun, "it says no place");
    let (_parent, path) = threaded();
    let bundle = v2_view().set("/linux/cgroupsPath", json!(path));
    let memory = json!({ "memory": { "limit": 64 << 20 } });
    let bundle = bundle.set("/linux/resources", memory);
    bundle.assert_refused(&["memory"]);
}
