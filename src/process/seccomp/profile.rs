//! The validated profile: `linux.seccomp` with names turned into numbers.

use anyhow::{Result, bail, ensure};
use nix::libc;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::architectures::{Architecture, Family};

/// The value that a filter returns: an action and its data (`SECCOMP_RET_*`, seccomp(2)).
pub(super) type ReturnValue = u32;

/// The largest errno of the kernel (linux/err.h).
const MAX_ERRNO: u32 = 4095;

/// Each action, its `SECCOMP_RET_*` value, and the largest data that it takes, if any.
pub(super) const ACTIONS: [(LinuxSeccompAction, ReturnValue, Option<u32>); 9] = {
    use LinuxSeccompAction as Action;
    [
        (Action::ScmpActAllow, libc::SECCOMP_RET_ALLOW, None),
        (
            Action::ScmpActErrno,
            libc::SECCOMP_RET_ERRNO,
            Some(MAX_ERRNO),
        ),
        (Action::ScmpActKill, libc::SECCOMP_RET_KILL_THREAD, None),
        (
            Action::ScmpActKillProcess,
            libc::SECCOMP_RET_KILL_PROCESS,
            None,
        ),
        (
            Action::ScmpActKillThread,
            libc::SECCOMP_RET_KILL_THREAD,
            None,
        ),
        (Action::ScmpActLog, libc::SECCOMP_RET_LOG, None),
        (Action::ScmpActNotify, libc::SECCOMP_RET_USER_NOTIF, None),
        (
            Action::ScmpActTrace,
            libc::SECCOMP_RET_TRACE,
            Some(libc::SECCOMP_RET_DATA),
        ),
        (Action::ScmpActTrap, libc::SECCOMP_RET_TRAP, None),
    ]
};

/// All operators; [`Comparison`] has one for each.
pub(super) const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
    LinuxSeccompOperator::ScmpCmpNe,
];

/// A condition on one argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    /// Which argument: 0 to 5.
    pub(super) index: u32,
    pub(super) comparison: Comparison,
}

/// An unsigned comparison of the argument with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// `argument & mask == value`.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// `linux.seccomp`.
pub(super) struct Profile<'a> {
    /// For a system call to which no entry applies.
    pub(super) default: ReturnValue,
    pub(super) architectures: Vec<&'static Architecture>,
    pub(super) entries: Vec<Entry<'a>>,
}

/// One of `linux.seccomp.syscalls`.
pub(super) struct Entry<'a> {
    pub(super) names: &'a [String],
    pub(super) return_value: ReturnValue,
    /// The entry applies when all conditions of one of these lists hold. Without a list it
    /// always applies.
    pub(super) alternatives: Vec<Vec<Condition>>,
}

impl Profile<'_> {
    /// # Errors
    /// For the first invalid value, with its place in config.json.
    pub(super) fn plan<'a>(listed: &'a LinuxSeccomp, family: &Family) -> Result<Profile<'a>> {
        let default = return_value(
            listed.default_action(),
            listed.default_errno_ret(),
            "linux.seccomp.defaultAction",
            "linux.seccomp.defaultErrnoRet",
        )?;
        let syscalls = listed.syscalls().as_deref().unwrap_or_default();
        let entries = syscalls.iter().enumerate();
        Ok(Profile {
            default,
            architectures: architectures(listed.architectures().as_deref(), family),
            entries: entries
                .map(|(i, entry)| Entry::plan(entry, &format!("linux.seccomp.syscalls[{i}]")))
                .collect::<Result<_>>()?,
        })
    }
}

impl Entry<'_> {
    fn plan<'a>(listed: &'a LinuxSyscall, place: &str) -> Result<Entry<'a>> {
        let names = listed.names();
        ensure!(
            !names.is_empty(),
            "{place}.names: at least one entry is required"
        );
        if let Some(i) = names.iter().position(String::is_empty) {
            bail!("{place}.names[{i}]: must not be empty");
        }
        let return_value = return_value(
            listed.action(),
            listed.errno_ret(),
            &format!("{place}.action"),
            &format!("{place}.errnoRet"),
        )?;
        let args = listed.args().as_deref().unwrap_or_default();
        let mut conditions = args
            .iter()
            .enumerate()
            .map(|(i, arg)| condition(arg, &format!("{place}.args[{i}]")))
            .collect::<Result<Vec<_>>>()?;
        conditions.sort_by_key(|one| one.index);
        Ok(Entry {
            names,
            return_value,
            alternatives: alternatives(conditions),
        })
    }
}

/// All conditions of an entry must hold, unless two of them are on the same argument: then
/// each is an alternative, for compatibility with old profiles, as in runc.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let of = |index| conditions.iter().filter(|one| one.index == index).count();
    if conditions.is_empty() {
        Vec::new()
    } else if (0..6).any(|index| of(index) > 1) {
        conditions.into_iter().map(|one| vec![one]).collect()
    } else {
        vec![conditions]
    }
}

fn condition(listed: &LinuxSeccompArg, place: &str) -> Result<Condition> {
    use LinuxSeccompOperator as Operator;
    let (index, value) = (listed.index(), listed.value());
    ensure!(
        index < 6,
        "{place}.index: {index} is not between 0 and 5: a system call has six arguments"
    );
    let comparison = match listed.op() {
        Operator::ScmpCmpEq => Comparison::Equal(value),
        Operator::ScmpCmpNe => Comparison::NotEqual(value),
        Operator::ScmpCmpLt => Comparison::Less(value),
        Operator::ScmpCmpLe => Comparison::LessOrEqual(value),
        Operator::ScmpCmpGt => Comparison::Greater(value),
        Operator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        Operator::ScmpCmpMaskedEq => Comparison::Masked {
            mask: value,
            value: listed.value_two().unwrap_or(0) & value,
        },
    };
    Ok(Condition {
        index: index as u32,
        comparison,
    })
}

fn return_value(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    place: &str,
    errno_place: &str,
) -> Result<ReturnValue> {
    let known = ACTIONS.iter().find(|(known, ..)| *known == action);
    let Some((_, return_value, data)) = known else {
        bail!("{place}: {action}: unknown action");
    };
    let Some(largest) = *data else {
        ensure!(
            errno.is_none(),
            "{errno_place}: {action} has no errno; remove it"
        );
        return Ok(*return_value);
    };
    let errno = errno.unwrap_or(libc::EPERM as u32);
    ensure!(
        errno <= largest,
        "{errno_place}: {errno} is not between 0 and {largest}"
    );
    Ok(return_value | errno)
}

/// The host's own architecture, as always in libseccomp, and those of the list that its kernel
/// supports. No system call can come from any other.
fn architectures(listed: Option<&[Arch]>, family: &Family) -> Vec<&'static Architecture> {
    let listed = listed.unwrap_or_default();
    let members = family.iter().enumerate();
    members
        .filter(|(i, (name, _))| *i == 0 || listed.contains(name))
        .map(|(_, (_, architecture))| *architecture)
        .collect()
}
