//! Containers in scopes of a systemd that runs in namespaces.

use serde_json::json;

use crate::harness::{
    Bundle, CgroupLayout, Kind, SystemdHost, killed_everywhere, only_in_the_matrix, only_rt,
    trials, wait_until,
};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_scope_has_the_container_from_run_to_delete,
        a_unit_that_has_failed_or_ended_is_no_obstacle,
        limits_are_in_properties_and_files_of_v1,
        properties_are_those_of_runc,
        a_killed_command_leaves_nothing_after_delete,
        many_containers_at_a_time_leave_no_unit,
    ]
}

const SLEEP: [&str; 2] = ["/probe", "sleep"];

fn a_scope_has_the_container_from_run_to_delete() {
    only_rt("the state of the unit at each step is that of rt");
    let bundle = Bundle::new().args(&SLEEP).remove("/linux/resources");
    let path = bundle.path().to_str().unwrap().to_owned();
    let host = SystemdHost::start(CgroupLayout::V2, &bundle);
    let run = |id: &str| host.runtime(&["run", "-d", "-b", &path, id]).run();
    run("web").assert_ok();
    let info = host.runtime(&["info"]).run().assert_ok().stdout;
    assert!(info.contains(" of the host can make cgroups\n"), "{info}");
    let unit = "runc-web.scope";
    for (name, expected) in [
        ("Description", "libcontainer container web"),
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("DevicePolicy", "strict"),
        ("MemoryAccounting", "yes"),
        ("DefaultDependencies", "no"),
        ("ControlGroup", "/system.slice/runc-web.scope"),
    ] {
        assert_eq!(host.property(unit, name), expected, "{name}");
    }
    let procs = "system.slice/runc-web.scope/cgroup.procs";
    assert_eq!(
        host.cgroup_file(procs).lines().count(),
        1,
        "the placeholder has ended"
    );
    let joined = ["exec", "web", "/probe", "read", "/proc/1/cgroup"];
    let joined = host.runtime(&joined).run().assert_ok();
    assert!(joined.stdout.contains("0::/"), "{joined}");
    // The name of a running unit is taken; the unit of the other container stays.
    let other = host.runtime(&["--root", "/run/other", "run", "-d", "-b", &path, "web"]);
    let refused = other.run().assert_code(1);
    assert!(
        refused
            .one_line()
            .contains("systemd: StartTransientUnit runc-web.scope: Unit runc-web.scope")
            && refused
                .one_line()
                .contains("systemctl status runc-web.scope"),
        "{refused}"
    );
    assert_eq!(host.property(unit, "ActiveState"), "active");
    for verb in ["pause", "resume"] {
        host.runtime(&[verb, "web"]).run().assert_ok();
    }
    // Other commands find the driver in the state.
    host.runtime(&["delete", "--force", "web"])
        .with_word("--systemd-cgroup", "--debug")
        .run()
        .assert_ok();
    assert_eq!(host.traces_of("runc-web"), "");
}

fn a_unit_that_has_failed_or_ended_is_no_obstacle() {
    only_rt("the state of the unit at each step is that of rt");
    let bundle = Bundle::new().args(&SLEEP).remove("/linux/resources");
    let path = bundle.path().to_str().unwrap().to_owned();
    let host = SystemdHost::start(CgroupLayout::V2, &bundle);
    let unit = "runc-web.scope";
    let fail = "systemd-run --quiet --unit=runc-web.scope -p DefaultDependencies=no -p RuntimeMaxSec=1ms --scope sleep 1000";
    host.call(&["sh", "-c", &format!("{fail}; true")])
        .run()
        .assert_ok();
    wait_until("the failure of the unit", || {
        host.property(unit, "ActiveState") == "failed"
    });
    host.runtime(&["run", "-d", "-b", &path, "web"])
        .run()
        .assert_ok();
    // The container ends by itself: systemd releases the scope before it is deleted.
    host.runtime(&["kill", "web", "KILL"]).run().assert_ok();
    wait_until("the end of the scope", || {
        host.property(unit, "ActiveState") != "active"
    });
    host.runtime(&["delete", "web"]).run().assert_ok();
    assert_eq!(host.traces_of("runc-web"), "");
}

