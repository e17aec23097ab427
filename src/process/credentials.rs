//! User, groups and umask of the process (credentials(7)).

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_keepcaps};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::step::{Progress, Step};
use crate::trusted_proc::Proc;

/// The umask when the configuration has none, as in runc and crun. With the caller's umask
/// a container would depend on who starts it.
const DEFAULT_UMASK: u32 = 0o022;

/// `process.user`. Ids are always numbers: names are never looked up (CVE-2016-3697).
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Groups,
    pub(super) umask: Mode,
}

/// The supplementary groups.
#[derive(Debug)]
pub(super) enum Groups {
    Listed(Vec<Gid>),
    /// Those of the caller (annotation `run.oci.keep_original_groups`).
    Inherited,
}

impl Credentials {
    pub(super) fn plan(user: &oci_spec::runtime::User, keeps_groups: bool) -> Result<Credentials> {
        let umask = user.umask().unwrap_or(DEFAULT_UMASK);
        ensure!(
            umask <= 0o777,
            "process.user.umask: {umask} is not between 0 and 511 (octal 777)"
        );
        let groups = user.additional_gids().as_deref().unwrap_or_default();
        let groups = groups
            .iter()
            .enumerate()
            .map(|(i, &group)| {
                id(group, || format!("process.user.additionalGids[{i}]")).map(Gid::from_raw)
            })
            .collect::<Result<_>>()?;
        Ok(Credentials {
            uid: Uid::from_raw(id(user.uid(), || "process.user.uid".to_owned())?),
            gid: Gid::from_raw(id(user.gid(), || "process.user.gid".to_owned())?),
            groups: if keeps_groups {
                Groups::Inherited
            } else {
                Groups::Listed(groups)
            },
            umask: Mode::from_bits_truncate(umask),
        })
    }

    /// Sets the ids. The permitted capabilities survive.
    ///
    /// Unless the configuration asks for the caller's groups, they are always replaced, if
    /// need be by an empty list: they may give access to files that the user must not read
    /// (CVE-2021-20199). The groups come first, because setgroups(2) needs CAP_SETGID.
    pub(super) fn apply(&self, proc: Option<&Proc>, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Groups);
        if let Groups::Listed(groups) = &self.groups {
            match setgroups(groups) {
                // In a user namespace that was created without privileges no process can drop
                // a group (user_namespaces(7)). The configuration lists no group either.
                Err(Errno::EPERM) if groups.is_empty() && setgroups_is_denied(proc)? => {}
                done => done?,
            }
        }
        at.enter(Step::Gid);
        setresgid(self.gid, self.gid, self.gid)?;
        at.enter(Step::Uid);
        if !self.uid.is_root() {
            // execve(2) clears the flag (prctl(2), PR_SET_KEEPCAPS).
            set_keepcaps(true)?;
        }
        setresuid(self.uid, self.uid, self.uid)?;
        if !self.is_root() {
            // A change of id sets the flag to fs.suid_dumpable, which may be 1 or 2.
            set_dumpable(false)?;
        }
        Ok(())
    }

    /// Whether uid and gid are 0, so that [`Credentials::apply`] changes neither.
    pub(super) fn is_root(&self) -> bool {
        self.uid.is_root() && self.gid.as_raw() == 0
    }

    /// `process.user.gid` and `additionalGids`, each with its place in config.json.
    pub(super) fn gids(&self) -> Vec<(String, u32)> {
        let groups = match &self.groups {
            Groups::Listed(groups) => groups.as_slice(),
            Groups::Inherited => &[],
        };
        let additional = groups.iter().enumerate();
        let additional =
            additional.map(|(i, gid)| (format!("process.user.additionalGids[{i}]"), gid.as_raw()));
        let primary = ("process.user.gid".to_owned(), self.gid.as_raw());
        [primary].into_iter().chain(additional).collect()
    }

    pub(super) fn keeps_groups(&self) -> bool {
        matches!(self.groups, Groups::Inherited)
    }

    pub(super) fn set_umask(&self) {
        umask(self.umask);
    }
}

/// Whether setgroups(2) is disabled in this user namespace.
fn setgroups_is_denied(proc: Option<&Proc>) -> nix::Result<bool> {
    match proc {
        Some(proc) => Ok(proc.read("self/setgroups")?.trim() == "deny"),
        None => Ok(false),
    }
}

/// Refuses `u32::MAX`, which means "do not change" to setresuid(2), and is not a valid id
/// elsewhere.
fn id(number: u32, place: impl Fn() -> String) -> Result<u32> {
    ensure!(
        number != u32::MAX,
        "{}: {number} is not between 0 and {}",
        place(),
        u32::MAX - 1
    );
    Ok(number)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{User, UserBuilder};

    use super::*;

    fn refused(user: User) -> String {
        Credentials::plan(&user, false).unwrap_err().to_string()
    }

    #[test]
    fn the_umask_has_a_default_and_a_limit() {
        let planned = Credentials::plan(&User::default(), false).unwrap();
        assert_eq!(planned.umask.bits(), 0o022);
        let error = refused(UserBuilder::default().umask(0o1000u32).build().unwrap());
        assert!(error.starts_with("process.user.umask: 512"), "{error}");
    }

    #[test]
    fn the_invalid_id_is_refused_everywhere() {
        let user = UserBuilder::default;
        let invalid = u32::MAX;
        let error = refused(user().uid(invalid).build().unwrap());
        assert_eq!(
            error,
            "process.user.uid: 4294967295 is not between 0 and 4294967294"
        );
        assert!(refused(user().gid(invalid).build().unwrap()).starts_with("process.user.gid: "));
        let error = refused(user().additional_gids(vec![7, invalid]).build().unwrap());
        assert!(
            error.starts_with("process.user.additionalGids[1]: "),
            "{error}"
        );
    }
}
