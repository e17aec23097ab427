//! What a new container takes on the host before its process exists. The state shows it.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;

use super::request::{Request, initial_state};
use super::{Rollback, upper};
use crate::container::ipc;
use crate::container::state::{Container, State};
use crate::host::Host;
use crate::network::Reservation;
use crate::plan::Plan;
use crate::resctrl::OpenGroup;
use crate::rootfs::Content;
use crate::trusted_proc::Proc;

/// What a container has on the host, beside what the [`Rollback`] holds.
pub(super) struct Claims {
    pub(super) state: State,
    pub(super) lease: Option<Reservation>,
    /// The files that name its addresses.
    pub(super) files: Vec<Content>,
}

/// Makes the container's directory, its cgroups and all else that it has on the host.
pub(super) fn claim(
    root: &Path,
    request: &Request,
    (plan, host): (&Plan, &Host),
    rollback: &mut Rollback,
    proc: &Proc,
) -> Result<Claims> {
    let resctrl = open_groups(plan, proc)?;
    // The state names cgroups and groups before they exist, so that `rt delete` can always find them.
    let initial_state = || initial_state(request, (plan, resctrl.as_ref()), host, proc);
    let (container, mut state) = Container::new(root, &request.id, initial_state)?;
    let container = rollback.container.insert(container);
    // Addresses and ports are known before the clone, the links are made after it.
    let (lease, files) = take_lease(plan, container, &mut state, &mut rollback.network, proc)?;
    ipc::make_notify_directory(container.as_fd(), request.notify_socket.as_ref())?;
    rollback.cgroups = Some(plan.cgroups.wire()?);
    make_groups(plan, resctrl, &mut rollback.resctrl, &mut state)?;
    plan.rootfs.wire(&mut rollback.directories)?;
    upper::refuse_shared(container, &state, proc)?;
    Ok(Claims {
        state,
        lease,
        files,
    })
}

/// Looks at the groups of resctrl that the container asks for.
fn open_groups(plan: &Plan, proc: &Proc) -> Result<Option<OpenGroup>> {
    let group = plan.resctrl.as_ref();
    group.map(|group| group.open(proc)).transpose()
}

/// Makes the missing groups of resctrl, and shows in the state which ones it has made.
fn make_groups(
    plan: &Plan,
    open: Option<OpenGroup>,
    rollback: &mut Option<OpenGroup>,
    state: &mut State,
) -> Result<()> {
    if let (Some(group), Some(open)) = (&plan.resctrl, open) {
        let open = rollback.insert(open);
        group.wire(open)?;
        state.resctrl = Some(open.record().clone());
    }
    Ok(())
}

/// Takes the addresses and ports of a container with a network, and shows them in its state. Also
/// returns the files that name them.
fn take_lease(
    plan: &Plan,
    container: &Container,
    state: &mut State,
    bridge: &mut Option<String>,
    proc: &Proc,
) -> Result<(Option<Reservation>, Vec<Content>)> {
    let Some(network) = &plan.network else {
        return Ok((None, Vec::new()));
    };
    *bridge = Some(network.bridge.clone());
    let reservation = network.lease(container.owner(), &state.boot_id, proc)?;
    let assigned = reservation.lease.annotations();
    (state.annotations).extend(assigned.map(|(key, value)| (key.to_owned(), value)));
    let files = network.files.contents(&reservation.lease);
    Ok((Some(reservation), files))
}
