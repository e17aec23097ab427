//! `update`: other limits for a container that exists, as the host's files show them.

use std::fs::{self, File};
use std::path::Path;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Container, Kind, Outcome, Runtime, View, cgroup_of, differs, on_v2, only_rt, signal,
    skip, trials,
};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        flags_change_the_limits_that_they_name,
        json_changes_the_limits_that_it_names,
        what_asks_for_nothing_changes_nothing,
        no_task_at_all_is_a_limit_where_it_is_asked_for,
        memory_below_what_is_in_use_names_the_use,
        what_the_container_has_can_be_sent_again,
        quota_and_period_keep_each_other,
        a_burst_follows_the_quota,
        a_container_becomes_idle_and_back,
        memory_and_swap_grow_and_shrink_together,
        memory_alone_stays_below_both_together,
        memory_without_limit_frees_swap_too,
        swap_alone_counts_the_memory_that_is,
        memory_in_use_is_checked_when_asked,
        devices_are_not_changed,
        what_is_refused_changes_nothing,
        values_that_are_none_are_refused_by_name,
        an_empty_value_is_none_but_where_only_a_number_is_taken,
        what_is_no_json_is_refused_by_place,
        what_this_version_does_not_apply_is_refused_by_name,
        resources_and_flags_do_not_mix,
        kernel_memory_means_nothing_any_more,
        a_created_and_a_paused_container_can_be_updated,
        what_has_stopped_cannot_be_updated,
        limits_without_their_controller_are_refused_in_the_v2_view,
    ]
}

