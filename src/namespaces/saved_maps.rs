//! The id maps of a container, saved to read its files after its user namespace has ended.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::id_map::Map;
use super::idmappings::create_namespace;
use super::{Mapper, Maps, Namespaces};
use crate::trusted_proc::Proc;

/// Both maps in the form of /proc/PID/uid_map. The field names are keys of state.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedMaps {
    uids: String,
    gids: String,
}

impl Namespaces {
    /// The maps of a new user namespace. `None` if the container has none, or joins one.
    pub(crate) fn saved_maps(&self) -> Option<SavedMaps> {
        self.new_maps().map(|maps| SavedMaps {
            uids: maps.uids.lines(),
            gids: maps.gids.lines(),
        })
    }
}

impl SavedMaps {
    /// Creates a user namespace with the same maps.
    ///
    /// # Errors
    /// When the kernel or newuidmap(1) refuses a map.
    pub(crate) fn create_namespace(&self, mapper: Mapper, proc: &Proc) -> Result<OwnedFd> {
        let map = |text: &str| Map::parse(text).context("state.json: malformed id map");
        let maps = Maps::saved(map(&self.uids)?, map(&self.gids)?, mapper);
        create_namespace(&maps, proc)
    }
}
