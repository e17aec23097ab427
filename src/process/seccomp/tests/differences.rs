//! Why libseccomp may decide otherwise than a compiled filter, computed from the profile.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::interpreter::{Call, Verdict};
use super::reference::{ENOSYS, ReferenceCondition, ReferenceProfile, ReferenceRule, X86};

/// The number of ipc(2) on x86.
const IPC: u32 = 117;

/// A reason for another verdict ("Seccomp" of docs/differences.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Difference {
    /// runc denies newer system calls with ENOSYS too, but without libseccomp.
    Newer,
    /// libseccomp does not know the system call's name.
    UnknownName,
    /// Conditions for a call through socketcall(2) or ipc(2), or the version in a call of ipc(2).
    Multiplexed,
    /// Several entries with different actions apply to the call.
    Overlap,
    /// Several entries, whose conditions libseccomp mixes up.
    MixedConditions,
    /// The filter of libseccomp compares the architecture where it should compare the number.
    NumberNotRead,
}

/// A profile, and what libseccomp does not know of it.
pub(super) struct Subject<'a> {
    pub(super) reference: ReferenceProfile<'a>,
    pub(super) unknown: Vec<String>,
}

impl Subject<'_> {
    /// Why the verdict of libseccomp may be `theirs`; `None` if nothing explains it.
    pub(super) fn difference(
        &self,
        call: &Call,
        ours: u32,
        theirs: &Verdict,
    ) -> Option<Difference> {
        let part = self.reference.part(call)?;
        if !theirs.reads_number {
            return Some(Difference::NumberNotRead);
        }
        let theirs = theirs.return_value;
        if part.is_newer(call) {
            let expected = ours == ENOSYS && theirs == self.reference.default;
            return expected.then_some(Difference::Newer);
        }
        let about = part.calls.get(&call.number)?;
        let is_unknown = |rule: &ReferenceRule| self.unknown.iter().any(|name| name == rule.name);
        if about.rules.iter().any(is_unknown) {
            return Some(Difference::UnknownName);
        }
        let is_ipc = call.audit == X86 && call.number == IPC;
        let has_version = is_ipc && call.args[0] as u32 >> 16 != 0;
        if has_version || about.are_unchecked() {
            return Some(Difference::Multiplexed);
        }
        let values = self.applying(call);
        if values.contains(&ours) && values.contains(&theirs) {
            return Some(Difference::Overlap);
        }
        can_be_mixed_up(&about.rules, part.wide).then_some(Difference::MixedConditions)
    }

    /// Whether libseccomp may refuse the profile: entries with different actions apply to one of the calls, or to one
    /// that is made through a multiplexer.
    pub(super) fn can_be_refused(&self, calls: &[Call]) -> bool {
        let overlap = |call: &Call| {
            let values = self.applying(call);
            values.iter().any(|value| *value != values[0])
        };
        let parts = self.reference.parts().iter();
        let mut multiplexers = parts.flat_map(|part| part.calls.values());
        calls.iter().any(overlap) || multiplexers.any(|about| about.disagree())
    }

    /// Whether our filter has an opinion about a name only that libseccomp does not know.
    pub(super) fn names_unknown(&self, error: &str) -> bool {
        let mut unknown = self.unknown.iter();
        unknown.any(|name| error.contains(&format!("for {name:?} with the same args")))
    }

    /// Whether libseccomp may fail to end.
    pub(super) fn can_be_mixed_up(&self) -> bool {
        self.reference.parts().iter().any(|part| {
            let mut calls = part.calls.values();
            calls.any(|about| about.are_unchecked() || can_be_mixed_up(&about.rules, part.wide))
        })
    }

    /// The return values of all rules that apply to a call.
    fn applying(&self, call: &Call) -> Vec<u32> {
        let Some(part) = self.reference.part(call) else {
            return Vec::new();
        };
        let about = part.calls.get(&call.number).into_iter();
        let rules = about.flat_map(|about| &about.rules);
        let rules = rules.filter(|rule| part.applies(rule, call));
        rules.map(|rule| rule.return_value).collect()
    }
}

/// Whether libseccomp may mix up the conditions of rules about one system call: one compares otherwise than for
/// equality, and libseccomp takes several steps for one of them, because it has several conditions, or because its
/// argument has 64 bits, and is that of another rule too.
fn can_be_mixed_up(rules: &[ReferenceRule], wide: bool) -> bool {
    let conditions: Vec<&ReferenceCondition> =
        rules.iter().flat_map(|rule| &rule.conditions).collect();
    let equality = [Operator::ScmpCmpEq, Operator::ScmpCmpMaskedEq];
    let are_ordered = conditions
        .iter()
        .any(|one| !equality.contains(&one.operator));
    let have_several = rules.iter().any(|rule| rule.conditions.len() > 1);
    let of = |index| conditions.iter().filter(|one| one.index == index).count();
    let share_argument = (0..6).any(|index| of(index) > 1);
    rules.len() > 1 && are_ordered && (have_several || wide && share_argument)
}
