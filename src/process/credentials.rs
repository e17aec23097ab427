//! Who the process is: user, groups, and the mode of the files it makes.

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_keepcaps};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::step::{Progress, Step};
use crate::trusted_proc::Proc;

/// What runc and crun give when the configuration names no umask; the caller's
/// own would make a container depend on who starts it.
const DEFAULT_UMASK: u32 = 0o022;

/// `process.user`. Numbers only: no name is ever looked up (CVE-2016-3697).
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    groups: Groups,
    umask: Mode,
}

/// The additional ones.
#[derive(Debug)]
enum Groups {
    These(Vec<Gid>),
    /// Whatever the caller has (annotation `run.oci.keep_original_groups`).
    Callers,
}

impl Credentials {
    pub(super) fn plan(user: &oci_spec::runtime::User, keeps_groups: bool) -> Result<Credentials> {
        let umask = user.umask().unwrap_or(DEFAULT_UMASK);
        ensure!(
            umask <= 0o777,
            "process.user.umask: {umask} is more than 511 (octal 777)"
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
            groups: match keeps_groups {
                true => Groups::Callers,
                false => Groups::These(groups),
            },
            umask: Mode::from_bits_truncate(umask),
        })
    }

    /// Becomes the user; the permitted capabilities stay, to choose from.
    ///
    /// Groups are always set, if to none, unless the configuration wants the
    /// caller's: they may open what the user must not (CVE-2021-20199 and its
    /// kind). Before the ids, which are the right to set them.
    pub(super) fn assume(&self, proc: Option<&Proc>, at: &Progress) -> nix::Result<()> {
        at.enter(Step::Groups);
        if let Groups::These(groups) = &self.groups {
            match setgroups(groups) {
                // In a user namespace made without privileges nobody can give up
                // a group, and none was asked for (user_namespaces(7)).
                Err(Errno::EPERM) if groups.is_empty() && are_denied(proc)? => {}
                done => done?,
            }
        }
        at.enter(Step::Gid);
        setresgid(self.gid, self.gid, self.gid)?;
        at.enter(Step::Uid);
        if !self.uid.is_root() {
            // execve(2) takes the flag back (prctl(2), PR_SET_KEEPCAPS).
            set_keepcaps(true)?;
        }
        setresuid(self.uid, self.uid, self.uid)?;
        if !self.are_roots() {
            // With another id comes what fs.suid_dumpable says.
            set_dumpable(false)?;
        }
        Ok(())
    }

    /// Whether its ids are those that init has before.
    pub(super) fn are_roots(&self) -> bool {
        self.uid.is_root() && self.gid.as_raw() == 0
    }

    /// Every group, with its place in config.json.
    pub(super) fn gids(&self) -> Vec<(String, u32)> {
        let groups = match &self.groups {
            Groups::These(groups) => groups.as_slice(),
            Groups::Callers => &[],
        };
        let more = groups.iter().enumerate();
        let more = more.map(|(i, gid)| (format!("process.user.additionalGids[{i}]"), gid.as_raw()));
        let own = ("process.user.gid".to_owned(), self.gid.as_raw());
        [own].into_iter().chain(more).collect()
    }

    pub(super) fn keeps_groups(&self) -> bool {
        matches!(self.groups, Groups::Callers)
    }

    /// Sets the umask, which cannot fail.
    pub(super) fn set_umask(&self) {
        umask(self.umask);
    }
}

/// Whether this user namespace lets nobody set groups.
fn are_denied(proc: Option<&Proc>) -> nix::Result<bool> {
    match proc {
        Some(proc) => Ok(proc.read("self/setgroups")?.trim() == "deny"),
        None => Ok(false),
    }
}

/// `u32::MAX` means "leave as it is" to setresuid(2), and nobody to the rest.
fn id(number: u32, place: impl Fn() -> String) -> Result<u32> {
    ensure!(number != u32::MAX, "{}: {number} is no valid id", place());
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
    fn the_id_that_means_none_is_refused_everywhere() {
        let user = UserBuilder::default;
        let none = u32::MAX;
        let error = refused(user().uid(none).build().unwrap());
        assert_eq!(error, "process.user.uid: 4294967295 is no valid id");
        assert!(refused(user().gid(none).build().unwrap()).starts_with("process.user.gid: "));
        let error = refused(user().additional_gids(vec![7, none]).build().unwrap());
        assert!(
            error.starts_with("process.user.additionalGids[1]: "),
            "{error}"
        );
    }
}
