//! `update`: changes the limits of a container that exists. The tests read them from the files
//! of the host.

use std::fs::{self, File};
use std::path::Path;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cgroups::resources::weight_file;
use crate::harness::{
    Bundle, Container, Kind, Outcome, Runtime, View, cgroup_of, differs, on_v2, only_rt, signal,
    skip, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        flags_change_the_limits_that_they_name,
        json_changes_the_limits_that_it_names,
        resources_without_limits_change_nothing,
        a_pids_limit_of_zero_is_applied_from_a_flag_or_the_configuration,
        a_refused_memory_limit_below_the_usage_names_the_usage,
        the_present_limits_can_be_sent_again,
        changing_quota_or_period_keeps_the_other,
        quota_and_burst_can_be_lowered_together,
        cpu_idle_can_be_set_and_unset,
        memory_and_swap_limits_can_be_raised_and_lowered,
        a_memory_limit_alone_keeps_the_limit_on_memory_and_swap,
        unlimited_memory_makes_swap_unlimited,
        a_swap_limit_alone_uses_the_present_memory_limit,
        check_before_update_refuses_a_limit_below_the_usage,
        update_does_not_change_device_rules,
        a_refused_update_changes_nothing,
        invalid_values_are_refused_with_their_flag_or_field,
        an_empty_value_changes_nothing_except_for_numeric_flags,
        invalid_json_is_refused_with_its_position,
        a_container_without_intel_rdt_has_no_schemata_to_update,
        a_schema_of_another_form_is_refused_by_flag,
        weights_for_io_can_be_changed,
        files_by_name_and_huge_pages_can_be_changed,
        rates_of_a_disk_are_changed_and_restored,
        resources_and_flags_cannot_be_combined,
        a_kernel_memory_limit_is_ignored_with_a_warning,
        a_created_and_a_paused_container_can_be_updated,
        a_stopped_container_cannot_be_updated,
        limits_without_their_controller_are_refused_in_the_v2_view,
    ]
}

/// A running container and its bundle.
struct Running {
    bundle: Bundle,
    container: Container,
    pid: i32,
}

impl Running {
    fn new() -> Self {
        Self::of(Bundle::new())
    }

    fn with(resources: &[(&str, Value)]) -> Self {
        let set = |bundle: Bundle, (name, value): &(&str, Value)| {
            bundle.set(&format!("/linux/resources/{name}"), value.clone())
        };
        Self::of(resources.iter().fold(Bundle::new(), set))
    }

    fn of(bundle: Bundle) -> Self {
        let bundle = bundle.args(&["/probe", "sleep"]);
        let container = bundle.run_detached();
        let pid = container.pid();
        Self {
            bundle,
            container,
            pid,
        }
    }

    /// `update FLAGS.. ID`
    fn update(&self, flags: &[&str]) -> Outcome {
        let arguments = [&["update"], flags, &[self.bundle.id()]].concat();
        self.bundle.runtime().call(&arguments).run()
    }

    /// `update --resources - ID`, with `text` on standard input.
    fn update_text(&self, text: &str) -> Outcome {
        let file = self.bundle.runtime().home().join("resources.json");
        fs::write(&file, text).unwrap();
        let arguments = ["update", "--resources", "-", self.bundle.id()];
        let call = self.bundle.runtime().call(&arguments);
        let call = call.with(|command| command.stdin(File::open(&file).unwrap()));
        call.run()
    }

    fn update_json(&self, resources: &Value) -> Outcome {
        self.update_text(&resources.to_string())
    }

    fn file(&self, controller: &str, file: &str) -> String {
        let path = cgroup_of(self.pid, controller).join(file);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim().to_owned()
    }

    /// Checks files. Each item is a controller, and the file and its value in v1 and in v2.
    #[track_caller]
    fn assert(&self, expected: &[(&str, [(&str, &str); 2])]) {
        for (controller, versions) in expected {
            let (file, value) = versions[usize::from(on_v2())];
            assert_eq!(self.file(controller, file), value, "{file}");
        }
    }

