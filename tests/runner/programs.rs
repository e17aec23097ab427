//! Which programs the host has.

use std::env;
use std::path::PathBuf;

/// Where a program is: in a directory of PATH, or in one that only root's PATH contains.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let of_root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(of_root)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
