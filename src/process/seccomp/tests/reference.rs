//! A direct evaluation of profiles, to compare filters with it.

use std::collections::{BTreeMap, HashMap};

use nix::libc;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};

use super::interpreter::Call;
use crate::process::seccomp::architectures::{Architecture, Family};

pub(super) const X86_64: u32 = 0xc000_003e;
pub(super) const X86: u32 = 0x4000_0003;

/// For an architecture that is not listed.
const KILL: u32 = 0;
/// For a system call that is newer than the profile.
pub(super) const ENOSYS: u32 = 0x0005_0000 | 38;

fn action(name: &str, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

/// One of `args` of an entry.
#[derive(Clone)]
pub(super) struct ReferenceCondition {
    pub(super) index: usize,
    pub(super) operator: LinuxSeccompOperator,
    pub(super) value: u64,
    pub(super) two: u64,
}

impl ReferenceCondition {
    fn new(listed: &LinuxSeccompArg) -> ReferenceCondition {
        ReferenceCondition {
            index: listed.index(),
            operator: listed.op(),
            value: listed.value(),
            two: listed.value_two().unwrap_or(0),
        }
    }

    /// Whether it holds, as libseccomp documents it.
    fn holds(&self, args: &[u64; 6], wide: bool) -> bool {
        use LinuxSeccompOperator as Operator;
        let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let argument = args[self.index] & width;
        let (value, two) = (self.value & width, self.two & width);
        match self.operator {
            Operator::ScmpCmpNe => argument != value,
            Operator::ScmpCmpLt => argument < value,
            Operator::ScmpCmpLe => argument <= value,
            Operator::ScmpCmpEq => argument == value,
            Operator::ScmpCmpGe => argument >= value,
            Operator::ScmpCmpGt => argument > value,
            Operator::ScmpCmpMaskedEq => argument & value == two & value,
        }
    }
}

/// What an entry says about one system call, when all `conditions` hold.
#[derive(Clone)]
pub(super) struct ReferenceRule<'a> {
    pub(super) name: &'a str,
    pub(super) conditions: Vec<ReferenceCondition>,
    pub(super) return_value: u32,
}

impl<'a> ReferenceRule<'a> {
    /// One rule, or one for each condition if two are on the same argument.
    fn all(entry: &LinuxSyscall, name: &'a str, return_value: u32) -> Vec<ReferenceRule<'a>> {
        let args = entry.args().as_deref().unwrap_or_default();
        let conditions: Vec<_> = args.iter().map(ReferenceCondition::new).collect();
        let of = |index| conditions.iter().filter(|one| one.index == index).count();
        let rule = |conditions: &[ReferenceCondition]| ReferenceRule {
            name,
            conditions: conditions.to_vec(),
            return_value,
        };
        if (0..6).any(|index| of(index) > 1) {
            conditions.chunks(1).map(rule).collect()
        } else {
            vec![rule(&conditions)]
        }
    }
}

/// The rules about one system call number.
#[derive(Default)]
pub(super) struct ReferenceRules<'a> {
    pub(super) rules: Vec<ReferenceRule<'a>>,
    /// What the profile says about each call that is made through this one.
    through: Vec<Vec<ReferenceRule<'a>>>,
}

impl ReferenceRules<'_> {
    /// Whether calls that are made through this one have conditions, which no filter can check.
    pub(super) fn are_unchecked(&self) -> bool {
        let mut rules = self.through.iter().flatten();
        rules.any(|rule| !rule.conditions.is_empty())
    }

    /// Whether rules about a call that is made through this one have different actions.
    pub(super) fn disagree(&self) -> bool {
        let differ = |pair: &[ReferenceRule]| pair[0].return_value != pair[1].return_value;
        self.through
            .iter()
            .any(|rules| rules.windows(2).any(differ))
    }
}

/// A profile that is evaluated rule by rule for each call.
pub(super) struct ReferenceProfile<'a> {
    pub(super) default: u32,
    own: u32,
    parts: Vec<ReferencePart<'a>>,
}

/// What a profile says about one architecture.
pub(super) struct ReferencePart<'a> {
    pub(super) audit: u32,
    x32: bool,
    pub(super) wide: bool,
    /// The newest system call that the profile names, if any newer one is denied with ENOSYS.
    newest: Option<u32>,
    pub(super) calls: BTreeMap<u32, ReferenceRules<'a>>,
}