    /// The values of all files that an update can change.
    fn all(&self) -> Vec<(&'static str, String)> {
        let files = [
            [
                ("memory", "memory.limit_in_bytes"),
                ("memory", "memory.soft_limit_in_bytes"),
                ("cpu", "cpu.shares"),
                ("cpu", "cpu.cfs_quota_us"),
                ("cpu", "cpu.cfs_period_us"),
                ("cpuset", "cpuset.cpus"),
                ("cpuset", "cpuset.mems"),
                ("pids", "pids.max"),
            ],
            [
                ("memory", "memory.max"),
                ("memory", "memory.low"),
                ("memory", "memory.swap.max"),
                ("cpu", "cpu.weight"),
                ("cpu", "cpu.max"),
                ("cpuset", "cpuset.cpus"),
                ("cpuset", "cpuset.mems"),
                ("pids", "pids.max"),
            ],
        ];
        let files = files[usize::from(on_v2())].iter();
        let files = files.map(|(controller, file)| (*file, self.file(controller, file)));
        files.collect()
    }
}

const MIB: u64 = 1 << 20;

/// Whether the kernel limits swap. In v1 that is optional.
fn has_swap_limits() -> bool {
    on_v2() || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

fn flags_change_the_limits_that_they_name() {
    let running = Running::new();
    let flags = [
        "--memory=48m",
        "--memory-reservation",
        "32MiB",
        "--cpu-share=300",
        "--cpu-quota=40000",
        "--cpu-period=80000",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--pids-limit=42",
    ];
    running.update(&flags).assert_ok();
    running.assert(&[
        (
            "memory",
            [
                ("memory.limit_in_bytes", "50331648"),
                ("memory.max", "50331648"),
            ],
        ),
        (
            "memory",
            [
                ("memory.soft_limit_in_bytes", "33554432"),
                ("memory.low", "33554432"),
            ],
        ),
        (
            "cpu",
            [("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 80000")],
        ),
        (
            "cpu",
            [("cpu.cfs_period_us", "80000"), ("cpu.max", "40000 80000")],
        ),
        ("cpuset", [("cpuset.cpus", "0"); 2]),
        ("cpuset", [("cpuset.mems", "0"); 2]),
        ("pids", [("pids.max", "42"); 2]),
    ]);
    if Kind::under_test() == Kind::Rt || !on_v2() {
        running.assert(&[("cpu", [("cpu.shares", "300"), ("cpu.weight", "39")])]);
    }
    running.update(&["--pids-limit", "-1"]).assert_ok();
    running.assert(&[
        ("pids", [("pids.max", "max"); 2]),
        (
            "memory",
            [
                ("memory.limit_in_bytes", "50331648"),
                ("memory.max", "50331648"),
            ],
        ),
    ]);
}

/// The calls of containerd's shim and CRI-O, and then that of Podman.
fn json_changes_the_limits_that_it_names() {
    let running = Running::new();
    let resources = json!({
        "memory": { "limit": 48 * MIB }, "cpu": { "shares": 1024, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 17 }, "somethingNew": { "a": 1 },
    });
    running.update_json(&resources).assert_ok();
    let expected = [
        (
            "memory",
            [
                ("memory.limit_in_bytes", "50331648"),
                ("memory.max", "50331648"),
            ],
        ),
        (
            "cpu",
            [("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")],
        ),
        ("pids", [("pids.max", "17"); 2]),
    ];
    running.assert(&expected);
    let file = running.bundle.runtime().home().join("file.json");
    fs::write(&file, r#"{ "pids": { "limit": 18 } }"#).unwrap();
    let flag = format!("--resources={}", file.display());
    running.update(&[&flag]).assert_ok();
    running.assert(&expected[..2]);
    running.assert(&[("pids", [("pids.max", "18"); 2])]);
}

/// Managers write such values for the fields that they do not change.
fn resources_without_limits_change_nothing() {
    let running = Running::with(&[
        ("memory", json!({ "limit": 48 * MIB })),
        (
            "cpu",
            json!({ "quota": 50_000, "shares": 512, "cpus": "0" }),
        ),
        ("pids", json!({ "limit": 17 })),
    ]);
    let before = running.all();
    for text in [
        "{}",
        "null",
        r#"{"memory":{},"cpu":{},"blockIO":{},"pids":null,"hugepageLimits":null,"network":null,"unified":{}}"#,
        r#"{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0,"kernelTCP":0},
            "cpu":{"shares":0,"quota":0,"period":0,"realtimeRuntime":0,"realtimePeriod":0,"cpus":"","mems":""},
            "blockIO":{"weight":0},"hugepageLimits":[],"rdma":{}}"#,
        r#"{"memory":{"limit":null,"checkBeforeUpdate":true},"unknown":[1,2]}"#,
    ] {
        match Kind::under_test() {
            Kind::Crun if text == "null" => continue,
            // Debian's version panics.
            Kind::Runc if text.contains(":null") => continue,
            Kind::Rt | Kind::Runc | Kind::Crun => {}
        }
        running.update_text(text).assert_ok();
        assert_eq!(running.all(), before, "after {text}");
    }
    running.update(&[]).assert_ok();
    let zeros = [
        "--memory=0",
        "--cpu-quota=0",
        "--cpu-share=0",
        "--blkio-weight=0",
    ];
    running.update(&zeros).assert_ok();
    assert_eq!(running.all(), before);
    differs(Kind::Crun, "it applies a limit of 0");
    running
        .update_json(&json!({ "pids": { "limit": 0 } }))
        .assert_ok();
    assert_eq!(running.all(), before);
}

/// Only in a list of resources does 0 mean that the limit is not changed.
fn a_pids_limit_of_zero_is_applied_from_a_flag_or_the_configuration() {
    differs(
        Kind::Runc,
        "it ignores a limit of 0, also in a configuration",
    );
    let running = Running::with(&[("pids", json!({ "limit": 50 }))]);
    running.update(&["--pids-limit", "0"]).assert_ok();
    running.assert(&[("pids", [("pids.max", "0"); 2])]);
    let created = Bundle::new().args(&["/probe", "sleep"]);
    let created = created.set("/linux/resources/pids", json!({ "limit": 0 }));
    let container = created.create();
    let path = cgroup_of(container.pid(), "pids").join("pids.max");
    assert_eq!(fs::read_to_string(path).unwrap(), "0\n");
}

fn a_refused_memory_limit_below_the_usage_names_the_usage() {
    if on_v2() {
        skip("cgroup v2 accepts such a limit");
    }
    differs(Kind::Crun, "it says only that the resource is busy");
    let running = Running::new();
    let before = running.all();
    for flags in [
        &["--memory=4096"][..],
        &["--memory=4096", "--memory-swap=4096"],
    ] {
        let refused = running.update(flags).assert_refused("4096");
        let highest_usage = running.file("memory", "memory.max_usage_in_bytes");
        refused.assert_refused(&highest_usage);
        assert_eq!(running.all(), before);
    }
}

/// containerd's CRI sends all of `linux.resources`, with a few fields changed.
fn the_present_limits_can_be_sent_again() {
    let running = Running::with(&[
        ("memory", json!({ "limit": 48 * MIB })),
        (
            "cpu",
            json!({ "quota": 50_000, "period": 100_000, "shares": 512 }),
        ),
    ]);
    let before = running.all();
    let resources = running.bundle.config().get("/linux/resources").clone();
    running.update_json(&resources).assert_ok();
    assert_eq!(running.all(), before);
}

fn changing_quota_or_period_keeps_the_other() {
    let running = Running::new();
    running.update(&["--cpu-quota=30000"]).assert_ok();
    let check = |quota: &str, period: &str| {
        let both = format!("{} {period}", if quota == "-1" { "max" } else { quota });
        running.assert(&[
            ("cpu", [("cpu.cfs_quota_us", quota), ("cpu.max", &both)]),
            ("cpu", [("cpu.cfs_period_us", period), ("cpu.max", &both)]),
        ]);
    };
    check("30000", "100000");
    running.update(&["--cpu-period=50000"]).assert_ok();
    check("30000", "50000");
    running.update(&["--cpu-quota=20000"]).assert_ok();
    check("20000", "50000");
    running.update(&["--cpu-quota", "-1"]).assert_ok();
    check("-1", "50000");
}

fn quota_and_burst_can_be_lowered_together() {
    only_rt("the other runtimes in Debian do not support bursts");
    let running = Running::new();
    let path = ["cpu.cfs_burst_us", "cpu.max.burst"][usize::from(on_v2())];
    if !cgroup_of(running.pid, "cpu").join(path).exists() {
        skip("this kernel does not support bursts");
    }
    let check = |value: &str| {
        running.assert(&[(
            "cpu",
            [("cpu.cfs_burst_us", value), ("cpu.max.burst", value)],
        )]);
    };
    let flags = ["--cpu-quota=50000", "--cpu-burst=40000"];
    running.update(&flags).assert_ok();
    check("40000");
    // The new quota is below the present burst.
    let flags = ["--cpu-quota=20000", "--cpu-burst=10000"];
    running.update(&flags).assert_ok();
    check("10000");
    running.update(&["--cpu-burst=0"]).assert_ok();
    check("0");
    let refused = running.update(&["--cpu-burst=30000"]);
    refused.assert_refused("linux.resources.cpu.burst: write \"30000\" to cpu.");
}

fn cpu_idle_can_be_set_and_unset() {
    only_rt("the other runtimes in Debian have no such flag");
    let running = Running::new();
    let check = |value: &str| running.assert(&[("cpu", [("cpu.idle", value); 2])]);
    running.update(&["--cpu-idle=1"]).assert_ok();
    check("1");
    let refused = running.update(&["--cpu-share=300"]);
    refused.assert_refused("linux.resources.cpu.shares: write");
    running
        .update(&["--cpu-idle=0", "--cpu-share=300"])
        .assert_ok();
    check("0");
    running.assert(&[("cpu", [("cpu.shares", "300"), ("cpu.weight", "39")])]);
}

/// The kernel takes the two only in one order, which is different for raising and lowering them.
fn memory_and_swap_limits_can_be_raised_and_lowered() {
    if !has_swap_limits() {
        skip("this kernel has no swap accounting");
    }
    let running = Running::new();
    for (memory, memory_and_swap, swap) in [
        ("64m", "128m", "67108864"),
        ("256m", "512m", "268435456"),
        ("32m", "32m", "0"),
        ("64m", "96m", "33554432"),
    ] {
        let flags = ["--memory", memory, "--memory-swap", memory_and_swap];
        running.update(&flags).assert_ok();
        let bytes = |size: &str| {
            let mib: u64 = size.trim_end_matches('m').parse().unwrap();
            (mib * MIB).to_string()
        };
        running.assert(&[
            (
                "memory",
                [
                    ("memory.limit_in_bytes", &bytes(memory)),
                    ("memory.max", &bytes(memory)),
                ],
            ),
            (
                "memory",
                [
                    ("memory.memsw.limit_in_bytes", &bytes(memory_and_swap)),
                    ("memory.swap.max", swap),
                ],
            ),
        ]);
    }
    let before = running.all();
    let refused = running.update(&["--memory=64m", "--memory-swap=32m"]);
    refused.assert_refused("memory");
    assert_eq!(running.all(), before);
}

/// The limit on memory and swap together does not change, so the limit on swap alone does.
fn a_memory_limit_alone_keeps_the_limit_on_memory_and_swap() {
    if !has_swap_limits() {
        skip("this kernel has no swap accounting");
    }
    differs(
        Kind::Crun,
        "on cgroup v2 it does not change the limit on swap",
    );
    let memory = json!({ "limit": 64 * MIB, "swap": 96 * MIB });
    let running = Running::with(&[("memory", memory)]);
    running.update(&["--memory=80m"]).assert_ok();
    let files = [
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("memory.swap.max", "16777216"),
    ];
    running.assert(&[("memory", files)]);
    let before = running.all();
    let refused = running.update(&["--memory=128m"]);
    refused.assert_refused("memory");
    assert_eq!(running.all(), before);
}

fn unlimited_memory_makes_swap_unlimited() {
    let memory = if has_swap_limits() {
        json!({ "limit": 64 * MIB, "swap": 96 * MIB })
    } else {
        json!({ "limit": 64 * MIB })
    };
    let running = Running::with(&[("memory", memory)]);
    running.update(&["--memory", "-1"]).assert_ok();
    let top = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    let unlimited = top.unwrap_or_default();
    let files = [
        ("memory.limit_in_bytes", unlimited.trim()),
        ("memory.max", "max"),
    ];
    running.assert(&[("memory", files)]);
    if has_swap_limits() {
        let files = [
            ("memory.memsw.limit_in_bytes", unlimited.trim()),
            ("memory.swap.max", "max"),
        ];
        running.assert(&[("memory", files)]);
    }
}

fn a_swap_limit_alone_uses_the_present_memory_limit() {
    if !has_swap_limits() {
        skip("this kernel has no swap accounting");
    }
    differs(Kind::Crun, "it needs both limits at once");
    let running = Running::new();
    if on_v2() {
        let refused = running.update(&["--memory-swap=96m"]);
        refused.assert_refused("memory");
    }
    running.update(&["--memory=64m"]).assert_ok();
    running.update(&["--memory-swap=96m"]).assert_ok();
    let files = [
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("memory.swap.max", "33554432"),
    ];
    running.assert(&[("memory", files)]);
}

/// config-linux.md, "checkBeforeUpdate": "the runtime [...] MUST reject the new limit".
fn check_before_update_refuses_a_limit_below_the_usage() {
    if !on_v2() {
        skip("on cgroup v1 the kernel checks it");
    }
    only_rt("Debian's versions of the others do not check it");
    let running = Running::new();
    let before = running.all();
    for memory in [
        json!({ "limit": 4096, "checkBeforeUpdate": true }),
        json!({ "limit": 4096, "swap": 4096, "checkBeforeUpdate": true }),
    ] {
        let refused = running.update_json(&json!({ "memory": memory }));
        refused.assert_refused("limit 4096 <= usage ");
    }
    assert_eq!(running.all(), before);
    assert_eq!(running.container.status(), "running");
}

fn update_does_not_change_device_rules() {
    let bundle = Bundle::new()
        .sh("while ! test -e /tmp/go; do sleep 0.02; done; cat /dev/null && echo fine");
    let bundle = bundle.writable();
    let container = bundle.run_detached();
    let running = Running {
        pid: container.pid(),
        container,
        bundle,
    };
    let resources = json!({
        "devices": [{ "allow": false, "access": "rwm" }], "pids": { "limit": 100 },
    });
    running.update_json(&resources).assert_ok();
    fs::write(running.bundle.rootfs().join("tmp/go"), "").unwrap();
    running.container.wait_for("fine\n");
}

/// The kernel refuses the last of several limits.
fn a_refused_update_changes_nothing() {
    let running = Running::with(&[
        ("memory", json!({ "limit": 64 * MIB })),
        ("cpu", json!({ "quota": 50_000, "shares": 512 })),
    ]);
    let before = running.all();
    let refused = running.update(&[
        "--memory=48m",
        "--memory-reservation=16m",
        "--cpu-share=300",
        "--cpu-quota=40000",
        "--pids-limit=5",
        "--cpuset-mems=4000",
    ]);
    let outcome = refused.assert_refused("cpuset.mems");
    if Kind::under_test() == Kind::Rt {
        let line = outcome.one_line();
        let text = "linux.resources.cpu.mems: write \"4000\" to cpuset.mems: ";
        assert!(line.contains(text), "{outcome}");
    }
    differs(
        Kind::Crun,
        "it does not restore the limits that it has changed",
    );
    differs(
        Kind::Runc,
        "it restores only the limits that it has recorded",
    );
    assert_eq!(running.all(), before);
    // The kernel accepts the first limits and refuses the quota.
    let text = "linux.resources.cpu.quota: write \"5";
    let refused = running.update(&["--memory=48m", "--cpu-share=300", "--cpu-quota=5"]);
    refused.assert_refused(text).one_line();
    assert_eq!(running.all(), before);
}

fn invalid_values_are_refused_with_their_flag_or_field() {
    let running = Running::new();
    let before = running.all();
    for (flag, value, text) in [
        (
            "--memory",
            "12x",
            "--memory: \"12x\" is not a number of bytes such as 512m",
        ),
        (
            "--memory",
            "-5",
            "--memory: \"-5\" is not a number of bytes",
        ),
        (
            "--memory-swap",
            "m",
            "--memory-swap: \"m\" is not a number of bytes",
        ),
        (
            "--cpu-period",
            "abc",
            "--cpu-period: \"abc\" is not a number",
        ),
        ("--cpu-share", "-1", "linux.resources.cpu.shares: "),
        (
            "--cpuset-cpus",
            "a",
            "linux.resources.cpu.cpus: \"a\" is no list",
        ),
        (
            "--cpuset-cpus",
            "4000",
            "linux.resources.cpu.cpus: write \"4000\" to cpuset.cpus: ",
        ),
    ] {
        let outcome = running.update(&[flag, value]).assert_refused("");
        if Kind::under_test() == Kind::Rt {
            let start = format!("rt update: {}: {text}", running.bundle.id());
            assert!(outcome.one_line().starts_with(&start), "{outcome}");
        }
    }
    assert_eq!(running.all(), before);
}

/// For most flags an empty value is the same as no flag. A flag that runc parses as a number needs
/// one: a script whose variable is unset gets an error.
fn an_empty_value_changes_nothing_except_for_numeric_flags() {
    let running = Running::new();
    let before = running.all();
    for flag in [
        "--memory=",
        "--cpu-quota=",
        "--cpu-period=",
        "--cpuset-cpus=",
    ] {
        running.update(&[flag]).assert_code(0);
    }
    for flag in ["pids-limit", "blkio-weight"] {
        let outcome = running.update(&[&format!("--{flag}=")]);
        outcome.assert_refused(&format!("invalid value \"\" for flag -{flag}: parse error"));
    }
    let not_a_number = running.update(&["--pids-limit=many"]);
    not_a_number.assert_refused("pids-limit");
    assert_eq!(running.all(), before);
}

fn invalid_json_is_refused_with_its_position() {
    let running = Running::new();
    let before = running.all();
    let long = format!("[{}]", "1,".repeat(10));
    for (text, position) in [
        ("", "standard input: is empty"),
        ("{\"memory\":", "standard input: line 1 column 10: "),
        (&long, "standard input: line 1 column 22: "),
        ("[]", "standard input: not a JSON object"),
        ("\"x\"", "standard input: not a JSON object"),
        (
            r#"{"memory":{"limit":"a"}}"#,
            "linux.resources.memory.limit: ",
        ),
        (r#"{"cpu":{"shares":-1}}"#, "linux.resources.cpu.shares: "),
        (r#"{"cpu":[]}"#, "linux.resources.cpu: "),
    ] {
        let outcome = running.update_text(text);
        if Kind::under_test() == Kind::Rt {
            let start = format!("rt update: {}: {position}", running.bundle.id());
            let outcome = outcome.assert_refused("");
            assert!(outcome.one_line().starts_with(&start), "{outcome}");
        }
    }
    running
        .update(&["-r", "/nonexistent"])
        .assert_refused("/nonexistent");
    running.update(&["-r", "/proc"]).assert_refused("");
    assert_eq!(running.all(), before);
}

fn a_container_without_intel_rdt_has_no_schemata_to_update() {
    let running = Running::new();
    let before = running.all();
    for (flag, schema) in [
        ("--l3-cache-schema", "L3:0=f"),
        ("--mem-bw-schema", "MB:0=20"),
    ] {
        let refused = running.update(&["--pids-limit=7", flag, schema]);
        let refused = refused.assert_code(1);
        if Kind::under_test() == Kind::Rt {
            let (id, reason) = (running.bundle.id(), "the container has no linux.intelRdt");
            assert_eq!(
                refused.stderr,
                format!("rt update: {id}: {flag}: {reason}\n")
            );
        }
    }
    assert_eq!(running.all(), before);
    running
        .update(&["--l3-cache-schema=", "--mem-bw-schema="])
        .assert_ok();
}

fn a_schema_of_another_form_is_refused_by_flag() {
    only_rt("the others ask the kernel first");
    let running = Running::new();
    for (flag, value, reason) in [
        (
            "--l3-cache-schema",
            "7ff",
            "\"7ff\" is not of the form \"L3:0=7f0;1=1f\"",
        ),
        (
            "--mem-bw-schema",
            "L3:0=f",
            "\"L3:0=f\" does not start with \"MB:\"",
        ),
    ] {
        let refused = running.update(&[flag, value]).assert_code(1);
        let id = running.bundle.id();
        assert_eq!(
            refused.stderr,
            format!("rt update: {id}: {flag}: {reason}\n")
        );
    }
}

/// The weights go to the first of the files that the kernel has.
fn weights_for_io_can_be_changed() {
    let running = Running::new();
    let cgroup = cgroup_of(running.pid, "blkio");
    let file = weight_file(&cgroup);
    let present = || running.file("blkio", file).replace("default ", "");
    let expected = |weight: u64| match file {
        "io.weight" => (1 + (weight - 10) * 9999 / 990).to_string(),
        _ => weight.to_string(),
    };
    running.update(&["--blkio-weight=300"]).assert_ok();
    assert_eq!(present(), expected(300));
    let weight = json!({ "blockIO": { "weight": 400 } });
    running.update_json(&weight).assert_ok();
    assert_eq!(present(), expected(400));
    running.update(&["--blkio-weight=0"]).assert_ok();
    assert_eq!(present(), expected(400));
    only_rt("the others do not restore it, and their texts are others");
    for weight in ["9", "1001", "70000"] {
        let flag = format!("--blkio-weight={weight}");
        let text = format!("blockIO.weight: {weight} is not between 10 and 1000\n");
        running.update(&[&flag]).assert_refused(&text);
    }
    // The kernel knows no such disk, and the weight from before is restored.
    let disk = json!({ "major": 250, "minor": 77, "weight": 300 });
    let both = json!({ "blockIO": { "weight": 500, "weightDevice": [disk] } });
    let text = "blockIO.weightDevice[0].weight: write \"250:77 ";
    running.update_json(&both).assert_refused(text);
    assert_eq!(present(), expected(400));
}

/// A container in cgroup v2 alone.
fn running_on_version_2() -> Running {
    if on_v2() {
        return Running::new();
    }
    Running::of(Bundle::with_runtime(&Runtime::new().view(View::V2)))
}

fn files_by_name_and_huge_pages_can_be_changed() {
    differs(Kind::Crun, "it has other files and does not restore");
    let running = running_on_version_2();
    let file = |name: &str| running.file("", name);
    if !cgroup_of(running.pid, "").join("hugetlb.2MB.max").exists() {
        skip("cgroup v2 has no hugetlb controller here");
    }
    let files = json!({ "unified": {
        "hugetlb.2MB.max": "4194304", "cgroup.max.depth": "9",
    }});
    running.update_json(&files).assert_ok();
    assert_eq!(file("hugetlb.2MB.max"), "4194304");
    assert_eq!(file("cgroup.max.depth"), "9");
    only_rt("runc neither limits huge pages by an update nor restores these files");
    let limits = json!([{ "pageSize": "2MB", "limit": 2 << 20 }]);
    running
        .update_json(&json!({ "hugepageLimits": limits }))
        .assert_ok();
    assert_eq!(file("hugetlb.2MB.max"), "2097152");
    assert_eq!(file("hugetlb.2MB.rsvd.max"), "2097152");
    for (files, text) in [
        (
            json!({ "cgroup.max.depth": "3", "hugetlb.2MB.max": "0", "hugetlb.9MB.max": "0" }),
            "unified.hugetlb.9MB.max: write \"0\" to hugetlb.9MB.max: ",
        ),
        (
            json!({ "hugetlb.2MB.max": "0", "none.max": "0" }),
            "unified.none.max: the none controller is off in /",
        ),
        (
            json!({ "cgroup.freeze": "1" }),
            "unified.cgroup.freeze: this file is no limit",
        ),
    ] {
        let outcome = running.update_json(&json!({ "unified": files }));
        outcome.assert_refused(text).one_line();
        assert_eq!(file("hugetlb.2MB.max"), "2097152");
        assert_eq!(file("cgroup.max.depth"), "9");
    }
    assert_eq!(running.container.status(), "running");
}

/// Each line of such a file is a limit on one disk.
fn rates_of_a_disk_are_changed_and_restored() {
    let disks = fs::read_dir("/sys/block").unwrap();
    let disks = disks.map(|disk| fs::read_to_string(disk.unwrap().path().join("dev")));
    let Some(disk) = disks.filter_map(Result::ok).next() else {
        skip("this host has no disk")
    };
    let disk = disk.trim();
    let numbers = disk.split_once(':').unwrap();
    let [major, minor] = [numbers.0, numbers.1].map(|number| number.parse::<u64>().unwrap());
    let rates = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let running = Running::with(&[("blockIO", json!({ "throttleReadBpsDevice": rates(1000) }))]);
    let file = ["blkio.throttle.read_bps_device", "io.max"][usize::from(on_v2())];
    let present = || running.file("blkio", file);
    let line = |rate: u64| {
        if on_v2() {
            format!("{disk} rbps={rate} wbps=max riops=max wiops=max")
        } else {
            format!("{disk} {rate}")
        }
    };
    assert_eq!(present(), line(1000));
    differs(Kind::Runc, "Debian's version does not change them");
    differs(Kind::Crun, "it does not restore them");
    let update =
        |list: Value| running.update_json(&json!({ "blockIO": { "throttleReadBpsDevice": list } }));
    update(rates(2000)).assert_ok();
    assert_eq!(present(), line(2000));
    let absent = json!({ "major": 250, "minor": 77, "rate": 1 });
    let list = json!([rates(3000)[0], absent]);
    let text = "blockIO.throttleReadBpsDevice[1]: write \"250:77 ";
    update(list).assert_refused(text).one_line();
    assert_eq!(present(), line(2000));
    update(rates(0)).assert_ok();
    assert_eq!(present(), "");
}

fn resources_and_flags_cannot_be_combined() {
    only_rt("runc ignores the flags, as it says itself, and crun does both");
    let running = Running::new();
    let before = running.all();
    let outcome = running
        .update(&["--resources=-", "--pids-limit=5"])
        .assert_code(1);
    let id = running.bundle.id();
    let line = format!("rt update: {id}: --pids-limit: cannot be combined with --resources\n");
    assert_eq!(outcome.stderr, line);
    assert_eq!(running.all(), before);
}

fn a_kernel_memory_limit_is_ignored_with_a_warning() {
    differs(Kind::Crun, "it gives no warning");
    let running = Running::new();
    let before = running.all();
    let outcome = running.update(&["--kernel-memory=64m"]).assert_ok();
    assert!(outcome.one_line().contains("ignored"), "{outcome}");
    assert_eq!(running.all(), before);
}

fn a_created_and_a_paused_container_can_be_updated() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.create();
    let running = Running {
        pid: container.pid(),
        container,
        bundle,
    };
    running.update(&["--pids-limit=5"]).assert_ok();
    running.assert(&[("pids", [("pids.max", "5"); 2])]);
    running.container.start().assert_ok();
    running.container.call("pause", &[]).assert_ok();
    running
        .update(&["--pids-limit=6", "--memory=32m"])
        .assert_ok();
    running.assert(&[("pids", [("pids.max", "6"); 2])]);
    running.container.call("resume", &[]).assert_ok();
    assert_eq!(running.container.status(), "running");
}

fn a_stopped_container_cannot_be_updated() {
    let running = Running::new();
    signal(running.pid, Signal::SIGKILL);
    running.container.wait_stopped();
    let refused = running.update(&["--memory=64m"]);
    differs(Kind::Crun, "its error has another text");
    refused.assert_refused("container not running");
    let missing = running
        .bundle
        .runtime()
        .call(&["update", "--pids-limit=5", "missing"]);
    missing.run().assert_refused("does not exist");
}

fn limits_without_their_controller_are_refused_in_the_v2_view() {
    if on_v2() {
        skip("on this host cgroup v2 has every controller");
    }
    only_rt("the others have other error texts, or none");
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    let running = Running::of(bundle);
    for (flag, text) in [
        (
            "--memory=64m",
            "memory.limit: the memory controller is off in /",
        ),
        (
            "--memory-swap=64m",
            "memory.swap: the memory controller is off in /",
        ),
        (
            "--cpu-period=50000",
            "cpu.period: the cpu controller is off in /",
        ),
        (
            "--cpu-rt-period=50000",
            "cpu.realtimePeriod: cgroup v2, which this host uses",
        ),
        (
            "--cpuset-cpus=0",
            "cpu.cpus: the cpuset controller is off in /",
        ),
        (
            "--pids-limit=5",
            "pids.limit: the pids controller is off in /",
        ),
    ] {
        let outcome = running.update(&[flag]).assert_refused("");
        let start = format!("rt update: {}: linux.resources.{text}", running.bundle.id());
        assert!(outcome.one_line().starts_with(&start), "{outcome}");
    }
    running.update(&[]).assert_ok();
}
