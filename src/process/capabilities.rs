//! The five capability sets (capabilities(7)).
//!
//! What the kernel would refuse is left out with a warning, as the specification
//! demands; nothing is ever added (CVE-2022-24769, CVE-2022-29162).

use std::collections::HashSet;
use std::fmt;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use oci_spec::runtime::LinuxCapabilities;

use crate::log;
use crate::step::{Progress, Step};
use crate::sys;

/// What the items of the step are about.
pub(super) const ITEMS: [(&str, &str); 3] = [
    ("process.capabilities", "set"),
    ("process.capabilities.ambient", "set"),
    (
        "linux.seccomp",
        "keep CAP_SYS_ADMIN until the filter is installed",
    ),
];
/// Among them, what a process without the capability fails at.
pub(super) const RESERVED: u16 = 2;

/// Every capability that has a name here, in the order of the numbers.
pub(crate) fn names() -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_by_key(|one| one.index());
    all.iter().map(ToString::to_string).collect()
}

/// `process.capabilities`; absent, every set is empty.
#[derive(Default)]
pub(super) struct Capabilities {
    bounding: CapsHashSet,
    inheritable: CapsHashSet,
    effective: CapsHashSet,
    permitted: CapsHashSet,
    ambient: CapsHashSet,
}

impl fmt::Debug for Capabilities {
    /// In the order of their numbers: a plan reads the same each time.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = |set: &CapsHashSet| -> Vec<String> {
            let mut all: Vec<_> = set.iter().collect();
            all.sort_by_key(|one| one.index());
            all.into_iter().map(ToString::to_string).collect()
        };
        f.debug_struct("Capabilities")
            .field("bounding", &names(&self.bounding))
            .field("inheritable", &names(&self.inheritable))
            .field("effective", &names(&self.effective))
            .field("permitted", &names(&self.permitted))
            .field("ambient", &names(&self.ambient))
            .finish()
    }
}

impl Capabilities {
    pub(super) fn plan(
        listed: Option<&LinuxCapabilities>,
        grantable: &CapsHashSet,
    ) -> Capabilities {
        let mut warnings = Vec::new();
        let planned = listed.map(|listed| choose(listed, grantable, &mut warnings));
        warnings.into_iter().for_each(log::warn_later);
        planned.unwrap_or_default()
    }

    /// Drops from the bounding set what is not listed, and what is too new for
    /// us to know its name. Before the change of user, which costs CAP_SETPCAP.
    pub(super) fn bound(&self) -> nix::Result<()> {
        let kept = bits(&self.bounding);
        for number in (0..u64::BITS).filter(|number| kept & (1 << number) == 0) {
            match sys::capbset_drop(number) {
                Err(Errno::EINVAL) => return Ok(()),
                dropped => dropped?,
            }
        }
        Ok(())
    }

    /// Whether the process can use `one`.
    pub(super) fn has(&self, one: Capability) -> bool {
        self.effective.contains(&one)
    }

    /// Sets the other four. What was ambient before goes with what was inheritable.
    /// `reserved` stays permitted beside them, but without effect.
    pub(super) fn apply(&self, reserved: Option<Capability>, at: &Progress) -> nix::Result<()> {
        let item = reserved.map_or(0, |_| RESERVED.into());
        at.at(Step::Capabilities, item);
        let reserved = reserved.map_or(0, |one| one.bitmask());
        let [effective, permitted, inheritable] = self.masks();
        sys::capset(effective, permitted | reserved, inheritable)?;
        at.at(Step::Capabilities, 1);
        if !self.inheritable.is_empty() {
            caps::clear(None, CapSet::Ambient).map_err(errno)?;
        }
        for &one in &self.ambient {
            caps::raise(None, CapSet::Ambient, one).map_err(errno)?;
        }
        Ok(())
    }

    /// Lets what [`Capabilities::apply`] reserved take effect.
    pub(super) fn use_reserved(&self, one: Capability) -> nix::Result<()> {
        let [effective, permitted, inheritable] = self.masks();
        let reserved = one.bitmask();
        sys::capset(effective | reserved, permitted | reserved, inheritable)
    }

    fn masks(&self) -> [u64; 3] {
        [&self.effective, &self.permitted, &self.inheritable].map(bits)
    }
}

fn bits(set: &CapsHashSet) -> u64 {
    set.iter().fold(0, |mask, one| mask | one.bitmask())
}

/// The crate keeps of the kernel's answer only a text; `errno` still has it.
fn errno(_: caps::errors::CapsError) -> Errno {
    Errno::last()
}

/// The sets, each without what the kernel would refuse, by the rules of capset(2)
/// and of prctl(2), PR_CAP_AMBIENT_RAISE.
fn choose(
    listed: &LinuxCapabilities,
    grantable: &CapsHashSet,
    warnings: &mut Vec<String>,
) -> Capabilities {
    let here = (grantable, "grantable here");
    let mut sift = |set, listed, limits: &[Limit]| sift(set, listed, limits, warnings);
    let bounding = sift("bounding", listed.bounding(), &[here]);
    let permitted = sift("permitted", listed.permitted(), &[here]);
    let within = (&permitted, "permitted");
    let effective = sift("effective", listed.effective(), &[here, within]);
    let bound = (&bounding, "in the bounding set");
    let inheritable = sift("inheritable", listed.inheritable(), &[here, bound]);
    let needed = [&permitted, &inheritable];
    let ambient = raise(listed.ambient(), grantable, needed, warnings);
    Capabilities {
        bounding,
        inheritable,
        effective,
        permitted,
        ambient,
    }
}