/// A container that runs, with what was there before.
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
        let words = [&["update"], flags, &[self.bundle.id()]].concat();
        self.bundle.runtime().call(&words).run()
    }

    /// `update --resources - ID`, with this text to read.
    fn update_text(&self, text: &str) -> Outcome {
        let file = self.bundle.runtime().home().join("resources.json");
        fs::write(&file, text).unwrap();
        let words = ["update", "--resources", "-", self.bundle.id()];
        let call = self.bundle.runtime().call(&words);
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

    /// Controller, then file and value of version 1, and of version 2.
    #[track_caller]
    fn assert(&self, expected: &[(&str, [(&str, &str); 2])]) {
        for (controller, versions) in expected {
            let (file, value) = versions[usize::from(on_v2())];
            assert_eq!(self.file(controller, file), value, "{file}");
        }
    }

    /// All files that an update can change.
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

/// Files of version 1 that not every kernel has.
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

/// As containerd's shim and CRI-O call it, and as Podman does.
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

/// What managers write who have nothing to say of most fields.
fn what_asks_for_nothing_changes_nothing() {
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
            // Debian's ends in a panic.
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
    differs(Kind::Crun, "for it no task at all is a limit");
    running
        .update_json(&json!({ "pids": { "limit": 0 } }))
        .assert_ok();
    assert_eq!(running.all(), before);
}

/// As in a configuration: only a list of resources holds zeros that nobody means.
fn no_task_at_all_is_a_limit_where_it_is_asked_for() {
    differs(
        Kind::Runc,
        "for it 0 asks for nothing, also in a configuration",
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

fn memory_below_what_is_in_use_names_the_use() {
    if on_v2() {
        skip("cgroup v2 takes it");
    }
    differs(Kind::Crun, "it says only that the resource is busy");
    let running = Running::new();
    let before = running.all();
    for flags in [
        &["--memory=4096"][..],
        &["--memory=4096", "--memory-swap=4096"],
    ] {
        let refused = running.update(flags).assert_refused("4096");
        let most = running.file("memory", "memory.max_usage_in_bytes");
        refused.assert_refused(&most);
        assert_eq!(running.all(), before);
    }
}

/// The CRI of containerd sends all of `linux.resources`, with what has changed in it.
fn what_the_container_has_can_be_sent_again() {
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

fn quota_and_period_keep_each_other() {
    let running = Running::new();
    running.update(&["--cpu-quota=30000"]).assert_ok();
    let is = |quota: &str, period: &str| {
        let both = format!("{} {period}", if quota == "-1" { "max" } else { quota });
        running.assert(&[
            ("cpu", [("cpu.cfs_quota_us", quota), ("cpu.max", &both)]),
            ("cpu", [("cpu.cfs_period_us", period), ("cpu.max", &both)]),
        ]);
    };
    is("30000", "100000");
    running.update(&["--cpu-period=50000"]).assert_ok();
    is("30000", "50000");
    running.update(&["--cpu-quota=20000"]).assert_ok();
    is("20000", "50000");
    running.update(&["--cpu-quota", "-1"]).assert_ok();
    is("-1", "50000");
}

fn a_burst_follows_the_quota() {
    only_rt("the others of Debian know no burst");
    let running = Running::new();
    let path = ["cpu.cfs_burst_us", "cpu.max.burst"][usize::from(on_v2())];
    if !cgroup_of(running.pid, "cpu").join(path).exists() {
        skip("this kernel knows no burst");
    }
    let is = |value: &str| {
        running.assert(&[(
            "cpu",
            [("cpu.cfs_burst_us", value), ("cpu.max.burst", value)],
        )]);
    };
    let flags = ["--cpu-quota=50000", "--cpu-burst=40000"];
    running.update(&flags).assert_ok();
    is("40000");
    // The new quota is below the burst that is there.
    let flags = ["--cpu-quota=20000", "--cpu-burst=10000"];
    running.update(&flags).assert_ok();
    is("10000");
    running.update(&["--cpu-burst=0"]).assert_ok();
    is("0");
    let refused = running.update(&["--cpu-burst=30000"]);
    refused.assert_refused("linux.resources.cpu.burst: write \"30000\" to cpu.");
}

fn a_container_becomes_idle_and_back() {
    only_rt("the others of Debian know no such flag");
    let running = Running::new();
    let is = |value: &str| running.assert(&[("cpu", [("cpu.idle", value); 2])]);
    running.update(&["--cpu-idle=1"]).assert_ok();
    is("1");
    let refused = running.update(&["--cpu-share=300"]);
    refused.assert_refused("linux.resources.cpu.shares: write");
    running
        .update(&["--cpu-idle=0", "--cpu-share=300"])
        .assert_ok();
    is("0");
    running.assert(&[("cpu", [("cpu.shares", "300"), ("cpu.weight", "39")])]);
}

/// In either direction the kernel takes them in one order only.
fn memory_and_swap_grow_and_shrink_together() {
    if !has_swap_limits() {
        skip("this kernel counts no swap");
    }
    let running = Running::new();
    for (memory, both, alone) in [
        ("64m", "128m", "67108864"),
        ("256m", "512m", "268435456"),
        ("32m", "32m", "0"),
        ("64m", "96m", "33554432"),
    ] {
        let flags = ["--memory", memory, "--memory-swap", both];
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
                    ("memory.memsw.limit_in_bytes", &bytes(both)),
                    ("memory.swap.max", alone),
                ],
            ),
        ]);
    }
    let before = running.all();
    let refused = running.update(&["--memory=64m", "--memory-swap=32m"]);
    refused.assert_refused("memory");
    assert_eq!(running.all(), before);
}

