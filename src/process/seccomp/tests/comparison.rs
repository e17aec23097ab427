//! Compares compiled filters with those of libseccomp, for the profiles of managers and for random ones.

#![allow(clippy::disallowed_methods, reason = "RT_TESTS asks for more")]

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

use serde_json::Value;

use super::calls::calls;
use super::differences::{Difference, Subject};
use super::interpreter::{interpret, run};
use super::libseccomp::{Libseccomp, Outcome};
use super::random::Random;
use super::reference::ReferenceProfile;
use super::{linux_seccomp, manager_profiles};
use crate::process::seccomp::Seccomp;
use crate::process::seccomp::architectures::X86_64_FAMILY;

/// How many random profiles are compared.
const PROFILES: u64 = 300;
/// The same with `RT_TESTS=all`.
const ALL_PROFILES: u64 = 10_000;

/// The numbers of calls that were compared.
#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    different: HashMap<Difference, usize>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.equal += other.equal;
        for (difference, count) in other.different {
            *self.different.entry(difference).or_default() += count;
        }
    }
}

/// Compares the filters for a profile. Both decide as the profile says, or libseccomp differs in a documented way.
fn compare(libseccomp: &mut Libseccomp, json: &Value) -> Tally {
    let mut tally = Tally::default();
    let profile = linux_seccomp(json);
    let reference = ReferenceProfile::new(&profile, X86_64_FAMILY);
    let calls = calls(&reference, X86_64_FAMILY);
    let mut subject = Subject {
        reference,
        unknown: Vec::new(),
    };
    let outcome = libseccomp.compile(json).map(|compiled| {
        subject.unknown = compiled.unknown;
        compiled.outcome
    });
    let ours = Seccomp::of(&profile, X86_64_FAMILY);
    let theirs = match outcome {
        Some(Outcome::Program(theirs)) => theirs,
        Some(Outcome::Refused(reason)) => {
            let explained = subject.can_be_refused(&calls);
            assert!(explained, "libseccomp: {reason}: {json}");
            return tally;
        }
        None => {
            let explained = subject.can_be_mixed_up();
            assert!(explained, "libseccomp does not end: {json}");
            return tally;
        }
    };
    let ours = match ours {
        Ok(ours) => ours.program,
        Err(error) if subject.names_unknown(&error.to_string()) => return tally,
        Err(error) => panic!("{error:#}: {json}"),
    };
    for call in &calls {
        let (ours, theirs) = (interpret(&ours, call), run(&theirs, call));
        let expected = subject.reference.return_value(call);
        assert_eq!(ours, expected, "{call:x?}: {json}");
        if ours == theirs.return_value {
            tally.equal += 1;
            continue;
        }
        let Some(difference) = subject.difference(call, ours, &theirs) else {
            let theirs = theirs.return_value;
            panic!("{ours:x}, and {theirs:x} of libseccomp: {call:x?}: {json}");
        };
        *tally.different.entry(difference).or_default() += 1;
    }
    tally
}

/// Compares random profiles on all processors.
fn compare_random(count: u64) -> Tally {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let work = |worker: usize| {
        let mut libseccomp = Libseccomp::start().unwrap();
        let mut tally = Tally::default();
        for i in (worker as u64..count).step_by(workers) {
            // The profile depends on its number only. No seed is zero.
            let mut random = Random((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            tally.add(compare(&mut libseccomp, &random.profile()));
        }
        tally
    };
    thread::scope(|scope| {
        let workers = (0..workers).map(|i| scope.spawn(move || work(i)));
        let workers: Vec<_> = workers.collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally.add(worker.join().expect("the worker has said why"));
        }
        tally
    })
}

#[test]
fn filters_decide_as_those_of_libseccomp() {
    let mut libseccomp = match Libseccomp::start() {
        Ok(libseccomp) => libseccomp,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    for profile in manager_profiles() {
        let tally = compare(&mut libseccomp, &profile);
        let others = tally
            .different
            .keys()
            .filter(|one| **one != Difference::Newer);
        assert_eq!(others.count(), 0, "{tally:?}: {profile}");
    }
    let all = std::env::var("RT_TESTS").as_deref() == Ok("all");
    let tally = compare_random(if all { ALL_PROFILES } else { PROFILES });
    // What is not of libseccomp's version occurs, and is the exception.
    let intended = [
        Difference::Newer,
        Difference::Multiplexed,
        Difference::Overlap,
    ];
    for difference in intended {
        assert!(tally.different.contains_key(&difference), "{tally:?}");
    }
    let different: usize = tally.different.values().sum();
    assert!(tally.equal > 4 * different, "{tally:?}");
}