fn limits_are_in_properties_and_files_of_v1() {
    only_in_the_matrix(); // It starts a systemd.
    let bundle = Bundle::new()
        .args(&SLEEP)
        .set("/linux/cgroupsPath", json!("a-b.slice:p:web"))
        .set("/linux/resources/memory", json!({ "limit": 64 << 20 }))
        .set("/linux/resources/pids", json!({ "limit": 20 }))
        .set(
            "/linux/resources/cpu",
            json!({ "shares": 512, "quota": 50001, "period": 100_000 }),
        );
    let path = bundle.path().to_str().unwrap().to_owned();
    let host = SystemdHost::start(CgroupLayout::Hybrid, &bundle);
    host.runtime(&["run", "-d", "-b", &path, "web"])
        .run()
        .assert_ok();
    let unit = "p-web.scope";
    let check = |properties: &[(&str, &str)], files: &[(&str, &str)]| {
        for (name, expected) in properties {
            assert_eq!(host.property(unit, name), *expected, "{name}");
        }
        for (file, expected) in files {
            let (controller, _) = file.split_once('.').unwrap();
            let file = format!("{controller}/a.slice/a-b.slice/p-web.scope/{file}");
            assert_eq!(host.cgroup_file(&file), *expected, "{file}");
        }
    };
    check(
        &[
            ("Slice", "a-b.slice"),
            ("MemoryLimit", "67108864"),
            ("TasksMax", "20"),
            ("CPUShares", "512"),
            ("CPUQuotaPerSecUSec", "510ms"),
        ],
        &[
            ("memory.limit_in_bytes", "67108864"),
            ("pids.max", "20"),
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "50001"),
            ("freezer.state", "THAWED"),
        ],
    );
    let update = |args: &[&str]| {
        let args = [&["update"], args, &["web"]].concat();
        host.runtime(&args).run().assert_ok();
    };
    update(&["--memory", "32M", "--pids-limit", "30"]);
    let updated = [("memory.limit_in_bytes", "33554432"), ("pids.max", "30")];
    check(&[("MemoryLimit", "33554432"), ("TasksMax", "30")], &updated);
    // A paused container stays paused.
    host.runtime(&["pause", "web"]).run().assert_ok();
    update(&["--cpu-share", "300"]);
    check(&[("CPUShares", "300")], &[("freezer.state", "FROZEN")]);
    host.runtime(&["resume", "web"]).run().assert_ok();
    host.call(&["systemctl", "daemon-reload"]).run().assert_ok();
    check(&[("MemoryLimit", "33554432")], &updated);
    host.runtime(&["delete", "--force", "web"])
        .run()
        .assert_ok();
    assert_eq!(host.traces_of("p-web"), "");
}

/// The same container with both, on both layouts. What is compared are all properties but times, ids and counters.
fn properties_are_those_of_runc() {
    only_in_the_matrix(); // It starts a systemd twice.
    only_rt("it compares rt with runc");
    for layout in [CgroupLayout::V2, CgroupLayout::Hybrid] {
        let mut bundle = Bundle::new().args(&SLEEP);
        bundle = match layout {
            CgroupLayout::V2 => bundle.remove("/linux/resources"),
            CgroupLayout::Hybrid => bundle
                .set("/linux/resources/memory", json!({ "limit": 64 << 20 }))
                .set("/linux/resources/pids", json!({ "limit": -1 }))
                .set(
                    "/linux/resources/cpu",
                    json!({ "shares": 2, "quota": 7000, "cpus": "0" }),
                ),
        };
        let path = bundle.path().to_str().unwrap().to_owned();
        let host = SystemdHost::start(layout, &bundle);
        let shown = |program: &str| {
            let globals = [program, "--root", "/run/compared", "--systemd-cgroup"];
            let call = |args: &[&str]| host.call(&[&globals, args].concat()).run().assert_ok();
            call(&["run", "-d", "-b", &path, "web"]);
            let shown = host.call(&["systemctl", "show", "runc-web.scope"]).run();
            call(&["delete", "--force", "web"]);
            wait_until("the end of the scope", || {
                host.traces_of("runc-web").is_empty()
            });
            let mut lines: Vec<String> = shown.stdout.lines().map(str::to_owned).collect();
            // runc sets limits in a second call, for which systemd writes further files.
            let differs = [
                "ControlGroupId=",
                "InvocationID=",
                "DropInPaths=",
                "NeedDaemonReload=",
                "MemoryCurrent=",
                "CPUUsageNSec=",
                "TasksCurrent=",
            ];
            lines.retain(|line| {
                !line.contains("Timestamp") && !differs.iter().any(|it| line.starts_with(it))
            });
            // The number of a group of devices, or its name.
            lines
                .iter_mut()
                .for_each(|line| *line = line.replace("char-pts", "char-136"));
            lines.sort();
            lines
        };
        assert_eq!(shown(Kind::Rt.program()), shown(Kind::Runc.program()));
    }
}

/// `rt` is killed at each system call, those of the driver included.
fn a_killed_command_leaves_nothing_after_delete() {
    only_in_the_matrix(); // It starts a systemd, and hundreds of containers.
    let bundle = Bundle::new().args(&SLEEP).remove("/linux/resources");
    let path = bundle.path().to_str().unwrap().to_owned();
    let host = SystemdHost::start(CgroupLayout::V2, &bundle);
    killed_everywhere(
        bundle.runtime(),
        20,
        |before| host.runtime_through(before, &["run", "-d", "-b", &path, "web"]),
        |place| {
            let outcome = host.runtime(&["delete", "--force", "web"]).run();
            assert_eq!(outcome.code(), 0, "{place}: {outcome}");
            // A process that was killed with its parent may still be ending.
            wait_until(place, || host.traces_of("runc-web").is_empty());
        },
    );
}

fn many_containers_at_a_time_leave_no_unit() {
    only_in_the_matrix(); // It starts 300 containers.
    let bundle = Bundle::new()
        .args(&["/probe", "exit", "0"])
        .remove("/linux/resources");
    let path = bundle.path().to_str().unwrap().to_owned();
    let host = SystemdHost::start(CgroupLayout::V2, &bundle);
    for round in 0..15 {
        let start = |number: usize| {
            let id = format!("many-{round}-{number}");
            host.runtime(&["run", "-b", &path, &id]).start()
        };
        let running: Vec<_> = (0..20).map(start).collect();
        for one in running {
            one.wait().assert_ok();
        }
    }
    wait_until("the end of all scopes", || {
        host.traces_of("many").is_empty()
    });
}
