//! From rules about a call's arguments to instructions.
//!
//! Rules that begin with the same argument are looked at together. What they say
//! changes at a few of its values, so these are searched for (`search`), and
//! what is left of the rules there, about other arguments, is built likewise.
//! The registers have 32 bits: the upper half is searched first, then the lower.

use std::collections::HashMap;

use super::code::{Code, Label};
use super::profile::{Answer, Condition, Test};
use super::rules::Rule;
use super::search::{self, search};

/// Where in `struct seccomp_data` the arguments lie, in bytes.
const ARGUMENTS: u32 = 16;

/// What is left of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Rest<'a> {
    conditions: &'a [Condition],
    answer: Answer,
}

/// What becomes of a call when all that was looked at is settled: one of these, in
/// their order, or this.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Outcome<'a> {
    rules: Vec<Rest<'a>>,
    answer: Option<Answer>,
}

/// Those bits of an argument that a condition is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    index: u32,
    mask: u64,
}

/// Gives the answer of the first rule whose conditions all hold, or goes on at
/// `otherwise`. `wide` as [`super::architectures::Architecture::wide`].
pub(super) fn decide(code: &mut Code, rules: &[Rule], wide: bool, otherwise: Label) -> Label {
    let largest = if wide { u64::MAX } else { u32::MAX.into() };
    let rules: Vec<Rest> = rules.iter().map(Rest::of).collect();
    Width { largest }.decide(code, rules, otherwise)
}

impl Rest<'_> {
    fn of(rule: &Rule) -> Rest<'_> {
        Rest {
            conditions: &rule.conditions,
            answer: rule.answer,
        }
    }

    /// Without its first condition.
    fn rest(self) -> Self {
        Rest {
            conditions: &self.conditions[1..],
            answer: self.answer,
        }
    }
}

/// The arguments of an architecture.
#[derive(Clone, Copy)]
struct Width {
    largest: u64,
}

impl Width {
    fn decide(self, code: &mut Code, mut rules: Vec<Rest>, otherwise: Label) -> Label {
        // In which order rules with one answer come does not matter.
        for equal in rules.chunk_by_mut(|a, b| a.answer == b.answer) {
            equal.sort_by_key(|rule| (self.part(rule), !self.is_decided(rule)));
        }
        let together = rules.chunk_by(|a, b| self.belong_together(a, b));
        let together: Vec<&[Rest]> = together.collect();
        let mut next = otherwise;
        for rules in together.into_iter().rev() {
            next = self.compare(code, rules, next);
        }
        next
    }

    /// What the first condition is about.
    fn part(self, rule: &Rest) -> Part {
        let Condition { index, test } = rule.conditions[0];
        let mask = match test {
            Test::Masked { mask, .. } => mask,
            _ => u64::MAX,
        };
        Part {
            index,
            mask: mask & self.largest,
        }
    }

    /// Whether its first condition leaves little: an answer, or a single value.
    /// The others could be left over for each of many values.
    fn is_decided(self, rule: &Rest) -> bool {
        let test = rule.conditions[0].test;
        rule.conditions.len() == 1 || matches!(test, Test::Equal(_) | Test::Masked { .. })
    }

    fn belong_together(self, one: &Rest, next: &Rest) -> bool {
        let both_decided = self.is_decided(one) && self.is_decided(next);
        match both_decided {
            true => self.part(one) == self.part(next),
            false => one.conditions[0] == next.conditions[0],
        }
    }

    /// Looks at the argument that these rules begin with.
    fn compare(self, code: &mut Code, rules: &[Rest], otherwise: Label) -> Label {
        let Part { index, mask } = self.part(&rules[0]);
        let mut known = Known::default();
        let values = self.pieces(rules).into_iter();
        let values = values.map(|(first, outcome)| (first, known.number(outcome)));
        let mut halves = Known::default();
        let upper: Vec<search::Range> = by_halves(values)
            .into_iter()
            .map(|(first, mut lower)| {
                if mask as u32 == 0 {
                    lower.truncate(1);
                }
                let outcome = halves.number(lower);
                search::Range { first, outcome }
            })
            .collect();

        let mut goals = HashMap::new();
        let mut goal = |code: &mut Code, number: usize| {
            *goals.entry(number).or_insert_with(|| {
                let Outcome { rules, answer } = known.at(number).clone();
                let otherwise = answer.map_or(otherwise, |answer| code.answer(answer));
                self.decide(code, rules, otherwise)
            })
        };
        let place = ARGUMENTS + 8 * index;
        let mut lows = HashMap::new();
        let mut low = |code: &mut Code, number: usize| {
            *lows.entry(number).or_insert_with(|| {
                let found = search(code, halves.at(number), u32::MAX, &mut goal);
                match halves.at(number).len() {
                    1 => found,
                    _ => code.load(place, mask as u32, found),
                }
            })
        };
        let upper_mask = (mask >> 32) as u32;
        if upper_mask == 0 {
            return low(code, upper[0].outcome);
        }
        let found = search(code, &upper, u32::MAX, &mut low);
        match upper.len() {
            1 => found,
            _ => code.load(place + 4, upper_mask, found),
        }
    }

