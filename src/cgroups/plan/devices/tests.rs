//! The list's verdicts, three times: by its definition, by the program, by a model of v1's kernel.

use super::*;
use crate::cgroups::plan::device_program::{assemble, interpret};
use crate::cgroups::tests::resources;
use crate::sys::{BpfInstruction, bpf_load_device_program};

fn policy(rules: &str) -> Policy {
    Policy::plan(Some(&resources(&format!(r#"{{"devices": {rules}}}"#)))).unwrap()
}

fn lines(policy: &Policy) -> Vec<String> {
    let lines = policy.lines().unwrap();
    lines
        .iter()
        .map(|line| format!("{} {}", line.file, line.value))
        .collect()
}

fn refusal(rules: &str) -> String {
    let resources = resources(&format!(r#"{{"devices": {rules}}}"#));
    format!("{:#}", Policy::plan(Some(&resources)).unwrap_err())
}

const USUAL: [&str; 12] = [
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
fn the_usual_devices_are_allowed_without_any_rule() {
    assert_eq!(lines(&Policy::plan(None).unwrap()), USUAL);
    assert_eq!(lines(&policy("[]")), USUAL);
    assert_eq!(
        lines(&policy(r#"[{"allow": false, "access": "rwm"}]"#)),
        USUAL
    );
}

#[test]
fn everything_allowed_needs_no_program() {
    let all = policy(
        r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "a", "access": "rwm"}]"#,
    );
    assert_eq!(lines(&all), ["devices.allow a"]);
    assert_eq!(assemble(&all), None);
}

#[test]
fn part_of_everything_is_not_everything() {
    let read = policy(r#"[{"allow": true, "type": "a", "access": "r"}]"#);
    assert!(lines(&read).contains(&"devices.allow b *:* rm".to_owned()));
    let eight = policy(r#"[{"allow": true, "type": "a", "major": 8, "access": "rwm"}]"#);
    assert!(lines(&eight).contains(&"devices.allow b 8:* rwm".to_owned()));
    assert_eq!(eight.default, Verdict::Deny);
}

#[test]
fn exceptions_from_everything_are_denials() {
    let most = policy(
        r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "rw"}]"#,
    );
    assert_eq!(lines(&most), ["devices.allow a", "devices.deny b 8:* rw"]);
}

#[test]
fn v1_says_what_it_cannot() {
    let policy = policy(
        r#"[{"allow": true, "type": "c", "access": "rwm"},
            {"allow": false, "type": "c", "major": 4, "minor": 1, "access": "w"}]"#,
    );
    assert_eq!(
        policy.lines().unwrap_err().to_string(),
        "linux.resources.devices: the rule for Char 4:1 makes an exception from an exception, which cgroup v1 cannot"
    );
}

#[test]
fn bad_rules_are_refused_by_place() {
    for (rules, message) in [
        (
            r#"[{"allow": false}]"#,
            "linux.resources.devices[0].access: none of r, w, m is given",
        ),
        (
            r#"[{"access": "rwm"}, {"access": ""}]"#,
            "linux.resources.devices[1].access: none of r, w, m is given",
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
            "linux.resources.devices[0].major: -2 is neither a device number nor -1 (any)",
        ),
        (
            r#"[{"type": "c", "minor": 4294967295, "access": "r"}]"#,
            "linux.resources.devices[0].minor: 4294967295 is neither a device number nor -1 (any)",
        ),
    ] {
        assert_eq!(refusal(rules), message);
    }
}

/// Numbers for lists and queries, the same at every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Few numbers, so that rules and queries meet; one with the highest bit.
    fn number(&mut self) -> u32 {
        [1, 3, 5, 136, 0x8000_0001, 0xffff_fffe][self.roll(6) as usize]
    }

    fn written(&mut self) -> Written {
        let mut wild = || (self.roll(3) > 0).then(|| self.number());
        let (major, minor) = (wild(), wild());
        Written {
            allow: self.roll(2) == 0,
            kind: [None, Some(Kind::Block), Some(Kind::Char), Some(Kind::Char)]
                [self.roll(4) as usize],
            major,
            minor,
            access: if self.roll(3) == 0 {
                7
            } else {
                1 + self.roll(7) as u8
            },
        }
    }
}

/// A rule as the configuration writes it; kind `None` is type `a`.
#[derive(Debug)]
struct Written {
    allow: bool,
    kind: Option<Kind>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

impl Written {
    fn matches(&self, kind: Kind, major: u32, minor: u32) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && self.major.is_none_or(|own| own == major)
            && self.minor.is_none_or(|own| own == minor)
    }

    fn json(&self) -> String {
        let typ = match self.kind {
            None => "a",
            Some(Kind::Block) => "b",
            Some(Kind::Char) => "c",
        };
        let number = |number: Option<u32>| number.map_or(-1, i64::from);
        let (major, minor) = (number(self.major), number(self.minor));
        let (allow, access) = (self.allow, Access(self.access).letters());
        format!(
            r#"{{"allow": {allow}, "type": "{typ}", "major": {major}, "minor": {minor}, "access": "{access}"}}"#
        )
    }
}

/// The definition: for each kind of access, the last rule that concerns it.
fn defined(rules: &[Written], (kind, major, minor): (Kind, u32, u32), access: u8) -> bool {
    let always = ALWAYS.iter().map(|(devices, access)| Written {
        allow: true,
        kind: Some(devices.kind),
        major: devices.major,
        minor: devices.minor,
        access: access.0,
    });
    let always: Vec<Written> = always.collect();
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

/// Version 1's verdict (`devcgroup_legacy_check_permission` in
/// security/device_cgroup.c): one exception must hold all that is asked, or
/// none may hold any.
fn legacy(
    default: Verdict,
    exceptions: &[(Devices, Access)],
    (kind, major, minor): (Kind, u32, u32),
    access: u8,
) -> bool {
    let asked = Devices::new(kind, Some(major), Some(minor));
    let mut exceptions = exceptions.iter();
    match default {
        Verdict::Deny => exceptions
            .any(|(set, held)| set.intersect(asked) == Some(asked) && access & !held.0 == 0),
        Verdict::Allow => !exceptions
            .any(|(set, held)| set.intersect(asked) == Some(asked) && access & held.0 != 0),
    }
}

#[test]
fn program_and_lines_say_what_the_rules_mean() {
    let mut dice = Dice(1);
    let (mut expressible, mut all) = (0, 0);
    for _ in 0..10_000 {
        let rules: Vec<Written> = (0..dice.roll(9)).map(|_| dice.written()).collect();
        let json: Vec<String> = rules.iter().map(Written::json).collect();
        let policy = policy(&format!("[{}]", json.join(",")));
        let program = assemble(&policy);
        // Version 1 has no words for some.
        let exceptions = policy.exceptions().ok();
        for _ in 0..20 {
            let kind = [Kind::Block, Kind::Char][dice.roll(2) as usize];
            let (major, minor, access) = (dice.number(), dice.number(), 1 + dice.roll(7) as u8);
            let expected = defined(&rules, (kind, major, minor), access);
            let number = if kind == Kind::Block { 1 } else { 2 };
            let context = [u32::from(access) << 16 | number, major, minor];
            let verdict = program
                .as_ref()
                .is_none_or(|program| interpret(program, context));
            assert_eq!(verdict, expected, "{context:?} {json:?} {policy:?}");
            let old = exceptions
                .as_ref()
                .map(|list| legacy(policy.default, list, (kind, major, minor), access));
            assert!(
                old.is_none_or(|old| old == expected),
                "{context:?} {json:?} {policy:?}"
            );
            expressible += usize::from(old.is_some());
            all += 1;
        }
    }
    assert!(expressible * 10 > all, "{expressible} of {all}");
}

/// 2,500 for a major and 2,500 for a minor number.
fn wildcards(access: [&str; 2]) -> String {
    let rule = |place: &str, number: usize, access: &str| {
        format!(r#"{{"allow": true, "type": "c", "{place}": {number}, "access": "{access}"}}"#)
    };
    let majors = (0..2500).map(|number| rule("major", number, access[0]));
    let minors = (0..2500).map(|number| rule("minor", number, access[1]));
    let all: Vec<String> = majors.chain(minors).collect();
    format!("[{}]", all.join(","))
}

#[test]
fn many_wildcards_take_no_time() {
    let begin = std::time::Instant::now();
    let alike = policy(&wildcards(["rw", "rw"]));
    assert!(alike.lines().unwrap().len() > 5000);
    assert_eq!(
        policy(&wildcards(["r", "w"]))
            .lines()
            .unwrap_err()
            .to_string(),
        "linux.resources.devices: its rules for major numbers and those for minor numbers meet in more than 4096 devices, each of which cgroup v1 needs a rule for"
    );
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn the_kernel_takes_every_program() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut dice = Dice(2);
    for rules in 0..60 {
        let rules: Vec<String> = (0..rules).map(|_| dice.written().json()).collect();
        let policy = policy(&format!("[{}]", rules.join(",")));
        if let Some(program) = assemble(&policy) {
            bpf_load_device_program(&program).unwrap();
        }
    }
    // The check is alive: what reads beyond the context is refused.
    let wild = BpfInstruction::new(0x61, (0, 1), 64, 0);
    bpf_load_device_program(&[wild, BpfInstruction::new(0x95, (0, 0), 0, 0)]).unwrap_err();
}
