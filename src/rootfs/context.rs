//! What every step of building the root file system needs from init.

use std::os::fd::BorrowedFd;

use super::attributes::Setter;
use super::options::Propagation;
use super::root::Root;
use crate::step::Progress;
use crate::sys::CloseBatch;

/// What every mount of a container shares while init works.
pub(super) struct Stage<'a> {
    pub(super) root: &'a Root,
    pub(super) at: &'a Progress,
    pub(super) setter: Setter,
    /// The machine's /proc.
    pub(super) proc: BorrowedFd<'a>,
    /// The propagation that copies of the machine's mounts start with.
    pub(super) base: Propagation,
    pub(super) close_batch: &'a CloseBatch,
}
