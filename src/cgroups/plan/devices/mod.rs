//! Device rules: which devices a container may read, write and make nodes of.
//!
//! The list starts from "nothing" and is applied in its order: of the rules
//! that concern a device and a kind of access, the last decides. A request for
//! several kinds (`O_RDWR`) passes when each of them does. Both versions of
//! cgroups get this list's verdicts, the one as lines, the other as a program.

mod exceptions;

use std::collections::HashMap;
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxDeviceType, LinuxResources};

use self::exceptions::Exceptions;
use super::setting::Setting;

/// The field that rules come from, for the kernel's refusals.
pub(in crate::cgroups) const PLACE: &str = "linux.resources.devices";

/// Kinds of access, in the bits of `BPF_DEVCG_ACC_*` (linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Access(pub(in crate::cgroups) u8);

impl Access {
    pub(in crate::cgroups) const MKNOD: Access = Access(1);
    pub(in crate::cgroups) const READ: Access = Access(2);
    pub(in crate::cgroups) const WRITE: Access = Access(4);
    pub(in crate::cgroups) const ALL: Access = Access(7);

    pub(in crate::cgroups) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// `None` when `text` holds another letter than `r`, `w`, `m`.
    fn parse(text: &str) -> Option<Access> {
        text.chars().try_fold(Access(0), |all, letter| {
            Some(all | LETTERS.iter().find(|(known, _)| *known == letter)?.1)
        })
    }

    fn letters(self) -> String {
        let held = LETTERS.iter().filter(|(_, kind)| !(self & *kind).is_none());
        held.map(|(letter, _)| letter).collect()
    }
}

const LETTERS: [(char, Access); 3] = [
    ('r', Access::READ),
    ('w', Access::WRITE),
    ('m', Access::MKNOD),
];

impl BitOr for Access {
    type Output = Access;
    fn bitor(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }
}

impl BitAnd for Access {
    type Output = Access;
    fn bitand(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }
}

impl Not for Access {
    type Output = Access;
    fn not(self) -> Access {
        Access(!self.0 & Access::ALL.0)
    }
}

impl BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Access) {
        *self = *self | other;
    }
}

impl BitAndAssign for Access {
    fn bitand_assign(&mut self, other: Access) {
        *self = *self & other;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cgroups) enum Kind {
    Block,
    Char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Verdict {
    Allow,
    Deny,
}

/// A set of devices: all of a kind whose numbers are those given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cgroups) struct Devices {
    pub(in crate::cgroups) kind: Kind,
    /// `None` is any.
    pub(in crate::cgroups) major: Option<u32>,
    pub(in crate::cgroups) minor: Option<u32>,
}

impl Devices {
    const fn new(kind: Kind, major: Option<u32>, minor: Option<u32>) -> Devices {
        Devices { kind, major, minor }
    }

    /// The sets of any device, one with a number, or this very one, that cover it.
    fn covering(self) -> impl Iterator<Item = Devices> {
        let Devices { kind, major, minor } = self;
        let all = [(None, None), (major, None), (None, minor), (major, minor)];
        let last = move |number: usize| match number {
            0 => true,
            1 => major.is_some(),
            2 => minor.is_some(),
            _ => major.is_some() && minor.is_some(),
        };
        let all = all.into_iter().enumerate();
        let distinct = all.filter(move |(number, _)| last(*number));
        distinct.map(move |(_, (major, minor))| Devices::new(kind, major, minor))
    }

    /// The devices in both sets.
    fn intersect(self, other: Devices) -> Option<Devices> {
        let both = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (a, b) => Some(a.or(b)),
        };
        (self.kind == other.kind).then_some(())?;
        Some(Devices::new(
            self.kind,
            both(self.major, other.major)?,
            both(self.minor, other.minor)?,
        ))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Rule {
    pub(in crate::cgroups) verdict: Verdict,
    pub(in crate::cgroups) devices: Devices,
    pub(in crate::cgroups) access: Access,
}

/// Allowed to every container, as runc does: making nodes of any device (which
/// opens none), and those that no process can do without.
const ALWAYS: [(Devices, Access); 11] = {
    const fn char(major: u32, minor: Option<u32>) -> (Devices, Access) {
        (Devices::new(Kind::Char, Some(major), minor), Access::ALL)
    }
    [
        (Devices::new(Kind::Char, None, None), Access::MKNOD),
        (Devices::new(Kind::Block, None, None), Access::MKNOD),
        char(1, Some(3)),    // null
        char(1, Some(5)),    // zero
        char(1, Some(7)),    // full
        char(1, Some(8)),    // random
        char(1, Some(9)),    // urandom
        char(5, Some(0)),    // tty
        char(5, Some(2)),    // ptmx
        char(136, None),     // pts/*
        char(10, Some(200)), // net/tun
    ]
};

/// The rules that still decide something, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Policy {
    /// For what no rule concerns.
    pub(in crate::cgroups) default: Verdict,
    pub(in crate::cgroups) rules: Vec<Rule>,
}

impl Policy {
    /// # Errors
    /// A rule that is none, by its place in the list.
    pub(in crate::cgroups) fn plan(resources: Option<&LinuxResources>) -> Result<Policy> {
        let mut draft = Draft::new(Verdict::Deny);
        let listed = resources.and_then(|resources| resources.devices().as_ref());
        for (item, rule) in listed.into_iter().flatten().enumerate() {
            let field = |name: &str| format!("{PLACE}[{item}].{name}");
            let access = rule.access().as_deref().unwrap_or_default();
            ensure!(
                !access.is_empty(),
                "{}: none of r, w, m is given",
                field("access")
            );
            let Some(access) = Access::parse(access) else {
                bail!("{}: \"{access}\" is not made of r, w, m", field("access"));
            };
            let major = number(rule.major()).with_context(|| field("major"))?;
            let minor = number(rule.minor()).with_context(|| field("minor"))?;
            let kinds: &[Kind] = match rule.typ().unwrap_or(LinuxDeviceType::A) {
                LinuxDeviceType::A => &[Kind::Block, Kind::Char],
                LinuxDeviceType::B => &[Kind::Block],
                LinuxDeviceType::C => &[Kind::Char],
                other => bail!("{}: \"{}\" is not a, b or c", field("type"), other.as_str()),
            };
            let verdict = if rule.allow() {
                Verdict::Allow
            } else {
                Verdict::Deny
            };
            draft.add_each(kinds, verdict, (major, minor), access);
        }
        for (devices, access) in ALWAYS {
            draft.add(Rule {
                verdict: Verdict::Allow,
                devices,
                access,
            });
        }
        Ok(draft.finish())
    }