/// A set that holds all that may be chosen, and what the others are not.
type Limit<'a> = (&'a CapsHashSet, &'a str);

type Listed = Option<HashSet<oci_spec::runtime::Capability>>;

/// Those of a set that every limit holds, with one warning for all that a limit lacks.
fn sift(set: &str, listed: &Listed, limits: &[Limit], warnings: &mut Vec<String>) -> CapsHashSet {
    let mut names = sorted(listed);
    for (limit, not) in limits {
        let (within, left) = part(names, limit);
        names = within;
        if !left.is_empty() {
            let (left, verb) = (left.join(", "), if left.len() == 1 { "is" } else { "are" });
            warnings.push(format!(
                "process.capabilities.{set}: {left} {verb} not {not}: left out"
            ));
        }
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The ambient ones that can be raised. Buildah asks for a dozen that cannot,
/// each time: of the others one is named, in the words of runc.
fn raise(
    listed: &Listed,
    grantable: &CapsHashSet,
    [permitted, inheritable]: [&CapsHashSet; 2],
    warnings: &mut Vec<String>,
) -> CapsHashSet {
    let mut limit = grantable.clone();
    limit.retain(|one| permitted.contains(one) && inheritable.contains(one));
    let (within, left) = part(sorted(listed), &limit);
    if let [first, others @ ..] = left.as_slice() {
        let others = match others.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        warnings.push(format!(
            "can't raise ambient capability {first}{others}: operation not permitted"
        ));
    }
    within.iter().filter_map(|name| name.parse().ok()).collect()
}

fn sorted(listed: &Listed) -> Vec<String> {
    let names = listed.iter().flatten().map(|one| format!("CAP_{one}"));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// Those that `limit` holds, and the others.
fn part(names: Vec<String>, limit: &CapsHashSet) -> (Vec<String>, Vec<String>) {
    let held = |name: &String| name.parse().is_ok_and(|one| limit.contains(&one));
    names.into_iter().partition(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Capability = Capability::CAP_KILL;
    const CHOWN: Capability = Capability::CAP_CHOWN;

    fn chosen(json: &str, grantable: &[Capability]) -> (Capabilities, Vec<String>) {
        let mut warnings = Vec::new();
        let listed = serde_json::from_str(json).unwrap();
        let grantable = grantable.iter().copied().collect();
        (choose(&listed, &grantable, &mut warnings), warnings)
    }

    #[test]
    fn sets_are_exactly_as_listed() {
        let (sets, warnings) = chosen(
            r#"{"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}"#,
            &[KILL, CHOWN],
        );
        assert_eq!(warnings, [""; 0]);
        assert_eq!(sets.bounding, [KILL, CHOWN].into());
        assert_eq!(sets.permitted, [KILL, CHOWN].into());
        assert_eq!(sets.effective, [KILL].into());
        assert_eq!(sets.inheritable, [CHOWN].into());
        assert_eq!(sets.ambient, [CHOWN].into());
    }

    #[test]
    fn an_absent_set_is_empty() {
        let (sets, warnings) = chosen("{}", &[KILL]);
        assert!(warnings.is_empty() && sets.bounding.is_empty() && sets.inheritable.is_empty());
        assert!(
            Capabilities::plan(None, &[KILL].into())
                .permitted
                .is_empty()
        );
    }

    #[test]
    fn what_cannot_be_granted_is_left_out_with_a_warning() {
        let (sets, warnings) = chosen(
            r#"{"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_BPF"], "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL", "CAP_SYS_TIME"], "inheritable": ["CAP_SYS_TIME"],
                "ambient": ["CAP_KILL", "CAP_CHOWN"]}"#,
            &[KILL, Capability::CAP_SYS_TIME],
        );
        assert_eq!(sets.bounding, [KILL].into());
        assert_eq!(sets.effective, [KILL].into());
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        assert_eq!(
            warnings,
            [
                "process.capabilities.bounding: CAP_BPF, CAP_CHOWN are not grantable here: left out",
                "process.capabilities.effective: CAP_SYS_TIME is not permitted: left out",
                "process.capabilities.inheritable: CAP_SYS_TIME is not in the bounding set: left out",
                "can't raise ambient capability CAP_CHOWN and 1 more: operation not permitted",
            ]
        );
    }

    #[test]
    fn every_name_of_the_specification_is_known() {
        for one in caps::all() {
            let listed = format!(r#"{{"bounding": ["{one}"]}}"#);
            let (sets, warnings) = chosen(&listed, &[one]);
            assert_eq!(sets.bounding, [one].into(), "{warnings:?}");
        }
    }

    #[test]
    fn the_kernel_s_answer_outlives_the_crate_s_text() {
        // Ambient without inheritable: EPERM for everybody.
        caps::clear(None, CapSet::Inheritable).unwrap();
        assert_eq!(
            caps::raise(None, CapSet::Ambient, KILL).map_err(errno),
            Err(Errno::EPERM)
        );
    }
}
