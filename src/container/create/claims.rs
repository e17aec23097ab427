//! What a new container takes on the host besides its cgroups, before its process exists. The state shows it.

use anyhow::Result;

use crate::container::state::{Container, State};
use crate::network::Reservation;
use crate::plan::Plan;
use crate::resctrl::OpenGroup;
use crate::rootfs::Content;
use crate::trusted_proc::Proc;

/// Looks at the groups of resctrl that the container asks for.
pub(super) fn open_groups(plan: &Plan, proc: &Proc) -> Result<Option<OpenGroup>> {
    let group = plan.resctrl.as_ref();
    group.map(|group| group.open(proc)).transpose()
}

/// Makes the missing groups of resctrl, and shows in the state which ones it has made.
pub(super) fn make_groups(
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
pub(super) fn take_lease(
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
