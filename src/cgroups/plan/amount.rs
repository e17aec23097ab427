//! The values that limits have.

/// A limit that may be "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Amount {
    Unlimited,
    Of(u64),
}

/// `linux.resources.cpu.idle`: an idle cgroup runs only when no other cgroup wants the CPU
/// (`SCHED_IDLE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Idle {
    No,
    Yes,
}
