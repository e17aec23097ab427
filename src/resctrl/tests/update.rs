//! New values, and the figures.

use serde_json::json;

use super::{DEFAULT, TestMount, error, written};
use crate::resctrl::Update;

fn update(l3_cache: Option<&str>, bandwidth: Option<&str>) -> Update {
    Update::from_flags(l3_cache, bandwidth).unwrap().unwrap()
}

#[test]
fn new_values_are_written_and_recorded() {
    let mount = TestMount::new();
    let config = json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"});
    let mut record = mount.created(config).record().clone();
    mount.file("web/schemata", DEFAULT);
    let both = update(Some("L3:0=7f0"), Some("MB:0=50;1=50"));
    record.update_in(mount.file_system(), &both).unwrap();
    assert!(mount.text("web/schemata").starts_with("MB:0=50;1=50\n"));
    assert_eq!(record.l3_cache_schema.as_deref(), Some("L3:0=7f0"));
    assert_eq!(record.mem_bw_schema.as_deref(), Some("MB:0=50;1=50"));
    let bandwidth = update(None, Some("MB:1=60"));
    record.update_in(mount.file_system(), &bandwidth).unwrap();
    assert_eq!(record.l3_cache_schema.as_deref(), Some("L3:0=7f0"));
    assert_eq!(record.mem_bw_schema.as_deref(), Some("MB:1=60"));
}

#[test]
fn the_values_of_before_are_written_back_for_the_resources_that_were_changed() {
    let mount = TestMount::new();
    let mut record = mount.created(json!({})).record().clone();
    mount.file("web/schemata", DEFAULT);
    let changed = update(None, Some("MB:0=50"));
    let previous = record.update_in(mount.file_system(), &changed).unwrap();
    let mut pipe = mount.record_writes("web/schemata");
    previous.restore();
    assert_eq!(written(&mut pipe), "MB:0=100;1=100\n");
}

#[test]
fn a_group_that_is_gone_is_an_error_that_records_nothing() {
    let mount = TestMount::new();
    let mut record = mount.created(json!({})).record().clone();
    std::fs::remove_dir_all(mount.0.join("web")).unwrap();
    let expected = "--l3-cache-schema: read /sys/fs/resctrl/web/schemata: not found (ENOENT)";
    let changed = record.update_in(mount.file_system(), &update(Some("L3:0=f"), None));
    assert_eq!(error(changed), expected);
    assert_eq!(record.l3_cache_schema, None);
    assert_eq!(record.stats_in(&mount.file_system()).unwrap(), "{}");
}

#[test]
fn the_figures_have_the_keys_and_types_of_runc() {
    let mount = TestMount::new();
    let config = json!({"enableMonitoring": true});
    let record = mount.created(config).record().clone();
    let schemata = "    MB:0=  20;1=  70\nL3CODE:0=f;1=f\nL3DATA:0=7f0;1=7f0\n";
    mount.file("web/schemata", schemata);
    for (file, text) in [
        ("info/L3/cbm_mask", "7ff\n"),
        ("info/L3/min_cbm_bits", "1\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
    ] {
        mount.file(file, text);
    }
    let allocation = concat!(
        r#""l3_cache_info":{"cbm_mask":"7ff","min_cbm_bits":1,"num_closids":16},"#,
        r#""l3_cache_schema_root":"L3:0=7ff;1=7ff","l3_cache_schema":"L3DATA:0=7f0;1=7f0","#,
        r#""mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"#,
        r#""mem_bw_schema_root":"MB:0= 100;1= 100","mem_bw_schema":"MB:0=  20;1=  70","#,
        r#""schemata":["MB:0=  20;1=  70","L3CODE:0=f;1=f","L3DATA:0=7f0;1=7f0"]"#,
    );
    let figures = || record.stats_in(&mount.file_system()).unwrap();
    assert_eq!(figures(), format!("{{{allocation}}}"));
    let features = "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n";
    mount.file("info/L3_MON/mon_features", features);
    for (cache, factor) in [("mon_L3_01", 10), ("mon_L3_00", 1)] {
        let file = |name| format!("web/mon_groups/web/mon_data/{cache}/{name}");
        mount.file(&file("llc_occupancy"), &format!("{factor}\n"));
        mount.file(&file("mbm_total_bytes"), &format!("{}\n", 3 * factor));
        mount.file(&file("mbm_local_bytes"), "Unavailable\n");
    }
    let counters = concat!(
        r#""mbm_stats":[{"mbm_total_bytes":3,"mbm_local_bytes":0},{"mbm_total_bytes":30,"mbm_local_bytes":0}],"#,
        r#""cmt_stats":[{"llc_occupancy":1},{"llc_occupancy":10}]"#,
    );
    assert_eq!(figures(), format!("{{{allocation},{counters}}}"));
}

#[test]
fn a_host_that_only_divides_the_bandwidth_has_no_figures_of_the_cache() {
    let mount = TestMount::new();
    let record = mount.created(json!({})).record().clone();
    let figures = record.stats_in(&mount.file_system()).unwrap();
    let keys: serde_json::Map<_, _> = serde_json::from_str(&figures).unwrap();
    let mut keys: Vec<&String> = keys.keys().collect();
    keys.sort();
    let expected = [
        "mem_bw_info",
        "mem_bw_schema",
        "mem_bw_schema_root",
        "schemata",
    ];
    assert_eq!(keys, expected);
}
