//! Chooses calls that reach every boundary of a profile.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::interpreter::Call;
use super::reference::{ReferenceCondition, ReferencePart, ReferenceProfile, ReferenceRule};
use crate::process::seccomp::architectures::Family;

/// The bits of the upper half of an argument that calls differ in.
const UPPER: [u64; 3] = [1 << 32, 5 << 40, 1 << 63];
/// The most rules for one number from which calls start.
const MAX_STARTS: usize = 16;

/// Calls of all numbers at which the decision can change, from each architecture of the family and from an unknown one.
/// Their arguments fulfil each rule, and differ from that in one argument, by each value next to a boundary.
pub(super) fn calls(reference: &ReferenceProfile, family: &Family) -> Vec<Call> {
    let mut numbers = vec![0, 1, 102, 117, 0xeffff, 0xf0001, 0xf0005, 0xf0006];
    numbers.extend([(1 << 30) - 1, 1 << 30, 1 << 31, u32::MAX - 1, u32::MAX]);
    for number in reference.parts().iter().flat_map(|part| part.calls.keys()) {
        // x32 numbers without their bit too, and all others with it.
        let near = [number.saturating_sub(1), *number, number + 1];
        numbers.extend(near.into_iter().flat_map(|n| [n, n ^ 1 << 30, n ^ 1 << 31]));
    }
    numbers.sort_unstable();
    numbers.dedup();
    let unknown = 0xc000_00f4;
    let mut audits: Vec<u32> = family.iter().map(|(_, one)| one.audit).collect();
    audits.push(unknown);
    audits.dedup();
    let mut calls = Vec::new();
    for audit in audits {
        for &number in &numbers {
            let call = Call {
                audit,
                number,
                args: [0; 6],
            };
            calls.push(call);
            if let Some(part) = reference.part(&call) {
                add_arguments(&mut calls, part, call);
            }
        }
    }
    calls
}

fn add_arguments(calls: &mut Vec<Call>, part: &ReferencePart, call: Call) {
    let Some(rules) = part.calls.get(&call.number) else {
        return;
    };
    let conditions = rules.rules.iter().flat_map(|rule| &rule.conditions);
    let mut values: [Vec<u64>; 6] = Default::default();
    for condition in conditions {
        values[condition.index].extend(boundaries(condition));
    }
    for values in values.iter_mut().filter(|values| !values.is_empty()) {
        values.extend([0, u64::MAX]);
        values.sort_unstable();
        values.dedup();
    }
    for args in starts(&rules.rules) {
        calls.push(Call { args, ..call });
        for (index, values) in values.iter().enumerate() {
            for value in values {
                let mut args = args;
                args[index] = *value;
                calls.push(Call { args, ..call });
            }
        }
    }
}

/// Arguments that fulfil a rule, for each rule; and those that fulfil two, where that is possible.
fn starts(rules: &[ReferenceRule]) -> Vec<[u64; 6]> {
    let step = rules.len() / MAX_STARTS + 1;
    let rules: Vec<&ReferenceRule> = rules.iter().step_by(step).collect();
    let mut all = vec![[u64::MAX; 6]];
    for (i, rule) in rules.iter().enumerate() {
        let mut args = [0; 6];
        fulfil(rule, &mut args);
        all.push(args);
        if let Some(next) = rules.get(i + 1) {
            fulfil(next, &mut args);
            all.push(args);
        }
    }
    all
}

fn fulfil(rule: &ReferenceRule, args: &mut [u64; 6]) {
    for condition in &rule.conditions {
        let value = condition.value;
        args[condition.index] = match condition.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpLe | Operator::ScmpCmpGe => value,
            Operator::ScmpCmpNe | Operator::ScmpCmpGt => value.wrapping_add(1),
            Operator::ScmpCmpLt => value.wrapping_sub(1),
            Operator::ScmpCmpMaskedEq => condition.two & value,
        };
    }
}

/// The values at which a condition begins or ends to hold, their neighbours, and values that are equal to them in one
/// half only.
fn boundaries(condition: &ReferenceCondition) -> Vec<u64> {
    let value = condition.value;
    if condition.operator == Operator::ScmpCmpMaskedEq {
        let (mask, value) = (value, condition.two & value);
        let lowest = mask & mask.wrapping_neg();
        let highest = mask.checked_ilog2().map_or(0, |bit| 1 << bit);
        let upper = UPPER.map(|bits| value ^ bits);
        let others = [
            value,
            value | !mask,
            value ^ lowest,
            value ^ highest,
            condition.two,
        ];
        return [&others[..], &upper].concat();
    }
    let near = [value.wrapping_sub(1), value, value.wrapping_add(1)];
    let upper = UPPER.map(|bits| value ^ bits);
    let carried = [value.wrapping_add(1 << 32), value.wrapping_sub(1 << 32)];
    [&near[..], &upper, &carried].concat()
}
