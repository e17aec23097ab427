//! What `rt check` can find out about a plan without carrying it out.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::Error;

use super::Plan;

impl Plan {
    /// The errors for the root and the sources of mounts. `ids` is `None` for a caller who may not clone mounts.
    pub(crate) fn unopenable(&self, ids: Option<&BTreeMap<usize, Rc<OwnedFd>>>) -> Vec<Error> {
        let failures = self.rootfs.unopenable(ids).into_iter();
        let errors = failures.map(|failure| self.explain(failure));
        self.rootfs.unwirable().into_iter().chain(errors).collect()
    }

    /// The errors of init for sources in the root, the working directory and the executable.
    pub(crate) fn missing_in_root(&self) -> Vec<Error> {
        let Ok(root) = self.rootfs.unmounted() else {
            return Vec::new(); // `unopenable` says why.
        };
        let mut failures = self.rootfs.missing_in_root(&root);
        // A hook may add files before the executable is looked up.
        if !self.hooks.before_pivot() {
            failures.extend(self.process.unexecutable(|path| root.open(path)));
        }
        let failures = failures.into_iter();
        failures.map(|failure| self.explain(failure)).collect()
    }
}
