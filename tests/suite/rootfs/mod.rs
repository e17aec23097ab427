//! The root file system: the container sees it as configured, and the host does not change.

mod binds;
mod copyup;
mod devices;
mod host_sources;
mod idmaps;
mod layers;
mod layers_kept;
mod links;
mod masks;
mod options;
mod order;
mod overlay;
mod places;
mod remount;
mod volumes;

pub(crate) use devices::DEFAULT_DEVICES;

use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        binds::tests(),
        copyup::tests(),
        devices::tests(),
        host_sources::tests(),
        idmaps::tests(),
        layers::tests(),
        layers_kept::tests(),
        links::tests(),
        masks::tests(),
        options::tests(),
        remount::tests(),
        order::tests(),
        overlay::tests(),
        places::tests(),
        volumes::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
