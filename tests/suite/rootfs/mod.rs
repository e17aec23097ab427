//! The root file system: what the container sees, and that nothing of it appears outside.

mod binds;
mod copyup;
mod devices;
mod idmaps;
mod links;
mod machine;
mod masks;
mod options;
mod order;
mod overlay;
mod places;

pub(crate) use devices::DEFAULT_DEVICES;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [
        binds::tests(),
        copyup::tests(),
        devices::tests(),
        idmaps::tests(),
        links::tests(),
        machine::tests(),
        masks::tests(),
        options::tests(),
        order::tests(),
        overlay::tests(),
        places::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
