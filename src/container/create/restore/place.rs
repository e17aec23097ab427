//! Where the mounts of the host are staged for CRIU.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::container::state::Container;
use crate::namespaces::{Kind, Place};
use crate::plan::Plan;

/// The directory over which they are mounted: that of the container. In a user namespace CRIU looks
/// there as a user without rights on the host, whom no directory above may keep out; the first that
/// does takes its place.
pub(super) fn of_mounts(plan: &Plan, container: &Container) -> PathBuf {
    let path = container.path();
    if *plan.namespaces.place(Kind::User) == Place::Shared {
        return path;
    }
    let is_closed = |directory: &&Path| {
        let mode = directory.metadata().map(|metadata| metadata.mode());
        mode.is_ok_and(|mode| mode & libc::S_IXOTH == 0)
    };
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    let closed = above.into_iter().find(is_closed).map(Path::to_owned);
    closed.unwrap_or(path)
}
