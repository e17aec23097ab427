//! Refusals.

use anyhow::{Error, Result};
use nix::errno::Errno;

use crate::cgroups::plan::devices;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::planned::{Branch, Need, Unified};
use crate::log;

/// What a cgroup is for.
#[derive(Clone, Copy)]
pub(super) struct Duty {
    /// Where a limit comes from that it has to keep.
    pub(super) limit: Option<&'static str>,
    /// It keeps the rules for devices.
    pub(super) devices: bool,
}

impl Need {
    /// Gives back an error that can be lived with: there are none but a user's
    /// rights in the way, and no limit that somebody has asked for. Rules for
    /// devices are in every configuration: root, who alone has to keep any, has
    /// said that it can be without.
    pub(super) fn judge(self, error: Error, duty: Duty) -> Result<Error> {
        let refused = matches!(
            error.downcast_ref::<Errno>(),
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)
        );
        match (self, refused, duty.limit) {
            (Need::WhereAllowed, true, None) => {
                if duty.devices {
                    log::warn_later(format!(
                        "{}: not kept: {}",
                        devices::PLACE,
                        log::sentence(&error)
                    ));
                }
                Ok(error)
            }
            (Need::WhereAllowed, true, Some(place)) => Err(error.context(format!(
                "{place}: a user needs a cgroup that is handed over, as by \
                     systemd-run --user --scope --property=Delegate=yes"
            ))),
            _ => Err(error),
        }
    }
}

/// The place that the configuration names would be passed over in silence.
pub(super) fn refuse_if_nowhere(nowhere: bool, refused: Option<Error>) -> Result<()> {
    match refused {
        Some(error) if nowhere => Err(error),
        Some(_) | None => Ok(()),
    }
}

impl Branch {
    pub(super) fn duty(&self) -> Duty {
        let rule = |setting: &&Setting| setting.place == devices::PLACE;
        let limit = self.settings.iter().find(|setting| !rule(setting));
        Duty {
            limit: limit.map(|setting| setting.place),
            devices: self.settings.iter().any(|setting| rule(&setting)),
        }
    }

    /// Beside version 1 nothing is limited in version 2: where it must not be
    /// changed, as with runc, the container does without.
    pub(super) fn need(&self, need: Need) -> Need {
        match self.is_unified() {
            true => Need::WhereAllowed,
            false => need,
        }
    }
}

impl Unified {
    pub(super) fn duty(&self) -> Duty {
        Duty {
            limit: self.settings.first().map(|setting| setting.place),
            devices: self.program.is_some(),
        }
    }
}
