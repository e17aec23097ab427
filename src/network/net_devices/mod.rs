//! Network devices of the host that move into the container's network namespace (`linux.netDevices`; config-linux.md,
//! "Network Devices").
//!
//! [`NetDevices::plan`] checks the names. `wire` moves the devices while init waits. Until the container's process is
//! executed, [`MovedDevices`] can give them back to the host as they were: the kernel would destroy a virtual device
//! with the namespace, and would return a physical one without its name, addresses and routes. After that, the runtime
//! has no part in them: it "MUST NOT attempt to move the interface out of the namespace before deletion" (same section,
//! "Namespace Lifecycle and Container Termination").
//!
//! A container without this field has no [`NetDevices`], and costs no system call.

mod link;
mod plan;
mod wire;

pub(crate) use plan::NetDevices;
pub(crate) use wire::MovedDevices;
