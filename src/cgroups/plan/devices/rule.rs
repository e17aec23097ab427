//! One device rule: a verdict on kinds of access to a set of devices.

use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

/// The field, for error messages.
pub(in crate::cgroups) const FIELD: &str = "linux.resources.devices";

/// Kinds of access, as the bits `BPF_DEVCG_ACC_*` (linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Access(pub(in crate::cgroups) u8);

impl Access {
    pub(in crate::cgroups) const MKNOD: Access = Access(1);
    pub(in crate::cgroups) const READ: Access = Access(2);
    pub(in crate::cgroups) const WRITE: Access = Access(4);
    pub(in crate::cgroups) const ALL: Access = Access(7);

    pub(in crate::cgroups) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `None` when `text` contains a letter other than `r`, `w` and `m`.
    pub(super) fn parse(text: &str) -> Option<Access> {
        text.chars().try_fold(Access(0), |all, letter| {
            Some(all | LETTERS.iter().find(|(known, _)| *known == letter)?.1)
        })
    }

    pub(super) fn letters(self) -> String {
        let contained = LETTERS
            .iter()
            .filter(|(_, kind)| !(self & *kind).is_empty());
        contained.map(|(letter, _)| letter).collect()
    }
}

pub(super) const LETTERS: [(char, Access); 3] = [
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
pub(in crate::cgroups) enum DeviceKind {
    Block,
    Char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Verdict {
    Allow,
    Deny,
}

/// All devices of a kind with the given numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cgroups) struct DeviceSet {
    pub(in crate::cgroups) kind: DeviceKind,
    /// `None` is any number.
    pub(in crate::cgroups) major: Option<u32>,
    pub(in crate::cgroups) minor: Option<u32>,
}

impl DeviceSet {
    pub(super) const fn new(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> DeviceSet {
        DeviceSet { kind, major, minor }
    }

    /// The sets that contain this one, itself included. They have the same numbers or any
    /// number.
    pub(super) fn supersets(self) -> impl Iterator<Item = DeviceSet> {
        let DeviceSet { kind, major, minor } = self;
        let all = [(None, None), (major, None), (None, minor), (major, minor)];
        // Without a major or minor number some of the four are the same.
        let is_distinct = move |index: usize| match index {
            0 => true,
            1 => major.is_some(),
            2 => minor.is_some(),
            _ => major.is_some() && minor.is_some(),
        };
        let all = all.into_iter().enumerate();
        let distinct = all.filter(move |(index, _)| is_distinct(*index));
        distinct.map(move |(_, (major, minor))| DeviceSet::new(kind, major, minor))
    }

    /// As in a line of `devices.allow`: `c 1:3 rwm`.
    pub(in crate::cgroups) fn line(self, access: Access) -> String {
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let text = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        let (major, minor) = (text(self.major), text(self.minor));
        format!("{kind} {major}:{minor} {}", access.letters())
    }

    /// The devices that are in both sets.
    pub(super) fn intersection(self, other: DeviceSet) -> Option<DeviceSet> {
        let both = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            (a, b) => Some(a.or(b)),
        };
        (self.kind == other.kind).then_some(())?;
        Some(DeviceSet::new(
            self.kind,
            both(self.major, other.major)?,
            both(self.minor, other.minor)?,
        ))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Rule {
    pub(in crate::cgroups) verdict: Verdict,
    pub(in crate::cgroups) devices: DeviceSet,
    pub(in crate::cgroups) access: Access,
}