    /// What the rules mean for each value of what they begin with: from this one
    /// up to the next.
    fn pieces<'a>(self, rules: &[Rest<'a>]) -> Vec<(u64, Outcome<'a>)> {
        let all: Vec<Vec<(u64, u64)>> = rules
            .iter()
            .map(|rule| self.values(rule.conditions[0].test))
            .collect();
        let mut firsts = vec![0];
        for (first, last) in all.iter().flatten() {
            firsts.push(*first);
            firsts.extend(last.checked_add(1).filter(|next| *next <= self.largest));
        }
        firsts.sort_unstable();
        firsts.dedup();
        let mut outcomes = vec![Outcome::default(); firsts.len()];
        let mut open = Open::new(firsts.len());
        for (rule, values) in rules.iter().zip(&all) {
            for (first, last) in values {
                let mut at = open.from(firsts.partition_point(|start| start < first));
                while firsts.get(at).is_some_and(|start| start <= last) {
                    match rule.conditions {
                        [_] => {
                            outcomes[at].answer = Some(rule.answer);
                            open.close(at);
                        }
                        _ => outcomes[at].rules.push(rule.rest()),
                    }
                    at = open.from(at + 1);
                }
            }
        }
        firsts.into_iter().zip(outcomes).collect()
    }

    /// For which values a test holds: from one to another.
    fn values(self, test: Test) -> Vec<(u64, u64)> {
        let Width { largest } = self;
        let below = |value: u64| value.checked_sub(1).map(|last| (0, last));
        let above = |value: u64| (value < largest).then(|| (value + 1, largest));
        let cut = |value: u64| value & largest;
        let (one, two) = match test {
            Test::Equal(value) => (Some((cut(value), cut(value))), None),
            Test::NotEqual(value) => (below(cut(value)), above(cut(value))),
            Test::Less(value) => (below(cut(value)), None),
            Test::LessOrEqual(value) => (Some((0, cut(value))), None),
            Test::Greater(value) => (above(cut(value)), None),
            Test::GreaterOrEqual(value) => (Some((cut(value), largest)), None),
            Test::Masked { value, .. } => (Some((cut(value), cut(value))), None),
        };
        one.into_iter().chain(two).collect()
    }
}

/// Ranges of 64 bits as ranges of the upper half, each with those of the lower.
fn by_halves(values: impl Iterator<Item = (u64, usize)>) -> Vec<(u32, Vec<search::Range>)> {
    let range = |first, outcome| search::Range { first, outcome };
    let mut halves: Vec<(u32, Vec<search::Range>)> = Vec::new();
    let mut before = None;
    for (first, outcome) in values {
        if before == Some(outcome) {
            continue;
        }
        let (upper, lower) = ((first >> 32) as u32, first as u32);
        // What was last holds for every upper half in between.
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

/// Values by number, equal ones once.
struct Known<T> {
    all: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known {
            all: Vec::new(),
            numbers: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Known<T> {
    fn number(&mut self, value: T) -> usize {
        let next = self.all.len();
        *self.numbers.entry(value).or_insert_with_key(|value| {
            self.all.push(value.clone());
            next
        })
    }

    fn at(&self, number: usize) -> &T {
        &self.all[number]
    }
}

/// Which of a list are still open; those that are not are passed over once.
struct Open {
    /// For each, itself or a later one that may be the next.
    next: Vec<usize>,
}

impl Open {
    fn new(count: usize) -> Open {
        Open {
            next: (0..=count).collect(),
        }
    }

    /// The first open one from `at` on; the length of the list if there is none.
    fn from(&mut self, at: usize) -> usize {
        let mut open = at;
        while self.next[open] != open {
            open = self.next[open];
        }
        let mut passed = at;
        while self.next[passed] != open {
            passed = std::mem::replace(&mut self.next[passed], open);
        }
        open
    }

    fn close(&mut self, at: usize) {
        self.next[at] = at + 1;
    }
}
