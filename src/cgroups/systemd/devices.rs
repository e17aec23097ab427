//! Device rules as properties of a unit. systemd has a list of what is allowed, and no more.

use super::bus::value::{Property, Value, property};
use crate::cgroups::plan::devices::{Policy, Rule, Verdict};

/// `DevicePolicy` and `DeviceAllow`. systemd cannot express every policy. It then gets one that
/// allows everything in v2, where `rt` attaches a program of its own in any case, and what it can
/// express in v1, where `rt` writes the whole list after it.
pub(super) fn properties(policy: &Policy, is_v2: bool) -> [Property; 2] {
    let paths: Vec<Option<(String, String)>> = policy.rules.iter().map(entry).collect();
    let is_complete = policy.default == Verdict::Deny && paths.iter().all(Option::is_some);
    let is_auto = policy.allows_all() || (is_v2 && !is_complete);
    let (name, listed) = match (is_auto, policy.default) {
        (true, _) => ("auto", Vec::new()),
        (false, Verdict::Allow) => ("strict", Vec::new()),
        (false, Verdict::Deny) => ("strict", paths.into_iter().flatten().collect()),
    };
    [
        property("DevicePolicy", Value::text(name)),
        property("DeviceAllow", Value::Pairs(listed)),
    ]
}

/// The devices and the access of a rule, as systemd names them (systemd.resource-control(5)). It
/// takes numbers from version 240 on, whether the device exists or not.
fn entry(rule: &Rule) -> Option<(String, String)> {
    if rule.verdict != Verdict::Allow {
        return None;
    }
    let line = rule.devices.line(rule.access);
    let (kind, line) = line.split_once(' ')?;
    let (numbers, access) = line.split_once(' ')?;
    let kind = match kind {
        "b" => "block",
        _ => "char",
    };
    let path = match numbers.split_once(':')? {
        ("*", "*") => format!("{kind}-*"),
        // A minor number of any driver.
        ("*", _) => return None,
        (major, "*") => format!("{kind}-{major}"),
        _ => format!("/dev/{kind}/{numbers}"),
    };
    Some((path, access.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::resources;

    fn plan(devices: &str, is_v2: bool) -> (String, Vec<String>) {
        let resources = resources(&format!(r#"{{"devices": {devices}}}"#));
        let policy = Policy::plan(Some(&resources)).unwrap();
        match properties(&policy, is_v2) {
            [(_, Value::Text(name)), (_, Value::Pairs(listed))] => {
                let listed = listed
                    .iter()
                    .map(|(path, access)| format!("{path} {access}"));
                (name, listed.collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_become_paths_and_groups() {
        let (name, listed) = plan(
            r#"[{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": true, "type": "b", "major": 8, "access": "r"}]"#,
            true,
        );
        assert_eq!(name, "strict");
        assert_eq!(listed[..2], ["/dev/char/10:229 rw", "block-8 r"]);
        for line in ["char-* m", "block-* m", "/dev/char/1:3 rwm", "char-136 rwm"] {
            assert!(listed.iter().any(|it| it == line), "{line}: {listed:?}");
        }
    }

    #[test]
    fn a_policy_without_a_form_in_systemd_is_not_made_weaker_on_v1() {
        let auto = ("auto".to_owned(), vec![]);
        let all = r#"[{"allow": true, "access": "rwm"}]"#;
        assert_eq!(plan(all, true), auto);
        assert_eq!(plan(all, false), auto);
        let all_but_one = r#"[{"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "rwm"}]"#;
        assert_eq!(plan(all_but_one, true), auto);
        assert_eq!(plan(all_but_one, false), ("strict".to_owned(), vec![]));
        let any_major = r#"[{"allow": true, "type": "c", "minor": 9, "access": "r"}]"#;
        assert_eq!(plan(any_major, true), auto);
        assert_eq!(plan(any_major, false).0, "strict");
    }
}
