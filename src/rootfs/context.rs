//! What the steps that build the root file system share.

use std::os::fd::BorrowedFd;

use super::attributes::Setter;
use super::options::Propagation;
use super::root::Root;
use crate::selinux::Label;
use crate::step::Progress;
use crate::sys::CloseBatch;

/// The root that init builds, and how it mounts there.
pub(super) struct MountContext<'a> {
    pub(super) root: &'a Root,
    pub(super) progress: &'a Progress,
    pub(super) setter: Setter,
    /// The host's /proc.
    pub(super) proc: BorrowedFd<'a>,
    /// The propagation type that bind mounts of host directories get by default.
    pub(super) default_propagation: Propagation,
    /// `linux.mountLabel`, for the mounts that are not in `mounts`.
    pub(super) label: Option<&'a Label>,
    pub(super) close_batch: &'a CloseBatch,
}