impl<'a> ReferenceProfile<'a> {
    pub(super) fn new(profile: &'a LinuxSeccomp, family: &Family) -> ReferenceProfile<'a> {
        let default = action(
            &profile.default_action().to_string(),
            profile.default_errno_ret(),
        );
        let listed = profile.architectures().clone().unwrap_or_default();
        let served = family.iter().enumerate();
        let served = served.filter(|(i, (name, _))| *i == 0 || listed.contains(name));
        let parts = served.map(|(_, (name, architecture))| {
            let is_x32 = *name == Arch::ScmpArchX32;
            ReferencePart::new(profile, default, architecture, is_x32)
        });
        ReferenceProfile {
            default,
            own: family[0].1.audit,
            parts: parts.collect(),
        }
    }

    pub(super) fn parts(&self) -> &[ReferencePart<'a>] {
        &self.parts
    }

    /// The part about the call's architecture.
    pub(super) fn part(&self, call: &Call) -> Option<&ReferencePart<'a>> {
        let is_x32 = call.audit == X86_64 && call.number >> 30 != 0;
        let mut parts = self.parts.iter();
        parts.find(|part| part.audit == call.audit && part.x32 == is_x32)
    }

    pub(super) fn return_value(&self, call: &Call) -> u32 {
        let Some(part) = self.part(call) else {
            // The number -1, which is not a system call.
            let none = call.number == u32::MAX && call.audit == self.own;
            return if none { self.default } else { KILL };
        };
        if part.is_newer(call) {
            return ENOSYS;
        }
        let rules = part.calls.get(&call.number);
        let rules = rules.map_or(&[][..], |rules| &rules.rules);
        let unconditional = rules.iter().find(|rule| rule.conditions.is_empty());
        let rule = unconditional.or_else(|| rules.iter().find(|rule| part.applies(rule, call)));
        rule.map_or(self.default, |rule| rule.return_value)
    }
}

impl<'a> ReferencePart<'a> {
    fn new(
        profile: &'a LinuxSeccomp,
        default: u32,
        architecture: &Architecture,
        x32: bool,
    ) -> ReferencePart<'a> {
        let mut calls: BTreeMap<u32, ReferenceRules> = BTreeMap::new();
        let mut through: HashMap<(u32, u64, u64), Vec<ReferenceRule>> = HashMap::new();
        for entry in profile.syscalls().iter().flatten() {
            let return_value = action(&entry.action().to_string(), entry.errno_ret());
            for name in entry.names() {
                let rules = ReferenceRule::all(entry, name, return_value);
                let rules = rules.into_iter().filter(|_| return_value != default);
                if let Some(call) = architecture.multiplexed(name) {
                    let call = (call.number, call.value, call.mask);
                    through.entry(call).or_default().extend(rules.clone());
                }
                if let Some(number) = architecture.number(name) {
                    calls.entry(number).or_default().rules.extend(rules);
                }
            }
        }
        let mut newest = calls.keys().max().copied();
        for ((number, value, mask), rules) in through {
            let multiplexer = calls.entry(number).or_default();
            if let Some(rule) = multiplexed(&rules, default, value, mask) {
                multiplexer.rules.push(rule);
                newest = newest.max(Some(number));
            }
            multiplexer.through.push(rules);
        }
        let lenient = [0x7fff_0000, 0x7ffc_0000, 0x7ff0_0000].contains(&(default & 0xffff_0000));
        ReferencePart {
            audit: architecture.audit,
            x32,
            wide: architecture.wide,
            newest: newest.filter(|newest| *newest > architecture.first && !lenient),
            calls,
        }
    }

    /// Whether the call is newer than all that the profile names, and is denied for that reason.
    pub(super) fn is_newer(&self, call: &Call) -> bool {
        self.newest.is_some_and(|newest| call.number > newest)
    }

    pub(super) fn applies(&self, rule: &ReferenceRule, call: &Call) -> bool {
        let mut conditions = rule.conditions.iter();
        conditions.all(|condition| condition.holds(&call.args, self.wide))
    }
}

/// The rule of a multiplexer for one of its calls: the first without conditions counts, otherwise the strictest if it is
/// stricter than the default.
fn multiplexed<'a>(
    rules: &[ReferenceRule<'a>],
    default: u32,
    value: u64,
    mask: u64,
) -> Option<ReferenceRule<'a>> {
    let strictness =
        |return_value: u32| (return_value & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    let unconditional = rules.iter().find(|rule| rule.conditions.is_empty());
    let strictest = || {
        let stricter = |rule: &&ReferenceRule| strictness(rule.return_value) < strictness(default);
        let rules = rules.iter().filter(stricter);
        rules.min_by_key(|rule| strictness(rule.return_value))
    };
    let rule = unconditional.or_else(strictest)?;
    let condition = ReferenceCondition {
        index: 0,
        operator: LinuxSeccompOperator::ScmpCmpMaskedEq,
        value: mask,
        two: value,
    };
    Some(ReferenceRule {
        conditions: vec![condition],
        ..rule.clone()
    })
}
