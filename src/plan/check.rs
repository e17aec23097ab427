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
        failures.map(|failure| self.explain(failure)).collect()
    }

    /// The error for the working directory or the executable.
    pub(crate) fn unexecutable(&self) -> Option<Error> {
        // A hook may add files before the executable is looked up.
        if self.hooks.before_pivot() {
            return None;
        }
        let root = self.rootfs.unmounted().ok()?;
        let failure = self.process.unexecutable(|path| root.open(path))?;
        Some(self.explain(failure))
    }
}
