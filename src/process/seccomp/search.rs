//! Compiles a binary search: finds the range that contains the number in the accumulator.

use super::code::{IF_EQUAL, IF_GREATER_OR_EQUAL, Label, ProgramBuilder};

/// Up to this many single numbers are compared one after the other: a binary search would need
/// two comparisons for each, one for its start and one for its end.
const MAX_POINTS: usize = 4;

/// A range of numbers. It ends where the next range starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) first: u32,
    /// Identifies the code for this range. Ranges with equal outcomes share their code.
    pub(super) outcome: usize,
}

/// Finds the range of the number, which is at most `last`, and jumps to the label that `label`
/// returns for the outcome of this range.
pub(super) fn search(
    code: &mut ProgramBuilder,
    ranges: &[Range],
    last: u32,
    label: &mut dyn FnMut(&mut ProgramBuilder, usize) -> Label,
) -> Label {
    if let [only] = ranges {
        return label(code, only.outcome);
    }
    if let Some((others, points)) = points(ranges, last) {
        let others = label(code, others);
        return points.iter().rev().fold(others, |others, point| {
            let hit = label(code, point.outcome);
            code.compare(IF_EQUAL, point.first, hit, others)
        });
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let middle = high[0].first;
    let miss = search(code, low, middle - 1, label);
    let hit = search(code, high, last, label);
    code.compare(IF_GREATER_OR_EQUAL, middle, hit, miss)
}

/// The outcome of all numbers but a few, and these few as ranges of one number each. `None`
/// when the ranges are not of this shape.
fn points(ranges: &[Range], last: u32) -> Option<(usize, Vec<Range>)> {
    if ranges.len() > 2 * MAX_POINTS + 1 {
        return None;
    }
    let is_point = |i: usize| {
        let end = ranges.get(i + 1).map_or(last, |next| next.first - 1);
        ranges[i].first == end
    };
    let longer = (0..ranges.len()).find(|i| !is_point(*i));
    let others = ranges[longer.unwrap_or(0)].outcome;
    let listed = (0..ranges.len()).filter(|i| ranges[*i].outcome != others);
    let listed: Vec<usize> = listed.collect();
    let few = listed.len() <= MAX_POINTS && listed.iter().all(|i| is_point(*i));
    few.then(|| (others, listed.into_iter().map(|i| ranges[i]).collect()))
}
