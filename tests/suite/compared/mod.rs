//! `linux.resources` applied by rt and by runc: all files of the cgroups are the same, and with systemd all
//! properties of the unit, except where `differences.rs` says why not.

mod configurations;
mod differences;
mod seen;

use std::collections::BTreeSet;

use crate::runner::Test;
use serde_json::Value;

use crate::harness::{Bundle, Kind, Runtime, is_the_matrix, needs, on_v2, only_rt, skip, trials};

use configurations::Configuration;
use differences::{DIFFERENCES, Difference};
use seen::Seen;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        cgroupfs_has_the_values_of_runc,
        systemd_has_the_values_of_runc,
    ]
}

/// How a container gets its cgroup on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    V1,
    V2,
    /// cgroup v2, by systemd.
    Systemd,
}

fn cgroupfs_has_the_values_of_runc() {
    compare(if on_v2() { Layout::V2 } else { Layout::V1 });
}

fn systemd_has_the_values_of_runc() {
    if !std::path::Path::new("/run/systemd/system").exists() {
        skip("this host does not run systemd");
    }
    compare(Layout::Systemd);
}

/// Outside the whole matrix, one in five configurations.
fn compare(layout: Layout) {
    only_rt("the test runs runc itself");
    needs("runc", "runc");
    let version = Runtime::of(Kind::Runc).call(&["--version"]).run().stdout;
    if !version.starts_with("runc version 1.1.") {
        skip("the known differences are those of runc 1.1");
    }
    let all = configurations::all();
    let step = if is_the_matrix() || layout != Layout::V1 {
        1
    } else {
        5
    };
    let mut unexpected = Vec::new();
    let mut used = BTreeSet::new();
    for configuration in all.iter().step_by(step) {
        let [ours, theirs] = [Kind::Rt, Kind::Runc].map(|kind| apply(kind, layout, configuration));
        for (name, ours, theirs) in ours.differences(&theirs) {
            let known = |it: &Difference| it.covers(layout, configuration, &name, &ours);
            match DIFFERENCES.iter().position(known) {
                Some(index) => drop(used.insert(index)),
                None => unexpected.push(format!(
                    "{}: {name}: rt {ours}, runc {theirs}",
                    configuration.text
                )),
            }
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    let stale = DIFFERENCES.iter().enumerate();
    let stale = stale.filter(|(index, it)| it.layouts.contains(&layout) && !used.contains(index));
    let stale: Vec<_> = stale.map(|(_, it)| it.reason).collect();
    assert!(
        step > 1 || stale.is_empty(),
        "no difference any more: {stale:?}"
    );
}

/// Makes a container, and reads what its cgroups have.
fn apply(kind: Kind, layout: Layout, configuration: &Configuration) -> Seen {
    let id = format!("compared-{}", std::process::id());
    let mut runtime = Runtime::of(kind);
    let mut path = format!("/{id}");
    if layout == Layout::Systemd {
        runtime = runtime.global("--systemd-cgroup");
        path = format!("system.slice:rt:{id}");
    }
    let bundle = Bundle::with_runtime(&runtime)
        .with_id(&id)
        .args(&["/probe", "sleep"])
        .set("/linux/cgroupsPath", Value::from(path))
        .set("/linux/resources", configuration.resources());
    let outcome = bundle.call("create", &[]).run();
    if outcome.code() != 0 {
        return Seen::refused();
    }
    let container = bundle.container();
    let seen = Seen::of(
        container.pid(),
        (layout == Layout::Systemd).then(|| format!("rt-{id}.scope")),
    );
    container.delete_force().assert_ok();
    seen
}