    /// The lines for `devices.allow` and `devices.deny` of version 1
    /// (Documentation/admin-guide/cgroup-v1/devices.rst in the kernel).
    ///
    /// # Errors
    /// When rules take back a part of what a wider one gave (or give what a
    /// wider one took): there are only exceptions from a default here.
    pub(in crate::cgroups) fn lines(&self) -> Result<Vec<Setting>> {
        let (reset, except) = match self.default {
            Verdict::Deny => ("devices.deny", "devices.allow"),
            Verdict::Allow => ("devices.allow", "devices.deny"),
        };
        let mut lines = vec![Setting::new(PLACE, "devices", reset, "a")];
        for (devices, access) in self.exceptions()? {
            let kind = match devices.kind {
                Kind::Block => 'b',
                Kind::Char => 'c',
            };
            let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
            let (major, minor) = (number(devices.major), number(devices.minor));
            let line = format!("{kind} {major}:{minor} {}", access.letters());
            lines.push(Setting::new(PLACE, "devices", except, line));
        }
        Ok(lines)
    }

    /// The exceptions from the default such that for each device one of them
    /// holds all the access excepted: this kernel never adds two of them up.
    fn exceptions(&self) -> Result<Vec<(Devices, Access)>> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.verdict == self.default) {
            let Devices { kind, major, minor } = rule.devices;
            bail!(
                "{PLACE}: the rule for {kind:?} {}:{} makes an exception from an exception, which cgroup v1 cannot",
                major.map_or(-1, i64::from),
                minor.map_or(-1, i64::from)
            );
        }
        Exceptions::of(&self.rules).needed()
    }
}

/// A device number; absent and -1 are any.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(given) => match u32::try_from(given) {
            // The greatest is how the kernel spells "any" to itself.
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => bail!("{given} is neither a device number nor -1 (any)"),
        },
    }
}

/// A list of rules that grows.
struct Draft {
    policy: Policy,
    /// The rules that hold a kind of access to devices of a set, by their numbers.
    holders: HashMap<(Devices, u8), Vec<usize>>,
}

impl Draft {
    fn new(default: Verdict) -> Draft {
        let rules = Vec::new();
        Draft {
            policy: Policy { default, rules },
            holders: HashMap::new(),
        }
    }

    /// Adds a rule for each of `kinds`. One for all access to all devices is a
    /// new start.
    fn add_each(
        &mut self,
        kinds: &[Kind],
        verdict: Verdict,
        (major, minor): (Option<u32>, Option<u32>),
        access: Access,
    ) {
        if kinds.len() == 2 && (major, minor, access) == (None, None, Access::ALL) {
            *self = Draft::new(verdict);
            return;
        }
        for kind in kinds {
            self.add(Rule {
                verdict,
                devices: Devices::new(*kind, major, minor),
                access,
            });
        }
    }

    /// Adds a rule after the others. What it overrules goes, and so does the
    /// rule itself when it only repeats what holds without it.
    fn add(&mut self, rule: Rule) {
        let Policy { default, rules } = &mut self.policy;
        let kinds = LETTERS.map(|(_, kind)| kind).into_iter();
        let kinds = kinds.filter(|kind| !(*kind & rule.access).is_none());
        for kind in kinds.clone() {
            let overruled = self.holders.remove(&(rule.devices, kind.0));
            for number in overruled.into_iter().flatten() {
                rules[number].access &= !kind;
            }
        }
        let decides = rule.verdict != *default
            || rules.iter().any(|earlier| {
                earlier.verdict != *default
                    && !(earlier.access & rule.access).is_none()
                    && earlier.devices.intersect(rule.devices).is_some()
            });
        if decides {
            for (set, kind) in rule
                .devices
                .covering()
                .flat_map(|set| kinds.clone().map(move |kind| (set, kind)))
            {
                let holders = self.holders.entry((set, kind.0)).or_default();
                holders.push(rules.len());
            }
            rules.push(rule);
        }
    }

    fn finish(mut self) -> Policy {
        self.policy.rules.retain(|rule| !rule.access.is_none());
        self.policy
    }
}

#[cfg(test)]
mod tests;
