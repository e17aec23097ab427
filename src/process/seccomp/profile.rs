//! A profile: `linux.seccomp` with its words turned into numbers, and nothing
//! left to refuse.

use anyhow::{Result, bail, ensure};
use nix::libc;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::architectures::{Architecture, Family};

/// What a filter answers for a call: an action and its data (`SECCOMP_RET_*`).
pub(super) type Answer = u32;

/// The largest number that the kernel takes for an error (`MAX_ERRNO`).
const LARGEST_ERRNO: u32 = 4095;

/// The actions, what the kernel calls them, and the largest errno that goes with them.
pub(super) const ACTIONS: [(LinuxSeccompAction, Answer, Option<u32>); 8] = {
    use LinuxSeccompAction as Action;
    [
        (Action::ScmpActAllow, libc::SECCOMP_RET_ALLOW, None),
        (
            Action::ScmpActErrno,
            libc::SECCOMP_RET_ERRNO,
            Some(LARGEST_ERRNO),
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
        (
            Action::ScmpActTrace,
            libc::SECCOMP_RET_TRACE,
            Some(libc::SECCOMP_RET_DATA),
        ),
        (Action::ScmpActTrap, libc::SECCOMP_RET_TRAP, None),
    ]
};

/// All operators; [`Test`] has one for each.
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
    pub(super) test: Test,
}

/// Comparisons without sign, on the left the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// Of the argument, these bits have this value.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// `linux.seccomp`.
pub(super) struct Profile<'a> {
    /// For a call that no entry is about.
    pub(super) default: Answer,
    pub(super) architectures: Vec<&'static Architecture>,
    pub(super) entries: Vec<Entry<'a>>,
}

/// One of `linux.seccomp.syscalls`.
pub(super) struct Entry<'a> {
    pub(super) names: &'a [String],
    pub(super) answer: Answer,
    /// The entry is about a call when all conditions of one list hold. Without
    /// a list it is about every call of its names.
    pub(super) alternatives: Vec<Vec<Condition>>,
}

impl Profile<'_> {
    /// # Errors
    /// The first thing that means nothing, by its place in config.json.
    pub(super) fn plan<'a>(listed: &'a LinuxSeccomp, family: &Family) -> Result<Profile<'a>> {
        let default = answer(
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
        let answer = answer(
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
            answer,
            alternatives: alternatives(conditions),
        })
    }
}

/// All conditions of an entry must hold. Two on one argument are from a time
/// when each stood for itself, and are taken so still, as by runc.
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
        "{place}.index: {index} is more than 5: a system call has six arguments"
    );
    let test = match listed.op() {
        Operator::ScmpCmpEq => Test::Equal(value),
        Operator::ScmpCmpNe => Test::NotEqual(value),
        Operator::ScmpCmpLt => Test::Less(value),
        Operator::ScmpCmpLe => Test::LessOrEqual(value),
        Operator::ScmpCmpGt => Test::Greater(value),
        Operator::ScmpCmpGe => Test::GreaterOrEqual(value),
        Operator::ScmpCmpMaskedEq => Test::Masked {
            mask: value,
            value: listed.value_two().unwrap_or(0) & value,
        },
    };
    Ok(Condition {
        index: index as u32,
        test,
    })
}

fn answer(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    place: &str,
    errno_place: &str,
) -> Result<Answer> {
    let known = ACTIONS.iter().find(|(known, ..)| *known == action);
    let Some((_, answer, data)) = known else {
        bail!("{place}: {action}: not applied by this version");
    };
    let Some(largest) = *data else {
        ensure!(errno.is_none(), "{errno_place}: {action} has no errno");
        return Ok(*answer);
    };
    let errno = errno.unwrap_or(libc::EPERM as u32);
    ensure!(
        errno <= largest,
        "{errno_place}: {errno} is more than {largest}"
    );
    Ok(answer | errno)
}

/// The machine's own, as in libseccomp always, and those of the list that a
/// kernel here serves. By any other no call comes.
fn architectures(listed: Option<&[Arch]>, family: &Family) -> Vec<&'static Architecture> {
    let listed = listed.unwrap_or_default();
    let members = family.iter().enumerate();
    members
        .filter(|(i, (name, _))| *i == 0 || listed.contains(name))
        .map(|(_, (_, architecture))| *architecture)
        .collect()
}
