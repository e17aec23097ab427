//! Time namespaces and `linux.timeOffsets`.

use std::path::Path;
use std::process::Command;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{mapped, refused};
use crate::harness::{Bundle, Holder, HostState, Report, namespace_of, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_new_time_namespace_without_offsets_has_the_hosts_clocks,
        both_clocks_are_shifted_by_their_offsets,
        offsets_may_be_negative,
        nanoseconds_are_added_to_the_offset,
        an_offset_of_one_clock_does_not_change_the_other,
        offsets_can_be_set_in_a_user_namespace,
        child_processes_are_in_the_time_namespace,
        a_time_namespace_can_be_joined,
        without_a_time_namespace_the_clocks_are_the_hosts,
        offsets_without_a_time_namespace_are_refused,
        offsets_of_a_joined_time_namespace_are_refused,
        an_offset_of_the_realtime_clock_is_refused,
        nanoseconds_out_of_range_are_refused,
        an_offset_that_the_kernel_refuses_is_refused,
        a_duplicate_time_namespace_is_refused,
    ]
}

const SECOND: i64 = 1_000_000_000;

fn with_time() -> Bundle {
    only_rt("the old runc does not support time namespaces, and crun only in part");
    Bundle::new().namespace("time", None)
}

fn offsets(bundle: Bundle, offsets: Value) -> Bundle {
    bundle.set("/linux/timeOffsets", offsets)
}

/// The clocks of the host.
fn clocks_on_host(probe: &Path) -> Value {
    let output = Command::new(probe).arg("report").output().unwrap();
    Report::parse(&String::from_utf8_lossy(&output.stdout))["clocks"].clone()
}

/// Runs the probe and checks the offsets of its clocks from the host's, in nanoseconds.
#[track_caller]
fn check(bundle: &Bundle, monotonic: i64, boottime: i64) -> Report {
    let probe = bundle.rootfs().join("probe");
    let before = clocks_on_host(&probe);
    let seen = bundle.probe();
    let after = clocks_on_host(&probe);
    for (name, offset) in [
        ("monotonic", monotonic),
        ("boottime", boottime),
        ("realtime", 0),
    ] {
        let clock = seen["clocks"][name].as_i64().unwrap() - offset;
        let (before, after) = (
            before[name].as_i64().unwrap(),
            after[name].as_i64().unwrap(),
        );
        assert!(
            before <= clock && clock <= after,
            "{name}: {clock} without its offset, not in {before}..{after}"
        );
    }
    // /proc/uptime has hundredths of a second, and floating point is inexact.
    let [uptime, before, after] =
        [&seen["clocks"], &before, &after].map(|clocks| clocks["uptime"].as_f64().unwrap());
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let offset = (boottime / (SECOND / 100)) as f64 / 100.0;
    assert!(
        before + offset - 0.05 < uptime && uptime < after + offset + 0.05,
        "uptime {uptime}"
    );
    seen
}

fn a_new_time_namespace_without_offsets_has_the_hosts_clocks() {
    let bundle = with_time();
    let before = HostState::of(&bundle);
    let seen = check(&bundle, 0, 0);
    assert_ne!(seen.namespace("time"), namespace_of("self", "time"));
    before.assert_unchanged(&bundle);
}

fn both_clocks_are_shifted_by_their_offsets() {
    let both = json!({ "monotonic": { "secs": 172_800, "nanosecs": 0 }, "boottime": { "secs": 604_800, "nanosecs": 0 } });
    let bundle = offsets(with_time(), both);
    let seen = check(&bundle, 172_800 * SECOND, 604_800 * SECOND);
    assert_ne!(seen.namespace("time"), namespace_of("self", "time"));
    assert_eq!(seen.namespace("time"), seen.namespace("time_for_children"));
}

fn offsets_may_be_negative() {
    let both = json!({ "monotonic": { "secs": -100, "nanosecs": 0 }, "boottime": { "secs": -200, "nanosecs": 0 } });
    check(&offsets(with_time(), both), -100 * SECOND, -200 * SECOND);
}

/// In timens_offsets, nanoseconds are added to the seconds and are never negative.
fn nanoseconds_are_added_to_the_offset() {
    let both = json!({
        "monotonic": { "secs": 5, "nanosecs": 999_999_999 },
        "boottime": { "secs": -100, "nanosecs": 500_000_000 },
    });
    let bundle = offsets(with_time(), both);
    check(&bundle, 6 * SECOND - 1, -100 * SECOND + SECOND / 2);
    let only = json!({ "monotonic": { "nanosecs": 7 }, "boottime": { "secs": 3 } });
    check(&offsets(with_time(), only), 7, 3 * SECOND);
}