/// Both together stay what they were: swap gets what memory leaves.
fn memory_alone_stays_below_both_together() {
    if !has_swap_limits() {
        skip("this kernel counts no swap");
    }
    differs(Kind::Crun, "on cgroup v2 it leaves swap as it is");
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

fn memory_without_limit_frees_swap_too() {
    let memory = match has_swap_limits() {
        true => json!({ "limit": 64 * MIB, "swap": 96 * MIB }),
        false => json!({ "limit": 64 * MIB }),
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

fn swap_alone_counts_the_memory_that_is() {
    if !has_swap_limits() {
        skip("this kernel counts no swap");
    }
    differs(Kind::Crun, "it wants both at once");
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
fn memory_in_use_is_checked_when_asked() {
    if !on_v2() {
        skip("on cgroup v1 the kernel checks it");
    }
    only_rt("as old as Debian's the others do not check it");
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

fn devices_are_not_changed() {
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

/// The last of several is refused by the kernel.
fn what_is_refused_changes_nothing() {
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
    differs(Kind::Crun, "it leaves what it has written");
    differs(
        Kind::Runc,
        "it writes back what it remembers, and not what it does not",
    );
    assert_eq!(running.all(), before);
    // A quota that no kernel takes, after limits that it took.
    let text = "linux.resources.cpu.quota: write \"5";
    let refused = running.update(&["--memory=48m", "--cpu-share=300", "--cpu-quota=5"]);
    refused.assert_refused(text).one_line();
    assert_eq!(running.all(), before);
}

fn values_that_are_none_are_refused_by_name() {
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

/// An empty text asks for nothing, as if the flag were not there. Where runc takes nothing but a number,
/// one has to be there: a script's variable may be unset.
fn an_empty_value_is_none_but_where_only_a_number_is_taken() {
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
    let many = running.update(&["--pids-limit=many"]);
    many.assert_refused("pids-limit");
    assert_eq!(running.all(), before);
}

fn what_is_no_json_is_refused_by_place() {
    let running = Running::new();
    let before = running.all();
    let long = format!("[{}]", "1,".repeat(10));
    for (text, place) in [
        ("", "standard input: line 1 column 0: "),
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
            let start = format!("rt update: {}: {place}", running.bundle.id());
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

fn what_this_version_does_not_apply_is_refused_by_name() {
    only_rt("the others apply it");
    let running = Running::new();
    let id = running.bundle.id();
    for (resources, place) in [
        (json!({ "blockIO": { "weight": 500 } }), "blockIO.weight"),
        (json!({ "unified": { "memory.high": "1G" } }), "unified"),
        (
            json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] }),
            "hugepageLimits",
        ),
    ] {
        let line =
            format!("rt update: {id}: linux.resources.{place}: not applied by this version\n");
        assert_eq!(running.update_json(&resources).assert_code(1).stderr, line);
    }
    let refused = running.update(&["--blkio-weight=500"]).assert_code(1);
    let line = format!("rt update: {id}: --blkio-weight: not applied by this version\n");
    assert_eq!(refused.stderr, line);
    for flag in ["--l3-cache-schema", "--mem-bw-schema"] {
        let refused = running.update(&[flag, "x"]).assert_code(1);
        let line = format!("rt update: {flag}: not applied by this version\n");
        assert_eq!(refused.stderr, line);
    }
}

fn resources_and_flags_do_not_mix() {
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

fn kernel_memory_means_nothing_any_more() {
    differs(Kind::Crun, "it does as if it meant something");
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

fn what_has_stopped_cannot_be_updated() {
    let running = Running::new();
    signal(running.pid, Signal::SIGKILL);
    running.container.wait_stopped();
    let refused = running.update(&["--memory=64m"]);
    differs(Kind::Crun, "it has other words");
    refused.assert_refused("container not running");
    let nobody = running
        .bundle
        .runtime()
        .call(&["update", "--pids-limit=5", "nobody"]);
    nobody.run().assert_refused("does not exist");
}

fn limits_without_their_controller_are_refused_in_the_v2_view() {
    if on_v2() {
        skip("cgroup v2 has every controller here");
    }
    only_rt("the others have words of their own, or none");
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    let running = Running::of(bundle);
    for (flag, place) in [
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
            "cpu.realtimePeriod: cgroup v2, which this machine has",
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
        let start = format!(
            "rt update: {}: linux.resources.{place}",
            running.bundle.id()
        );
        assert!(outcome.one_line().starts_with(&start), "{outcome}");
    }
    running.update(&[]).assert_ok();
}
