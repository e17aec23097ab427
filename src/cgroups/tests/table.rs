//! The table of docs/limits.md: which file and value a limit becomes in each version, and which property of systemd.
//! `RT_BLESS=1 cargo test --lib cgroups::` rewrites it.

use std::path::Path;

use super::resources;
use crate::cgroups::plan::limits::Limits;
use crate::cgroups::plan::setting::{OnRefusal, Setting};
use crate::cgroups::systemd::properties::tests::texts;
use crate::cgroups::{v1, v2};

/// Members of `linux.resources`.
const EXAMPLES: [&str; 31] = [
    r#""memory": {"limit": 67108864}"#,
    r#""memory": {"limit": -1}"#,
    r#""memory": {"limit": 67108864, "swap": 134217728}"#,
    r#""memory": {"swap": -1}"#,
    r#""memory": {"reservation": 33554432}"#,
    r#""memory": {"swappiness": 10}"#,
    r#""memory": {"disableOOMKiller": true}"#,
    r#""memory": {"useHierarchy": true}"#,
    r#""memory": {"kernel": 67108864, "kernelTCP": 67108864}"#,
    r#""cpu": {"shares": 512}"#,
    r#""cpu": {"quota": 50000, "period": 100000}"#,
    r#""cpu": {"quota": 50000}"#,
    r#""cpu": {"quota": -1}"#,
    r#""cpu": {"period": 50000}"#,
    r#""cpu": {"burst": 20000}"#,
    r#""cpu": {"idle": 1}"#,
    r#""cpu": {"realtimeRuntime": 9500, "realtimePeriod": 10000}"#,
    r#""cpu": {"cpus": "0-3", "mems": "0"}"#,
    r#""pids": {"limit": 100}"#,
    r#""pids": {"limit": -1}"#,
    r#""pids": {"limit": 0}"#,
    r#""blockIO": {"weight": 500}"#,
    r#""blockIO": {"leafWeight": 500}"#,
    r#""blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 300}]}"#,
    r#""blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}]}"#,
    r#""blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]}"#,
    r#""hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]"#,
    r#""network": {"classID": 1048577}"#,
    r#""network": {"priorities": [{"name": "eth0", "priority": 500}]}"#,
    r#""rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}"#,
    r#""unified": {"memory.high": "33554432", "io.max": "8:0 rbps=1000\n8:16 rbps=1000"}"#,
];

const HEADING: &str = "| in `linux.resources` | cgroup v1 | systemd on v1 | cgroup v2 | systemd on v2 |\n|---|---|---|---|---|\n";

/// A version that has all properties.
const SYSTEMD: u32 = 257;

#[allow(
    clippy::disallowed_methods,
    reason = "a test is told by the environment to rewrite the page"
)]
#[test]
fn the_table_in_the_documentation_is_true() {
    let rows = EXAMPLES.map(|example| {
        let limits = Limits::plan(Some(&resources(&format!("{{{example}}}")))).unwrap();
        let versions = [v1::settings::settings, v2::settings::settings];
        let cells = versions.map(|settings| match settings(&limits) {
            Ok(settings) => format!("{} | {}", files(&settings), properties(&settings)),
            Err(_) => "refused | refused".to_owned(),
        });
        format!("| `{example}` | {} |\n", cells.join(" | "))
    });
    let table = format!("{HEADING}{}", rows.concat());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(HEADING).expect("the table's heading");
    let (_, after) = rest.split_once("\n\n").expect("text after the table");
    let blessed = format!("{before}{table}\n{after}");
    if std::env::var_os("RT_BLESS").is_some() {
        std::fs::write(&path, blessed).unwrap();
    } else {
        assert!(page == blessed, "want in {}:\n{table}", path.display());
    }
}

/// The files and values, in the order in which they are written.
fn files(settings: &[Setting]) -> String {
    let mut text = String::new();
    for (index, setting) in settings.iter().enumerate() {
        let before = index
            .checked_sub(1)
            .map(|before| settings[before].on_refusal);
        text.push_str(match before {
            None => "",
            Some(OnRefusal::NextIfMissing) => ", or without that file ",
            Some(_) => "<br>",
        });
        text.push_str(&format!("`{}` = `{}`", setting.file, setting.value));
        if setting.on_refusal == OnRefusal::IgnoreMissingFile {
            text.push_str(" if there is such a file");
        }
    }
    or_nothing(text)
}

/// What systemd is told besides.
fn properties(settings: &[Setting]) -> String {
    let all = texts(settings, SYSTEMD).into_iter();
    let all: Vec<String> = all.map(|text| format!("`{text}`")).collect();
    or_nothing(all.join("<br>"))
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}
