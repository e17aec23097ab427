//! What `rt restore` is asked for.

use crate::container::checkpoint::CriuRequest;
use crate::container::create::request::Request;

/// The name of CRIU's log.
pub(super) const LOG: &str = "restore.log";

/// What to restore, and how.
pub(crate) struct RestoreRequest {
    pub(crate) common: CriuRequest,
    pub(crate) container: Request,
    /// `TYPE:NAME`, in place of the profile or label of config.json.
    pub(crate) lsm_profile: Option<String>,
    /// In place of `linux.mountLabel`.
    pub(crate) lsm_mount_context: Option<String>,
}
