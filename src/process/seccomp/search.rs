//! What to do for a number that is loaded: ranges of numbers, searched by halves.

use super::code::{Code, IF_EQUAL, IF_GREATER_OR_EQUAL, Label};

/// So many single numbers are compared one after the other: searched by halves
/// each would take two comparisons, one for its beginning and one for its end.
const POINTS: usize = 4;

/// From `first` up to the next range's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Range {
    pub(super) first: u32,
    /// What to do there. Where it is the same, so is the outcome.
    pub(super) outcome: usize,
}

/// Finds the range that the number is in, of those up to `last`, and goes on
/// where `label` says.
pub(super) fn search(
    code: &mut Code,
    ranges: &[Range],
    last: u32,
    label: &mut dyn FnMut(&mut Code, usize) -> Label,
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

/// The outcome of all but a few single numbers, and these.
fn points(ranges: &[Range], last: u32) -> Option<(usize, Vec<Range>)> {
    if ranges.len() > 2 * POINTS + 1 {
        return None;
    }
    let is_point = |i: usize| {
        let end = ranges.get(i + 1).map_or(last, |next| next.first - 1);
        ranges[i].first == end
    };
    let wide = (0..ranges.len()).find(|i| !is_point(*i));
    let others = ranges[wide.unwrap_or(0)].outcome;
    let listed = (0..ranges.len()).filter(|i| ranges[*i].outcome != others);
    let listed: Vec<usize> = listed.collect();
    let few = listed.len() <= POINTS && listed.iter().all(|i| is_point(*i));
    few.then(|| (others, listed.into_iter().map(|i| ranges[i]).collect()))
}
