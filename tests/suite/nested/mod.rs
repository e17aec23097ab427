//! Containers in containers: the bundles of examples/nested, their limits, and what they leave behind.

mod lacking;
mod program;

use std::fs;
use std::io::Write;
use std::process::Command;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, Config, HostState, Runtime, View, cgroup_of, on_v2, only_rt, trials};

const OUTER: &str = include_str!("../../../examples/nested/outer.json");
const INNER: &str = include_str!("../../../examples/nested/inner.json");

pub(crate) fn tests() -> Vec<Test> {
    let mut all = trials![
        the_example_works_as_documented,
        containers_nest_four_deep,
        every_command_works_in_a_container,
        a_container_with_a_user_namespace_runs_in_a_container,
        the_limits_of_the_outer_hold_for_the_inner,
        limits_of_the_inner_are_applied,
        delete_force_of_the_outer_ends_running_and_paused_containers_in_it,
        the_outer_is_deleted_with_the_cgroups_that_a_killed_rt_left_in_it,
    ];
    all.extend(lacking::tests());
    all.extend(program::tests());
    all
}

/// The outer container of the example, as it is: with a user namespace.
fn outer(runtime: &Runtime) -> Bundle {
    only_rt("the containers run rt");
    let mut config = Config::parse(OUTER);
    config.set("/process/terminal", json!(false));
    let bundle = Bundle::with_runtime(runtime).with_config(config);
    let program = runtime.program();
    fs::copy(&program, bundle.rootfs().join("bin/rt"))
        .unwrap_or_else(|e| panic!("copy {}: {e}", program.display()));
    inner(bundle.folder("mnt"), "bundle", &["sh", "-c", "echo inner"])
}

/// The same without the user namespace: it has the right to make cgroups of version 1, too, and makes device
/// nodes.
fn outer_of_root(runtime: &Runtime) -> Bundle {
    let bundle = outer(runtime)
        .without_namespace("user")
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings");
    with_capability(bundle, "CAP_MKNOD")
}

fn with_capability(bundle: Bundle, name: &str) -> Bundle {
    let sets = ["bounding", "effective", "permitted"].iter();
    sets.fold(bundle, |bundle, set| {
        bundle.set(&format!("/process/capabilities/{set}/-"), json!(name))
    })
}

/// Adds the inner bundle of the example as /NAME, with other args.
fn inner(bundle: Bundle, name: &str, args: &[&str]) -> Bundle {
    inner_with(bundle, name, args, |_| {})
}

fn inner_with(
    bundle: Bundle,
    name: &str,
    args: &[&str],
    change: impl FnOnce(&mut Config),
) -> Bundle {
    let mut config = Config::parse(INNER);
    config.set("/process/terminal", json!(false));
    config.set("/process/args", json!(args));
    if bundle.config().0.to_string().contains("CAP_MKNOD") {
        // Without a user namespace, at any depth.
        for set in ["bounding", "effective", "permitted"] {
            config.set(
                &format!("/process/capabilities/{set}/-"),
                json!("CAP_MKNOD"),
            );
        }
    }
    change(&mut config);
    bundle.file(&format!("{name}/config.json"), &config.0.to_string())
}

/// The outer containers, by what they see of cgroups, and whether containers in them have cgroups: cgroups of version
/// 1 are not delegated to a user namespace.
fn outers() -> Vec<(Bundle, bool)> {
    let mut runtimes = vec![(Runtime::new(), on_v2())];
    if !on_v2() {
        runtimes.push((Runtime::new().view(View::V2), true));
    }
    let each = runtimes.iter();
    each.flat_map(|(runtime, is_v2)| [(outer(runtime), *is_v2), (outer_of_root(runtime), true)])
        .collect()
}

