//! Compiles rules about the arguments of a system call.
//!
//! Rules that begin with the same argument are compiled together. Their conditions divide the
//! values of this argument into ranges; a binary search ([`search`](super::search)) finds the
//! range, and the remaining conditions, on other arguments, are compiled in the same way.
//! BPF registers have 32 bits: the search looks at the upper half first, then at the lower.

use std::collections::HashMap;

use super::code::{Label, ProgramBuilder};
use super::profile::{Comparison, Condition, ReturnValue};
use super::rules::Rule;
use super::search::{self, search};

/// The offset of `args` in `struct seccomp_data`, in bytes.
const ARGUMENTS_OFFSET: u32 = 16;

/// A rule without the conditions that are known to hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RemainingRule<'a> {
    conditions: &'a [Condition],
    return_value: ReturnValue,
}

/// What remains to be decided once the value of an argument is known: the rules in this
/// order, then `return_value`. `None` means the default of the caller.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Remainder<'a> {
    rules: Vec<RemainingRule<'a>>,
    return_value: Option<ReturnValue>,
}

/// An argument, and the bits of it that a condition compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ComparedBits {
    index: u32,
    mask: u64,
}

/// Returns the value of the first rule whose conditions all hold, or jumps to `otherwise`.
/// `wide` as in [`super::architectures::Architecture::wide`].
pub(super) fn decide(
    code: &mut ProgramBuilder,
    rules: &[Rule],
    wide: bool,
    otherwise: Label,
) -> Label {
    let largest = if wide { u64::MAX } else { u32::MAX.into() };
    let rules: Vec<RemainingRule> = rules.iter().map(RemainingRule::of).collect();
    Width { largest }.decide(code, rules, otherwise)
}

impl RemainingRule<'_> {
    fn of(rule: &Rule) -> RemainingRule<'_> {
        RemainingRule {
            conditions: &rule.conditions,
            return_value: rule.return_value,
        }
    }

    fn without_first_condition(self) -> Self {
        RemainingRule {
            conditions: &self.conditions[1..],
            return_value: self.return_value,
        }
    }
}

/// The width of the arguments of an architecture.
#[derive(Clone, Copy)]
struct Width {
    /// The largest value of an argument.
    largest: u64,
}

impl Width {
    fn decide(
        self,
        code: &mut ProgramBuilder,
        mut rules: Vec<RemainingRule>,
        otherwise: Label,
    ) -> Label {
        // The order of adjacent rules with the same return value does not matter.
        for equal in rules.chunk_by_mut(|a, b| a.return_value == b.return_value) {
            equal.sort_by_key(|rule| (self.compared_bits(rule), !self.is_groupable(rule)));
        }
        let groups = rules.chunk_by(|a, b| self.belong_together(a, b));
        let groups: Vec<&[RemainingRule]> = groups.collect();
        let mut next = otherwise;
        for rules in groups.into_iter().rev() {
            next = self.compare(code, rules, next);
        }
        next
    }

    /// What the first condition compares.
    fn compared_bits(self, rule: &RemainingRule) -> ComparedBits {
        let Condition { index, comparison } = rule.conditions[0];
        let mask = match comparison {
            Comparison::Masked { mask, .. } => mask,
            _ => u64::MAX,
        };
        ComparedBits {
            index,
            mask: mask & self.largest,
        }
    }

    /// Whether the rule may be compiled together with others: it has a single condition, or
    /// its first condition holds for a single value. The remainder of any other rule could be
    /// repeated for each of many ranges.
    fn is_groupable(self, rule: &RemainingRule) -> bool {
        let comparison = rule.conditions[0].comparison;
        rule.conditions.len() == 1
            || matches!(comparison, Comparison::Equal(_) | Comparison::Masked { .. })
    }

    fn belong_together(self, one: &RemainingRule, next: &RemainingRule) -> bool {
        let both_groupable = self.is_groupable(one) && self.is_groupable(next);
        if both_groupable {
            self.compared_bits(one) == self.compared_bits(next)
        } else {
            one.conditions[0] == next.conditions[0]
        }
    }

    /// Compiles rules that begin with the same argument.
    fn compare(
        self,
        code: &mut ProgramBuilder,
        rules: &[RemainingRule],
        otherwise: Label,
    ) -> Label {
        let ComparedBits { index, mask } = self.compared_bits(&rules[0]);
        let mut remainders = Interner::default();
        let values = self.pieces(rules).into_iter();
        let values = values.map(|(first, remainder)| (first, remainders.index(remainder)));
        let mut halves = Interner::default();
        let upper: Vec<search::Range> = by_halves(values)
            .into_iter()
            .map(|(first, mut lower)| {
                if mask as u32 == 0 {
                    lower.truncate(1);
                }
                let outcome = halves.index(lower);
                search::Range { first, outcome }
            })
            .collect();

        let mut remainder_labels = HashMap::new();
        let mut remainder_label = |code: &mut ProgramBuilder, number: usize| {
            *remainder_labels.entry(number).or_insert_with(|| {
                let Remainder {
                    rules,
                    return_value,
                } = remainders.get(number).clone();
                let otherwise =
                    return_value.map_or(otherwise, |return_value| code.ret(return_value));
                self.decide(code, rules, otherwise)
            })
        };
        let offset = ARGUMENTS_OFFSET + 8 * index;
        let mut lower_labels = HashMap::new();
        let mut lower_label = |code: &mut ProgramBuilder, number: usize| {
            *lower_labels.entry(number).or_insert_with(|| {
                let found = search(code, halves.get(number), u32::MAX, &mut remainder_label);
                match halves.get(number).len() {
                    1 => found,
                    _ => code.load(offset, mask as u32, found),
                }
            })
        };
        let upper_mask = (mask >> 32) as u32;
        if upper_mask == 0 {
            return lower_label(code, upper[0].outcome);
        }
        let found = search(code, &upper, u32::MAX, &mut lower_label);
        match upper.len() {
            1 => found,
            _ => code.load(offset + 4, upper_mask, found),
        }
    }

