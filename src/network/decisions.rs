//! The decisions about the network, as text.

use super::settings::Network;
use crate::decisions::Decisions;

impl Network {
    /// Adds what is made, one decision a line.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        self.nat.decisions(to);
        self.files.decisions(to);
    }
}