/// Moves the shell out of the root of its cgroup namespace, as the example does. With cgroup v2
/// controllers can be enabled below a cgroup only if it has no processes of its own.
const LEAVE_ROOT: &str = "if [ -e /sys/fs/cgroup/cgroup.procs ]; then \
    mkdir /sys/fs/cgroup/init; echo 0 > /sys/fs/cgroup/init/cgroup.procs; fi; ";

/// The shells of the example read their commands from a pipe instead of a terminal.
fn the_example_works_as_documented() {
    let bundle = outer(&Runtime::new());
    let example = bundle.path().join("example");
    let make = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/nested/make");
    let mut made = Command::new(make);
    made.arg(&example).env("RT", bundle.runtime().program());
    assert!(made.status().unwrap().success());
    for config in ["config.json", "rootfs/bundle/config.json"] {
        let config = example.join(config);
        let text = fs::read_to_string(&config).unwrap();
        let without_terminal = text.replace("\"terminal\": true", "\"terminal\": false");
        assert_ne!(text, without_terminal);
        fs::write(&config, without_terminal).unwrap();
    }
    let id = bundle.id().to_owned();
    let arguments = ["run", "--bundle", example.to_str().unwrap(), &id];
    let (reader, mut writer) = std::io::pipe().unwrap();
    let call = bundle.runtime().call(&arguments);
    let running = call.with(|command| command.stdin(reader)).start();
    writer
        .write_all(b"echo hostname | rt run --bundle /bundle inner\nexit 5\n")
        .unwrap();
    drop(writer);
    let outcome = running.wait().assert_code(5);
    assert_eq!(outcome.stdout, "inner\n", "{outcome}");
}

fn containers_nest_four_deep() {
    for (bundle, _) in outers() {
        let next = |name: &str| format!("rt run -b /{name} {name} && echo /run/rt/*");
        let bundle = inner(bundle, "second", &["sh", "-c", &next("third")]);
        let bundle = inner(bundle, "third", &["sh", "-c", &next("fourth")]);
        let bundle = inner(bundle, "fourth", &["sh", "-c", "echo deep"]);
        let bundle = bundle.sh(&next("second"));
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_ok();
        // Each level has nothing left in its /run/rt.
        assert!(outcome.stdout.starts_with("deep\n"), "{outcome}");
        assert!(
            outcome
                .stdout
                .ends_with("/run/rt/*\n/run/rt/*\n/run/rt/*\n"),
            "{outcome}"
        );
        before.assert_unchanged(&bundle);
    }
}

fn every_command_works_in_a_container() {
    let script = "set -e; mounts=$(cat /proc/self/mounts)
        rt create -b /bundle c1; rt start c1; rt exec c1 echo executed
        rt exec --user 5:5 c1 id; rt pause c1; rt state c1; rt resume c1; rt ps c1
        rt exec c1 cat /proc/1/cgroup; rt list; rt check -b /bundle; rt delete --force c1
        echo left: /run/rt/* /sys/fs/cgroup/*/c1 /sys/fs/cgroup/c1
        [ \"$mounts\" = \"$(cat /proc/self/mounts)\" ]
        for process in /proc/[0-9]*; do echo $process; done";
    for (bundle, has_cgroups) in outers() {
        // Without a cgroup of its own a container cannot be paused.
        let script = if has_cgroups {
            script.to_owned()
        } else {
            script.replace("rt pause c1; rt state c1; rt resume c1; rt ps c1", "")
        };
        let bundle = inner(bundle, "bundle", &["sleep", "1000"]);
        let bundle = bundle.sh(&script);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_ok();
        let said = &outcome.stdout;
        assert!(said.contains("executed\nuid=5 gid=5"), "{outcome}");
        assert_eq!(said.contains("\"paused\""), has_cgroups, "{outcome}");
        let nothing = "left: /run/rt/* /sys/fs/cgroup/*/c1 /sys/fs/cgroup/c1\n/proc/1\n";
        assert!(said.ends_with(nothing), "{outcome}");
        before.assert_unchanged(&bundle);
    }
}

fn a_container_with_a_user_namespace_runs_in_a_container() {
    for (bundle, _) in outers() {
        let args = ["sh", "-c", "cat /proc/self/uid_map"];
        let bundle = inner_with(bundle, "bundle", &args, |config| {
            config.set("/linux/namespaces/-", json!({ "type": "user" }));
            for list in ["uidMappings", "gidMappings"] {
                let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1000 }]);
                config.set(&format!("/linux/{list}"), map);
            }
        });
        let bundle = bundle.sh("rt run -b /bundle c1");
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_ok();
        let map: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert_eq!(map, ["0", "1000", "1000"], "{outcome}");
        before.assert_unchanged(&bundle);
    }
}

