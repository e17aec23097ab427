//! What a profile says of each number of an architecture's calls.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Result, ensure};
use nix::libc;

use super::architectures::{Architecture, Door};
use super::profile::{Answer, Condition, Profile, Test};
use super::{LONGEST, too_long};

/// So many rules for the calls of an architecture are looked at. Rules that say the
/// same share instructions, but no real profile has as many as this.
const MOST: usize = 16 * LONGEST;

/// From an architecture that the profile does not list, as libseccomp has it.
pub(super) const FOREIGN: Answer = libc::SECCOMP_RET_KILL_THREAD;

/// For a call that is newer than the profile. Programs try new calls and go
/// back to old ones when they hear this, and only this.
const NEWER: Answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Answer(Answer),
    /// The answer of the first rule whose conditions all hold, else the default.
    Depends {
        rules: Vec<Rule>,
        /// As [`Architecture::wide`].
        wide: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: Answer,
}

/// Numbers with one verdict: from this one up to the next range's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) verdict: Verdict,
}

/// Every number of `architecture`, in order, and no two neighbours alike.
pub(super) fn ranges(profile: &Profile, architecture: &Architecture) -> Result<Vec<Range>> {
    let mut claims = claims(profile, architecture);
    claims.sort_by_key(|claim| claim.number); // Stable: the order of the profile stays.
    let newest = newest(profile, architecture, &claims);
    let default = || Verdict::Answer(profile.default);

    let mut ranges = Ranges::default();
    let mut next = architecture.first;
    for claims in claims.chunk_by(|a, b| a.number == b.number) {
        let number = claims[0].number;
        if next < number {
            ranges.push(next, default());
        }
        ranges.push(number, verdict(claims, architecture.wide)?);
        ensure!(ranges.rules <= MOST, too_long());
        next = number + 1;
    }
    match newest {
        Some(newest) if answers_newer(profile.default) => {
            if next <= newest {
                ranges.push(next, default());
            }
            ranges.push(newest + 1, Verdict::Answer(NEWER));
        }
        _ => ranges.push(next, default()),
    }
    Ok(ranges.ranges)
}

/// Whether calls beyond the profile's newest are said not to exist: not if they
/// are allowed anyway, or a tracer decides, who may know them.
fn answers_newer(default: Answer) -> bool {
    let action = default & libc::SECCOMP_RET_ACTION_FULL;
    ![
        libc::SECCOMP_RET_ALLOW,
        libc::SECCOMP_RET_LOG,
        libc::SECCOMP_RET_TRACE,
    ]
    .contains(&action)
}

/// The largest number that the profile has a name for, whatever it says of it.
/// `None` if it has none but that of the first call of all: then nobody thought
/// of this architecture.
fn newest(profile: &Profile, architecture: &Architecture, claims: &[Claim]) -> Option<u32> {
    let names = profile.entries.iter().flat_map(|entry| entry.names);
    let named = names.filter_map(|name| architecture.number(name));
    let claimed = claims.last().map(|claim| claim.number);
    named
        .chain(claimed)
        .max()
        .filter(|newest| *newest > architecture.first)
}

/// Ranges in the making.
#[derive(Default)]
struct Ranges {
    ranges: Vec<Range>,
    /// In all of them together.
    rules: usize,
}

impl Ranges {
    fn push(&mut self, first: u32, verdict: Verdict) {
        if self
            .ranges
            .last()
            .is_some_and(|last| last.verdict == verdict)
        {
            return;
        }
        if let Verdict::Depends { rules, .. } = &verdict {
            self.rules += rules.len();
        }
        self.ranges.push(Range { first, verdict });
    }
}

/// What an entry says of a number.
struct Claim<'a> {
    number: u32,
    /// The name that the number has in `linux.seccomp.syscalls[entry]`.
    name: &'a str,
    entry: usize,
    answer: Answer,
    /// One list is enough; none is needed if there is none.
    alternatives: Cow<'a, [Vec<Condition>]>,
}

/// In the order of the profile, then what it means for calls through cgroup_join.
fn claims<'a>(profile: &'a Profile, architecture: &Architecture) -> Vec<Claim<'a>> {
    let mut claims = Vec::new();
    let mut behind = Vec::new();
    for (entry, listed) in profile.entries.iter().enumerate() {
        // It says what is said without it. As in runc, it does not even count
        // against another entry.
        if listed.answer == profile.default {
            continue;
        }
        let claim = |number, name| Claim {
            number,
            name,
            entry,
            answer: listed.answer,
            alternatives: Cow::Borrowed(listed.alternatives.as_slice()),
        };
        for name in listed.names {
            if let Some(number) = architecture.number(name) {
                claims.push(claim(number, name.as_str()));
            }
            if let Some(door) = architecture.door(name) {
                pass(&mut behind, door, claim(0, name), profile.default);
            }
        }
    }
    claims.extend(
        behind
            .into_iter()
            .map(|(door, claim)| through(&door, claim)),
    );
    claims
}

/// Settles what an entry means for a call through a door. Behind it the call's
/// arguments lie in memory, where a filter cannot look: what depends on them is
/// denied if it could be, and not allowed because it could be.
fn pass<'a>(behind: &mut Vec<(Door, Claim<'a>)>, door: Door, claim: Claim<'a>, default: Answer) {
    let earlier = behind.iter_mut().find(|(other, _)| *other == door);
    let counts = |than| claim.alternatives.is_empty() || is_stricter(claim.answer, than);
    match earlier {
        None if counts(default) => behind.push((door, claim)),
        // As in `verdict`, nothing counts beside the first that is about all of it.
        Some((_, earlier)) if !earlier.alternatives.is_empty() && counts(earlier.answer) => {
            *earlier = claim;
        }
        None | Some(_) => {}
    }
}

fn through<'a>(door: &Door, claim: Claim<'a>) -> Claim<'a> {
    let test = Test::Masked {
        mask: door.mask,
        value: door.value,
    };
    Claim {
        number: door.number,
        alternatives: Cow::Owned(vec![vec![Condition { index: 0, test }]]),
        ..claim
    }
}

/// As the kernel orders actions: by their values, with a sign (seccomp(2)).
fn is_stricter(answer: Answer, than: Answer) -> bool {
    let action = |answer: Answer| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    action(answer) < action(than)
}

/// Of several entries for a call, the first that is about all of it counts, and
/// no other (so in libseccomp). If each is about some of it, they count in order.
fn verdict(claims: &[Claim], wide: bool) -> Result<Verdict> {
    if let Some(whole) = claims.iter().find(|claim| claim.alternatives.is_empty()) {
        return Ok(Verdict::Answer(whole.answer));
    }
    let mut rules: Vec<Rule> = Vec::new();
    let mut answers: HashMap<&[Condition], Answer> = HashMap::new();
    for claim in claims {
        for conditions in claim.alternatives.iter() {
            match answers.insert(conditions, claim.answer) {
                None => rules.push(Rule {
                    conditions: conditions.clone(),
                    answer: claim.answer,
                }),
                Some(earlier) => ensure!(
                    earlier == claim.answer,
                    "linux.seccomp.syscalls[{}]: an earlier entry has another action for {:?} with the same args",
                    claim.entry,
                    claim.name
                ),
            }
        }
        ensure!(rules.len() <= MOST, too_long());
    }
    Ok(Verdict::Depends { rules, wide })
}
