//! The five capability sets (capabilities(7)).
//!
//! A capability that the kernel would refuse is omitted with a warning, as the
//! specification requires. No capability is ever added (CVE-2022-24769, CVE-2022-29162).

use std::collections::HashSet;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use oci_spec::runtime::LinuxCapabilities;

use crate::log;
use crate::step::{Progress, Step};
use crate::sys;

/// Place in config.json and action for each item of [`Step::Capabilities`].
pub(super) const ITEMS: [(&str, &str); 3] = [
    ("process.capabilities", "set"),
    ("process.capabilities.ambient", "set"),
    (
        "linux.seccomp",
        "keep CAP_SYS_ADMIN until the filter is installed",
    ),
];
/// The item at which a process fails that may not keep the temporary capability.
pub(super) const TEMPORARY: u16 = 2;

/// The names of all capabilities that this version knows, ordered by number.
pub(crate) fn names() -> Vec<String> {
    names_of(&caps::all())
}

/// The names in a set, ordered by number.
pub(super) fn names_of(set: &CapsHashSet) -> Vec<String> {
    let mut all: Vec<_> = set.iter().collect();
    all.sort_by_key(|one| one.index());
    all.into_iter().map(ToString::to_string).collect()
}

/// `process.capabilities`. All sets are empty when it is absent.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    pub(super) bounding: CapsHashSet,
    pub(super) inheritable: CapsHashSet,
    pub(super) effective: CapsHashSet,
    pub(super) permitted: CapsHashSet,
    pub(super) ambient: CapsHashSet,
}

impl Capabilities {
    pub(super) fn plan(
        listed: Option<&LinuxCapabilities>,
        grantable: &CapsHashSet,
    ) -> Capabilities {
        let mut warnings = Vec::new();
        let planned = listed.map(|listed| supported(listed, grantable, &mut warnings));
        warnings.into_iter().for_each(log::defer_warning);
        planned.unwrap_or_default()
    }

    /// Drops every capability that is not listed from the bounding set, including those
    /// that are too new to have a name here. This needs CAP_SETPCAP, which the change of
    /// user takes away.
    pub(super) fn drop_bounding(&self) -> nix::Result<()> {
        let kept = bits(&self.bounding);
        for number in (0..u64::BITS).filter(|number| kept & (1 << number) == 0) {
            match sys::capbset_drop(number) {
                Err(Errno::EINVAL) => return Ok(()),
                dropped => dropped?,
            }
        }
        Ok(())
    }

    /// Whether `one` is in the effective set.
    pub(super) fn has(&self, one: Capability) -> bool {
        self.effective.contains(&one)
    }

    /// Sets the other four sets. `temporary` stays permitted, too, but is not effective.
    pub(super) fn apply(&self, temporary: Option<Capability>, at: &Progress) -> nix::Result<()> {
        let item = temporary.map_or(0, |_| TEMPORARY.into());
        at.at(Step::Capabilities, item);
        let temporary = temporary.map_or(0, |one| one.bitmask());
        // capset(2) also removes from the ambient set what is no longer inheritable.
        let [effective, permitted, inheritable] = self.masks();
        sys::capset(effective, permitted | temporary, inheritable)?;
        at.at(Step::Capabilities, 1);
        if !self.inheritable.is_empty() {
            caps::clear(None, CapSet::Ambient).map_err(errno)?;
        }
        for &one in &self.ambient {
            caps::raise(None, CapSet::Ambient, one).map_err(errno)?;
        }
        Ok(())
    }

    /// Makes the temporary capability of [`Capabilities::apply`] effective.
    pub(super) fn make_effective(&self, one: Capability) -> nix::Result<()> {
        let [effective, permitted, inheritable] = self.masks();
        let mask = one.bitmask();
        sys::capset(effective | mask, permitted | mask, inheritable)
    }

    fn masks(&self) -> [u64; 3] {
        [&self.effective, &self.permitted, &self.inheritable].map(bits)
    }
}

pub(super) fn bits(set: &CapsHashSet) -> u64 {
    set.iter().fold(0, |mask, one| mask | one.bitmask())
}

/// The caps crate turns the error number into text; the thread's `errno` still holds it.
fn errno(_: caps::errors::CapsError) -> Errno {
    Errno::last()
}