/// The outer container with a limit of 40 processes.
fn limited() -> Bundle {
    let bundle = outer_of_root(&Runtime::new());
    bundle.set("/linux/resources/pids/limit", json!(40))
}

fn the_limits_of_the_outer_hold_for_the_inner() {
    let fork = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i + 1)); done";
    let bundle = inner(limited(), "bundle", &["sh", "-c", fork]);
    let bundle = bundle.sh(&format!(
        "{LEAVE_ROOT} rt run -b /bundle c1; echo status $?"
    ));
    let before = HostState::of(&bundle);
    let outcome = bundle.run();
    assert!(outcome.stdout.ends_with("status 2\n"), "{outcome}");
    assert!(outcome.stderr.contains("can't fork"), "{outcome}");
    before.assert_unchanged(&bundle);
}

fn limits_of_the_inner_are_applied() {
    let bundle = inner_with(limited(), "bundle", &["sleep", "1000"], |config| {
        config.set("/linux/resources/pids/limit", json!(20));
        config.set("/linux/resources/memory/limit", json!(50_003_968));
    });
    let script = "set -e; rt run -d -b /bundle c1; rt update --pids-limit 15 c1; echo updated; exec sleep 1000";
    let bundle = bundle.sh(&format!("{LEAVE_ROOT} {script}"));
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    container.wait_for("updated");
    let outer_cgroup = |controller: &str| {
        let own = cgroup_of(container.pid(), controller);
        if on_v2() {
            own.parent().unwrap().to_owned()
        } else {
            own
        }
    };
    let memory_file = if on_v2() {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    for (controller, file, limit) in [
        ("pids", "pids.max", "15\n"),
        ("memory", memory_file, "50003968\n"),
    ] {
        let limits = outer_cgroup(controller).join("c1").join(file);
        assert_eq!(
            fs::read_to_string(&limits).unwrap(),
            limit,
            "{}",
            limits.display()
        );
    }
    container.end();
    before.assert_unchanged(&bundle);
}

fn delete_force_of_the_outer_ends_running_and_paused_containers_in_it() {
    for (bundle, has_cgroups) in outers() {
        let pause = if has_cgroups { "rt pause c2;" } else { "" };
        let bundle = inner(bundle, "bundle", &["sleep", "1000"]);
        let script = format!(
            "set -e; rt run -d -b /bundle c1; rt run -d -b /bundle c2; {pause} rt create -b /bundle c3;
             echo up; exec sleep 1000"
        );
        let bundle = bundle.sh(&script);
        let before = HostState::of(&bundle);
        let container = bundle.run_detached();
        container.wait_for("up");
        container.end();
        before.assert_unchanged(&bundle);
    }
}

fn the_outer_is_deleted_with_the_cgroups_that_a_killed_rt_left_in_it() {
    for (bundle, _) in outers() {
        let bundle = inner(bundle, "bundle", &["sleep", "1000"]);
        let bundle = bundle.sh("rt run -d -b /bundle c1; kill -9 $(rt state c1 | \
            while read -r key value; do [ $key = '\"pid\":' ] && echo ${value%,}; done); exit 7");
        let before = HostState::of(&bundle);
        bundle.run().assert_code(7);
        before.assert_unchanged(&bundle);
    }
}
