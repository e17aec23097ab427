//! The capabilities that root needs for a step. Root of the host has them all, but root of a
//! container has those that its config.json lists, and a container can run `rt` itself.

use caps::Capability::{self, *};
use nix::errno::Errno;

use crate::host;
use crate::step::{Cause, Failure, Step};

/// For a process that is created in a cgroup of another user, to whom it was delegated.
const INTO_CGROUP: &[Capability] = &[CAP_DAC_OVERRIDE];

/// What may help where a filter, such as that of an outer container, refuses a system call.
const FILTERED: &str = "does the seccomp filter that rt runs under forbid the system call?";

/// The remedy when a step failed because this process lacks a capability. The step must not
/// be one of a process that has a user namespace of its own, and with it all capabilities there.
pub(super) fn missing_capability(Failure { step, cause, .. }: Failure) -> Option<String> {
    let Cause::Errno(errno) = cause else {
        return None;
    };
    let needed = match (step, errno) {
        (Step::Clone, Errno::EACCES) => INTO_CGROUP,
        _ => needed(step),
    };
    host::missing_capability(errno, needed)
}

/// The remedy when a filter may have refused a step that needs a capability.
pub(super) fn filter_hint(Failure { step, cause, .. }: Failure) -> Option<String> {
    let is_refusal = cause == Cause::Errno(Errno::EPERM);
    let may_be_filtered = is_refusal && !needed(step).is_empty() && host::is_filtered();
    may_be_filtered.then(|| FILTERED.to_owned())
}

/// The capabilities without which the kernel refuses a step with `EPERM`.
fn needed(step: Step) -> &'static [Capability] {
    match step {
        Step::Clone
        | Step::Unshare
        | Step::JoinNamespace
        | Step::OpenSource
        | Step::OpenDevice
        | Step::OpenDefaultDevice
        | Step::OpenNull
        | Step::Propagation
        | Step::Overlay
        | Step::Root
        | Step::Pivot
        | Step::Hostname
        | Step::Domainname
        | Step::Mount
        | Step::ReadonlyPath
        | Step::MaskedPath
        | Step::ReadonlyRoot
        | Step::RootPropagation => &[CAP_SYS_ADMIN],
        // setns(2) with a pidfd also needs the right to trace the process, which has other ids
        // or more capabilities than this one.
        Step::JoinContainer => &[CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SYS_PTRACE],
        Step::Loopback => &[CAP_NET_ADMIN],
        Step::Device | Step::DefaultDevice => &[CAP_MKNOD],
        Step::StandardIo => &[CAP_CHOWN],
        Step::BoundingSet => &[CAP_SETPCAP],
        Step::Groups | Step::Gid => &[CAP_SETGID],
        Step::Uid => &[CAP_SETUID],
        _ => &[],
    }
}
