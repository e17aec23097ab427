//! The verdict on an access, found in three ways: by the definition, by the v2 program, and by a
//! model of the v1 kernel's check.

use super::*;
use crate::cgroups::plan::device_program::{assemble, interpret};
use crate::cgroups::tests::resources;
use crate::sys::{BpfInstruction, bpf_load_device_program};

fn policy(rules: &str) -> Policy {
    Policy::plan(Some(&resources(&format!(r#"{{"devices": {rules}}}"#)))).unwrap()
}

fn lines(policy: &Policy) -> Vec<String> {
    let lines = policy.v1_settings().unwrap();
    lines
        .iter()
        .map(|line| format!("{} {}", line.file, line.value))
        .collect()
}

fn refusal(rules: &str) -> String {
    let resources = resources(&format!(r#"{{"devices": {rules}}}"#));
    format!("{:#}", Policy::plan(Some(&resources)).unwrap_err())
}

const ALWAYS_ALLOWED_LINES: [&str; 12] = [
    "devices.deny a",
    "devices.allow c *:* m",
    "devices.allow b *:* m",
    "devices.allow c 1:3 rwm",
    "devices.allow c 1:5 rwm",
    "devices.allow c 1:7 rwm",
    "devices.allow c 1:8 rwm",
    "devices.allow c 1:9 rwm",
    "devices.allow c 5:0 rwm",
    "devices.allow c 5:2 rwm",
    "devices.allow c 136:* rwm",
    "devices.allow c 10:200 rwm",
];

#[test]
fn some_devices_are_allowed_without_any_rule() {
    assert_eq!(lines(&Policy::plan(None).unwrap()), ALWAYS_ALLOWED_LINES);
    assert_eq!(lines(&policy("[]")), ALWAYS_ALLOWED_LINES);
    assert_eq!(
        lines(&policy(r#"[{"allow": false, "access": "rwm"}]"#)),
        ALWAYS_ALLOWED_LINES
    );
}

#[test]
fn everything_allowed_needs_no_program() {
    let all = policy(
        r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "a", "access": "rwm"}]"#,
    );
    assert_eq!(lines(&all), ["devices.allow a"]);
    assert!(all.allows_all());
}

#[test]
fn a_rule_for_some_devices_or_access_does_not_change_the_default() {
    let read = policy(r#"[{"allow": true, "type": "a", "access": "r"}]"#);
    assert!(lines(&read).contains(&"devices.allow b *:* rm".to_owned()));
    let eight = policy(r#"[{"allow": true, "type": "a", "major": 8, "access": "rwm"}]"#);
    assert!(lines(&eight).contains(&"devices.allow b 8:* rwm".to_owned()));
    assert_eq!(eight.default, Verdict::Deny);
}

#[test]
fn with_everything_allowed_exceptions_are_denials() {
    let most = policy(
        r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "rw"}]"#,
    );
    assert_eq!(lines(&most), ["devices.allow a", "devices.deny b 8:* rw"]);
}

#[test]
fn v1_refuses_an_exception_from_an_exception() {
    let policy = policy(
        r#"[{"allow": true, "type": "c", "access": "rwm"},
            {"allow": false, "type": "c", "major": 4, "minor": 1, "access": "w"}]"#,
    );
    assert_eq!(
        policy.v1_settings().unwrap_err().to_string(),
        "linux.resources.devices: the rule for Char 4:1 makes an exception from an exception, which cgroup v1 cannot express"
    );
}

#[test]
fn invalid_rules_are_refused_with_their_field() {
    for (rules, message) in [
        (
            r#"[{"allow": false}]"#,
            "linux.resources.devices[0].access: none of r, w, m is given; want some of them: \"rwm\"",
        ),
        (
            r#"[{"access": "rwm"}, {"access": ""}]"#,
            "linux.resources.devices[1].access: none of r, w, m is given; want some of them: \"rwm\"",
        ),
        (
            r#"[{"access": "rx"}]"#,
            "linux.resources.devices[0].access: \"rx\" is not made of r, w, m",
        ),
        (
            r#"[{"type": "p", "access": "r"}]"#,
            "linux.resources.devices[0].type: \"p\" is not a, b or c",
        ),
        (
            r#"[{"type": "c", "major": -2, "access": "r"}]"#,
            "linux.resources.devices[0].major: -2 is neither between 0 and 4294967294 nor -1 (any)",
        ),
        (
            r#"[{"type": "c", "minor": 4294967295, "access": "r"}]"#,
            "linux.resources.devices[0].minor: 4294967295 is neither between 0 and 4294967294 nor -1 (any)",
        ),
    ] {
        assert_eq!(refusal(rules), message);
    }
}

/// A random number generator with the same sequence at every run (splitmix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A device number out of few, so that rules and accesses have some in common. Two have the
    /// highest bit set.
    fn number(&mut self) -> u32 {
        [1, 3, 5, 136, 0x8000_0001, 0xffff_fffe][self.below(6) as usize]
    }

    fn rule(&mut self) -> ConfiguredRule {
        let mut number_or_any = || (self.below(3) > 0).then(|| self.number());
        let (major, minor) = (number_or_any(), number_or_any());
        ConfiguredRule {
            allow: self.below(2) == 0,
            kind: [
                None,
                Some(DeviceKind::Block),
                Some(DeviceKind::Char),
                Some(DeviceKind::Char),
            ][self.below(4) as usize],
            major,
            minor,
            access: if self.below(3) == 0 {
                7
            } else {
                1 + self.below(7) as u8
            },
        }
    }
}

/// A rule of the configuration. The kind `None` is type `a`.
#[derive(Debug)]
struct ConfiguredRule {
    allow: bool,
    kind: Option<DeviceKind>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

impl ConfiguredRule {
    fn matches(&self, kind: DeviceKind, major: u32, minor: u32) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && self.major.is_none_or(|own| own == major)
            && self.minor.is_none_or(|own| own == minor)
    }

    fn json(&self) -> String {
        let typ = match self.kind {
            None => "a",
            Some(DeviceKind::Block) => "b",
            Some(DeviceKind::Char) => "c",
        };
        let number = |number: Option<u32>| number.map_or(-1, i64::from);
        let (major, minor) = (number(self.major), number(self.minor));
        let (allow, access) = (self.allow, Access(self.access).letters());
        format!(
            r#"{{"allow": {allow}, "type": "{typ}", "major": {major}, "minor": {minor}, "access": "{access}"}}"#
        )
    }
}

/// The definition: each kind of access is decided by the last rule about it.
fn is_allowed_by_definition(
    rules: &[ConfiguredRule],
    (kind, major, minor): (DeviceKind, u32, u32),
    access: u8,
) -> bool {
    let always = ALWAYS_ALLOWED
        .iter()
        .map(|(devices, access)| ConfiguredRule {
            allow: true,
            kind: Some(devices.kind),
            major: devices.major,
            minor: devices.minor,
            access: access.0,
        });
    let always: Vec<ConfiguredRule> = always.collect();
    [1, 2, 4]
        .iter()
        .filter(|bit| access & **bit != 0)
        .all(|bit| {
            let last = rules
                .iter()
                .chain(&always)
                .rfind(|rule| rule.access & bit != 0 && rule.matches(kind, major, minor));
            last.is_some_and(|rule| rule.allow)
        })
}

/// The verdict of v1 (`devcgroup_legacy_check_permission` in security/device_cgroup.c). When the
/// default denies, one exception must have all the requested access. When it allows, no
/// exception may have any of it.
fn is_allowed_by_v1(
    default: Verdict,
    exceptions: &[(DeviceSet, Access)],
    (kind, major, minor): (DeviceKind, u32, u32),
    access: u8,
) -> bool {
    let requested = DeviceSet::new(kind, Some(major), Some(minor));
    let mut exceptions = exceptions.iter();
    match default {
        Verdict::Deny => exceptions.any(|(set, excepted)| {
            set.intersection(requested) == Some(requested) && access & !excepted.0 == 0
        }),
        Verdict::Allow => !exceptions.any(|(set, excepted)| {
            set.intersection(requested) == Some(requested) && access & excepted.0 != 0
        }),
    }
}

#[test]
fn program_and_lines_follow_the_definition() {
    let mut rng = Rng(1);
    let (mut expressible, mut all) = (0, 0);
    for _ in 0..2_500 {
        let rules: Vec<ConfiguredRule> = (0..rng.below(9)).map(|_| rng.rule()).collect();
        let json: Vec<String> = rules.iter().map(ConfiguredRule::json).collect();
        let policy = policy(&format!("[{}]", json.join(",")));
        let program = assemble(&policy);
        // v1 cannot express every policy.
        let exceptions = policy.exceptions().ok();
        for _ in 0..20 {
            let kind = [DeviceKind::Block, DeviceKind::Char][rng.below(2) as usize];
            let (major, minor, access) = (rng.number(), rng.number(), 1 + rng.below(7) as u8);
            let expected = is_allowed_by_definition(&rules, (kind, major, minor), access);
            let number = if kind == DeviceKind::Block { 1 } else { 2 };
            let context = [u32::from(access) << 16 | number, major, minor];
            let verdict = interpret(&program, context);
            assert_eq!(verdict, expected, "{context:?} {json:?} {policy:?}");
            let v1_verdict = exceptions
                .as_ref()
                .map(|list| is_allowed_by_v1(policy.default, list, (kind, major, minor), access));
            assert!(
                v1_verdict.is_none_or(|verdict| verdict == expected),
                "{context:?} {json:?} {policy:?}"
            );
            expressible += usize::from(v1_verdict.is_some());
            all += 1;
        }
    }
    assert!(expressible * 10 > all, "{expressible} of {all}");
}

/// 2,500 rules for a major number and any minor, and 2,500 for a minor number and any major.
fn wildcards(access: [&str; 2]) -> String {
    let rule = |field: &str, number: usize, access: &str| {
        format!(r#"{{"allow": true, "type": "c", "{field}": {number}, "access": "{access}"}}"#)
    };
    let majors = (0..2500).map(|number| rule("major", number, access[0]));
    let minors = (0..2500).map(|number| rule("minor", number, access[1]));
    let all: Vec<String> = majors.chain(minors).collect();
    format!("[{}]", all.join(","))
}

#[test]
fn thousands_of_rules_are_planned_quickly() {
    let start = std::time::Instant::now();
    let same_access = policy(&wildcards(["rw", "rw"]));
    assert!(same_access.v1_settings().unwrap().len() > 5000);
    assert_eq!(
        policy(&wildcards(["r", "w"]))
            .v1_settings()
            .unwrap_err()
            .to_string(),
        "linux.resources.devices: the rules for major numbers and the rules for minor numbers intersect in more than 4096 devices, each of which needs a rule of its own in cgroup v1"
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn the_kernel_accepts_every_program() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut rng = Rng(2);
    for rules in 0..60 {
        let rules: Vec<String> = (0..rules).map(|_| rng.rule().json()).collect();
        let policy = policy(&format!("[{}]", rules.join(",")));
        bpf_load_device_program(&assemble(&policy)).unwrap();
    }
    // The kernel does check: it refuses a program that reads beyond the context.
    let out_of_bounds = BpfInstruction::new(0x61, (0, 1), 64, 0);
    bpf_load_device_program(&[out_of_bounds, BpfInstruction::new(0x95, (0, 0), 0, 0)]).unwrap_err();
}
