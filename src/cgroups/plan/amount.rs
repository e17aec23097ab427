//! The values of limits.

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Amount {
    Unlimited,
    Of(u64),
}

/// `linux.resources.cpu.idle`: scheduled only when nobody else wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Idle {
    No,
    Yes,
}