    /// The remainder of the rules for each range of the compared bits. A range starts at the
    /// value and ends where the next one starts.
    fn pieces<'a>(self, rules: &[RemainingRule<'a>]) -> Vec<(u64, Remainder<'a>)> {
        let all: Vec<Vec<(u64, u64)>> = rules
            .iter()
            .map(|rule| self.values(rule.conditions[0].comparison))
            .collect();
        let mut firsts = vec![0];
        for (first, last) in all.iter().flatten() {
            firsts.push(*first);
            firsts.extend(last.checked_add(1).filter(|next| *next <= self.largest));
        }
        firsts.sort_unstable();
        firsts.dedup();
        let mut remainders = vec![Remainder::default(); firsts.len()];
        let mut undecided = Undecided::new(firsts.len());
        for (rule, values) in rules.iter().zip(&all) {
            for (first, last) in values {
                let mut at = undecided.next_from(firsts.partition_point(|start| start < first));
                while firsts.get(at).is_some_and(|start| start <= last) {
                    match rule.conditions {
                        [_] => {
                            remainders[at].return_value = Some(rule.return_value);
                            undecided.remove(at);
                        }
                        _ => remainders[at].rules.push(rule.without_first_condition()),
                    }
                    at = undecided.next_from(at + 1);
                }
            }
        }
        firsts.into_iter().zip(remainders).collect()
    }

    /// The values for which a comparison holds, as inclusive ranges.
    fn values(self, comparison: Comparison) -> Vec<(u64, u64)> {
        let Width { largest } = self;
        let below = |value: u64| value.checked_sub(1).map(|last| (0, last));
        let above = |value: u64| (value < largest).then(|| (value + 1, largest));
        let cut = |value: u64| value & largest;
        let (one, two) = match comparison {
            Comparison::Equal(value) => (Some((cut(value), cut(value))), None),
            Comparison::NotEqual(value) => (below(cut(value)), above(cut(value))),
            Comparison::Less(value) => (below(cut(value)), None),
            Comparison::LessOrEqual(value) => (Some((0, cut(value))), None),
            Comparison::Greater(value) => (above(cut(value)), None),
            Comparison::GreaterOrEqual(value) => (Some((cut(value), largest)), None),
            Comparison::Masked { value, .. } => (Some((cut(value), cut(value))), None),
        };
        one.into_iter().chain(two).collect()
    }
}

/// Splits ranges of 64-bit values into ranges of the upper half, each with the ranges of the
/// lower half.
fn by_halves(values: impl Iterator<Item = (u64, usize)>) -> Vec<(u32, Vec<search::Range>)> {
    let range = |first, outcome| search::Range { first, outcome };
    let mut halves: Vec<(u32, Vec<search::Range>)> = Vec::new();
    let mut before = None;
    for (first, outcome) in values {
        if before == Some(outcome) {
            continue;
        }
        let (upper, lower) = ((first >> 32) as u32, first as u32);
        // The previous range covers every upper half in between.
        if let (Some(before), Some((last, ranges))) = (before, halves.last()) {
            let first = last.saturating_add(u32::from(ranges.len() > 1));
            if *last < first && first < upper {
                halves.push((first, vec![range(0, before)]));
            }
        }
        match (halves.last_mut(), before) {
            (Some((last, ranges)), _) if *last == upper => ranges.push(range(lower, outcome)),
            (_, Some(before)) if lower > 0 => {
                halves.push((upper, vec![range(0, before), range(lower, outcome)]));
            }
            _ => halves.push((upper, vec![range(0, outcome)])),
        }
        before = Some(outcome);
    }
    if let (Some(before), Some((last, ranges))) = (before, halves.last())
        && ranges.len() > 1
        && let Some(first) = last.checked_add(1)
    {
        halves.push((first, vec![range(0, before)]));
    }
    halves
}

/// Gives each distinct value an index.
struct Interner<T> {
    all: Vec<T>,
    indexes: HashMap<T, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner {
            all: Vec::new(),
            indexes: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn index(&mut self, value: T) -> usize {
        let next = self.all.len();
        *self.indexes.entry(value).or_insert_with_key(|value| {
            self.all.push(value.clone());
            next
        })
    }

    fn get(&self, index: usize) -> &T {
        &self.all[index]
    }
}

/// The indexes of a list that no rule has decided yet. Like union-find, it skips runs of
/// removed indexes quickly.
struct Undecided {
    /// For each index itself, or, if it was removed, a later index to continue with.
    next: Vec<usize>,
}

impl Undecided {
    fn new(count: usize) -> Undecided {
        Undecided {
            next: (0..=count).collect(),
        }
    }

    /// The first undecided index from `at`; the length of the list if there is none.
    fn next_from(&mut self, at: usize) -> usize {
        let mut found = at;
        while self.next[found] != found {
            found = self.next[found];
        }
        let mut passed = at;
        while self.next[passed] != found {
            passed = std::mem::replace(&mut self.next[passed], found);
        }
        found
    }

    fn remove(&mut self, at: usize) {
        self.next[at] = at + 1;
    }
}
