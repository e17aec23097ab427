//! What the tests share: bundles, the runtime under test, reports from inside, and the state of the host.
//!
//! ```ignore
//! let seen = Bundle::new().hostname("web").probe();
//! assert_eq!(seen["hostname"], "web");
//! ```

mod bundle;
mod call;
mod caller;
mod config;
mod container;
mod differences;
mod directory;
mod host;
mod host_state;
mod killed;
mod registry;
mod report;
mod runtime;
mod systemd;
mod worker;

pub(crate) use bundle::{Bundle, fill_rootfs};
pub(crate) use call::{Call, Outcome, Running};
pub(crate) use config::Config;
pub(crate) use container::Container;
pub(crate) use directory::Directory;
pub(crate) use host::{
    Holder, alive, blocks_in_poll, cgroup_of, cgroup_top, mountinfo, namespace_of, on_overlay,
    on_v2, owner_of_namespace, prepare, remove_cgroup, signal, stat, wait_gone, wait_until,
    withheld_capabilities,
};
pub(crate) use host_state::{HostState, tree};
pub(crate) use killed::{killed_everywhere, places_in};
pub(crate) use registry::{
    differs, is_the_matrix, needs, needs_strace, note_failures, only_in_the_matrix, only_rt,
    set_workers, skip, trial, trials,
};
#[allow(
    unused_imports,
    reason = "only the conformance tests have names that are no functions', known failures, and a page of results"
)]
pub(crate) use registry::{outcomes, test, violates};
pub(crate) use report::{Mount, Report};
pub(crate) use runtime::{Kind, Runtime, View, is_release_build};
pub(crate) use systemd::{CgroupLayout, SystemdHost};
#[allow(
    unused_imports,
    reason = "only the conformance tests look their own names up"
)]
pub(crate) use worker::names;
pub(crate) use worker::{is_worker, work};