fn an_offset_of_one_clock_does_not_change_the_other() {
    let one = json!({ "boottime": { "secs": 1_000_000, "nanosecs": 0 } });
    check(&offsets(with_time(), one), 0, 1_000_000 * SECOND);
}

fn offsets_can_be_set_in_a_user_namespace() {
    let both = json!({ "monotonic": { "secs": 50, "nanosecs": 0 }, "boottime": { "secs": 500, "nanosecs": 0 } });
    only_rt("the old runc does not support time namespaces, and crun only in part");
    let bundle = offsets(mapped().namespace("time", None), both);
    let before = HostState::of(&bundle);
    let seen = check(&bundle, 50 * SECOND, 500 * SECOND);
    assert_eq!(seen["uid"], 0);
    before.assert_unchanged(&bundle);
}

fn child_processes_are_in_the_time_namespace() {
    let ahead = json!({ "boottime": { "secs": 1_000_000, "nanosecs": 0 } });
    let bundle = offsets(with_time(), ahead).sh("read up rest < /proc/uptime; sh -c \"cat /proc/uptime\"; echo $up; readlink /proc/self/ns/time; readlink /proc/1/ns/time");
    let said = bundle.run().assert_ok().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with('1') && lines[1].starts_with('1'),
        "{said}"
    );
    assert_eq!(lines[2], lines[3]);
}

fn a_time_namespace_can_be_joined() {
    only_rt("the old runc does not support time namespaces, and crun only in part");
    let holder = Holder::new(&[
        "--time",
        "--boottime",
        "1000000",
        "--monotonic",
        "-50",
        "--fork",
    ]);
    let bundle = Bundle::new().namespace("time", Some(&holder.path("time")));
    let seen = check(&bundle, -50 * SECOND, 1_000_000 * SECOND);
    assert_eq!(seen.namespace("time"), holder.namespace("time"));
}

fn without_a_time_namespace_the_clocks_are_the_hosts() {
    let seen = check(&Bundle::new(), 0, 0);
    assert_eq!(seen.namespace("time"), namespace_of("self", "time"));
}

fn ahead() -> Value {
    json!({ "boottime": { "secs": 1, "nanosecs": 0 } })
}

fn offsets_without_a_time_namespace_are_refused() {
    only_rt("Debian's ignore them");
    refused(
        offsets(Bundle::new(), ahead()),
        &["linux.timeOffsets", "time namespace"],
    );
}

fn offsets_of_a_joined_time_namespace_are_refused() {
    only_rt("Debian's ignore them");
    let holder = Holder::new(&["--time", "--fork"]);
    let bundle = Bundle::new().namespace("time", Some(&holder.path("time")));
    refused(offsets(bundle, ahead()), &["linux.timeOffsets"]);
}

fn an_offset_of_the_realtime_clock_is_refused() {
    only_rt("Debian's ignore it");
    let offset = json!({ "realtime": { "secs": 1, "nanosecs": 0 } });
    refused(
        offsets(with_time(), offset),
        &["linux.timeOffsets: unknown value \"realtime\": one of \"monotonic\", \"boottime\""],
    );
}

fn nanoseconds_out_of_range_are_refused() {
    for nanoseconds in [1_000_000_000_u64, u64::from(u32::MAX), 1 << 32] {
        let offset = json!({ "monotonic": { "secs": 0, "nanosecs": nanoseconds } });
        let place = "linux.timeOffsets.monotonic.nanosecs";
        refused(offsets(with_time(), offset), &[place]);
    }
    let offset = json!({ "boottime": { "secs": 1, "nanosecs": -1 } });
    refused(
        offsets(with_time(), offset),
        &["linux.timeOffsets.boottime.nanosecs"],
    );
}

/// The kernel refuses an offset that makes a clock negative or overflow.
fn an_offset_that_the_kernel_refuses_is_refused() {
    for seconds in [-1_000_000_000_i64, i64::MAX, i64::MIN] {
        let offset = json!({ "monotonic": { "secs": seconds, "nanosecs": 0 } });
        refused(offsets(with_time(), offset), &["linux.timeOffsets"]);
    }
}

fn a_duplicate_time_namespace_is_refused() {
    let bundle = with_time().set("/linux/namespaces/-", json!({ "type": "time" }));
    refused(bundle, &["linux.namespaces", "time"]);
}