/// Removes from each set what the kernel would refuse, by the rules of capset(2) and of
/// prctl(2), PR_CAP_AMBIENT_RAISE.
fn supported(
    listed: &LinuxCapabilities,
    grantable: &CapsHashSet,
    warnings: &mut Vec<String>,
) -> Capabilities {
    let grantable_here = (grantable, "grantable here");
    let mut retain = |set, listed, limits: &[Limit]| retain_within(set, listed, limits, warnings);
    let bounding = retain("bounding", listed.bounding(), &[grantable_here]);
    let permitted = retain("permitted", listed.permitted(), &[grantable_here]);
    let in_permitted = (&permitted, "permitted");
    let effective = retain(
        "effective",
        listed.effective(),
        &[grantable_here, in_permitted],
    );
    let in_bounding = (&bounding, "in the bounding set");
    let inheritable = retain(
        "inheritable",
        listed.inheritable(),
        &[grantable_here, in_bounding],
    );
    let needed = [&permitted, &inheritable];
    let ambient = retain_ambient(listed.ambient(), grantable, needed, warnings);
    Capabilities {
        bounding,
        inheritable,
        effective,
        permitted,
        ambient,
    }
}

/// A set of allowed capabilities, and its name for the warning about the others: they are
/// "not permitted".
type Limit<'a> = (&'a CapsHashSet, &'a str);

type Listed = Option<HashSet<oci_spec::runtime::Capability>>;

/// The listed capabilities that are in every limit. One warning per limit names all that
/// are not.
fn retain_within(
    set: &str,
    listed: &Listed,
    limits: &[Limit],
    warnings: &mut Vec<String>,
) -> CapsHashSet {
    let mut names = sorted(listed);
    for (limit, limit_name) in limits {
        let (within, omitted) = partition(names, limit);
        names = within;
        if !omitted.is_empty() {
            let verb = if omitted.len() == 1 { "is" } else { "are" };
            let omitted = omitted.join(", ");
            warnings.push(format!(
                "process.capabilities.{set}: {omitted} {verb} not {limit_name}: left out"
            ));
        }
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The listed ambient capabilities that can be raised. One warning, whose text is runc's, names
/// all others: Buildah always lists a dozen.
fn retain_ambient(
    listed: &Listed,
    grantable: &CapsHashSet,
    [permitted, inheritable]: [&CapsHashSet; 2],
    warnings: &mut Vec<String>,
) -> CapsHashSet {
    let mut limit = grantable.clone();
    limit.retain(|one| permitted.contains(one) && inheritable.contains(one));
    let (within, omitted) = partition(sorted(listed), &limit);
    if !omitted.is_empty() {
        let omitted = omitted.join(", ");
        warnings.push(format!(
            "can't raise ambient capability {omitted}: operation not permitted"
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

/// Splits the names into those that are in `limit`, and the others.
fn partition(names: Vec<String>, limit: &CapsHashSet) -> (Vec<String>, Vec<String>) {
    let is_within = |name: &String| name.parse().is_ok_and(|one| limit.contains(&one));
    names.into_iter().partition(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Capability = Capability::CAP_KILL;
    const CHOWN: Capability = Capability::CAP_CHOWN;

    fn supported_sets(json: &str, grantable: &[Capability]) -> (Capabilities, Vec<String>) {
        let mut warnings = Vec::new();
        let listed = serde_json::from_str(json).unwrap();
        let grantable = grantable.iter().copied().collect();
        (supported(&listed, &grantable, &mut warnings), warnings)
    }

    #[test]
    fn sets_are_exactly_as_listed() {
        let (sets, warnings) = supported_sets(
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
        let (sets, warnings) = supported_sets("{}", &[KILL]);
        assert!(warnings.is_empty() && sets.bounding.is_empty() && sets.inheritable.is_empty());
        assert!(
            Capabilities::plan(None, &[KILL].into())
                .permitted
                .is_empty()
        );
    }

    #[test]
    fn a_capability_that_cannot_be_granted_is_omitted_with_a_warning() {
        let (sets, warnings) = supported_sets(
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
                "can't raise ambient capability CAP_CHOWN, CAP_KILL: operation not permitted",
            ]
        );
    }

    #[test]
    fn every_name_of_the_specification_is_known() {
        for one in caps::all() {
            let listed = format!(r#"{{"bounding": ["{one}"]}}"#);
            let (sets, warnings) = supported_sets(&listed, &[one]);
            assert_eq!(sets.bounding, [one].into(), "{warnings:?}");
        }
    }

    #[test]
    fn the_errno_of_a_failed_call_of_the_crate_is_known() {
        // A capability that is not inheritable cannot be raised, not even by root.
        caps::clear(None, CapSet::Inheritable).unwrap();
        assert_eq!(
            caps::raise(None, CapSet::Ambient, KILL).map_err(errno),
            Err(Errno::EPERM)
        );
    }
}
