//! What is refused before the host is looked at.

use oci_spec::runtime::LinuxIntelRdt;
use serde_json::json;

use super::{error, plan};
use crate::decisions::Decisions;
use crate::resctrl::{Group, Update};

#[test]
fn a_name_that_no_group_can_have_is_refused() {
    let long = "a".repeat(256);
    let invalid = [
        ".",
        "..",
        "a/b",
        "/a",
        "a\nb",
        "a\0",
        "info",
        "mon_groups",
        "mon_data",
        "",
        &long,
    ];
    for name in invalid {
        let expected = format!("linux.intelRdt.closID: {name:?} cannot be the name of a group");
        assert_eq!(error(plan(json!({"closID": name}))), expected);
    }
    for name in ["/", "a", "...", "infos", &long[1..]] {
        plan(json!({"closID": name})).unwrap();
    }
}

#[test]
fn a_containers_id_that_is_reserved_needs_a_clos_id() {
    let plan = |config| {
        let config: LinuxIntelRdt = serde_json::from_value(config).unwrap();
        Group::plan("info", &config)
    };
    assert_eq!(
        error(plan(json!({}))),
        "linux.intelRdt: the container's id \"info\" cannot be the name of a group; set closID"
    );
    plan(json!({"closID": "a", "enableMonitoring": true})).unwrap();
}

#[test]
fn a_schema_of_another_form_is_refused_at_its_place() {
    for (field, value, reason) in [
        (
            "memBwSchema",
            json!("L3:0=f"),
            r#": "L3:0=f" does not start with "MB:""#,
        ),
        (
            "memBwSchema",
            json!("MB:0=1\nMB:1=1"),
            r#": "MB:0=1\nMB:1=1" has a newline"#,
        ),
        (
            "schemata",
            json!(["L3:0=f", "L2:0=f\n"]),
            r#"[1]: "L2:0=f\n" has a newline"#,
        ),
    ] {
        let refused = error(plan(json!({ field: value })));
        assert_eq!(refused, format!("linux.intelRdt.{field}{reason}"));
    }
    for text in [
        "",
        "MB",
        ":0=1",
        "L3:",
        "L3:a=1",
        "L3:0=",
        "L3:0",
        "L3:0=1;;1=1",
        "L3:0=1\0",
    ] {
        let reason = "is not of the form \"L3:0=7f0;1=1f\"";
        let expected = format!("linux.intelRdt.schemata[0]: {text:?} {reason}");
        assert_eq!(error(plan(json!({"schemata": [text]}))), expected);
        let expected = format!("linux.intelRdt.l3CacheSchema: {text:?} {reason}");
        assert_eq!(error(plan(json!({"l3CacheSchema": text}))), expected);
    }
    // With code and data prioritization the cache has two lines.
    plan(json!({"l3CacheSchema": "L3DATA:0=f\nL3CODE:0=f0;\n"})).unwrap();
}

#[test]
fn the_flags_of_update_follow_the_same_rules() {
    assert_eq!(
        error(Update::from_flags(Some("L3"), None)),
        "--l3-cache-schema: \"L3\" is not of the form \"L3:0=7f0;1=1f\""
    );
    assert_eq!(
        error(Update::from_flags(None, Some("L3:0=f"))),
        "--mem-bw-schema: \"L3:0=f\" does not start with \"MB:\""
    );
    assert!(Update::from_flags(Some(""), None).unwrap().is_none());
    let second = Update::from_flags(Some(""), Some("MB:0=1")).unwrap();
    assert_eq!(second.unwrap().flag(), "--mem-bw-schema");
}

#[test]
fn the_decisions_say_which_groups_are_made_and_removed() {
    let text = |config| {
        let mut to = Decisions::default();
        plan(config).unwrap().decisions(&mut to);
        to.into_text()
    };
    let own =
        json!({"memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f", "enableMonitoring": true});
    assert_eq!(
        text(own),
        "make the control group web, and remove it with the container\n\
         schemata = L3:0=f\n\
         schemata = MB:0=20\n\
         make the monitoring group web, and remove it with the container\n\
         init is moved here\n"
    );
    assert_eq!(
        text(json!({"closID": "a", "schemata": ["L3:0=f"]})),
        "control group a, which is made if it is missing, and kept\n\
         schemata = L3:0=f; refused if the group exists and differs\n\
         init is moved here\n"
    );
    assert_eq!(
        text(json!({"closID": "a b"})),
        "control group \"a b\", which has to exist\ninit is moved here\n"
    );
    assert_eq!(
        text(json!({"closID": "/"})),
        "the default control group\ninit is moved here\n"
    );
}
