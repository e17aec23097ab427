//! Decides whether a container can do without a cgroup that the kernel refused.

use anyhow::{Error, Result};
use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::cgroups::plan::devices;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::planned::{HierarchyCgroup, Requirement, UnifiedCgroup};
use crate::log;

/// What a user needs for a limit.
const OF_USER: &str = "a user needs a delegated cgroup, as from \
                       systemd-run --user --scope --property=Delegate=yes";
/// The same for root of a user namespace, which may be that of an outer container.
const IN_USER_NAMESPACE: &str = "root of a user namespace needs a delegated cgroup: cgroup v2 mounted \
                                 \"rw\" in a container, or systemd-run --user --scope --property=Delegate=yes";

/// What in the configuration depends on a cgroup.
#[derive(Clone, Copy)]
pub(in crate::cgroups) struct Dependents {
    /// The field of one of the limits that the cgroup enforces.
    pub(in crate::cgroups) limit: Option<&'static str>,
    /// Whether the cgroup enforces device rules.
    pub(super) device_rules: bool,
}

impl Requirement {
    /// Returns `error` when the container can do without the cgroup: only the caller's
    /// privileges are missing, cgroups are not required, and no limit depends on this one.
    ///
    /// Device rules alone do not make a cgroup indispensable. Every configuration has some, and
    /// only root has to enforce them; root has then asked for `IfAllowed`. A warning says that
    /// they are not enforced.
    ///
    /// # Errors
    /// `error` itself in all other cases, with advice when a user has set a limit.
    pub(super) fn tolerate(self, error: Error, dependents: Dependents) -> Result<Error> {
        match (self, is_refusal(&error), dependents.limit) {
            (Requirement::IfAllowed, true, None) => {
                if dependents.device_rules {
                    log::defer_warning(format!(
                        "{}: not kept: {}",
                        devices::FIELD,
                        log::format_error(&error)
                    ));
                }
                Ok(error)
            }
            (Requirement::IfAllowed, true, Some(field)) => {
                let advice = if geteuid().is_root() {
                    IN_USER_NAMESPACE
                } else {
                    OF_USER
                };
                Err(error.context(format!("{field}: {advice}")))
            }
            _ => Err(error),
        }
    }
}

/// Whether only the caller's privileges are missing.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.root_cause().downcast_ref::<Errno>(),
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)
    )
}

/// Returns the refusal as an error when it leaves the container in no cgroup at all although
/// the configuration sets `linux.cgroupsPath`: that path is never ignored silently.
pub(super) fn fail_without_cgroups(
    path_is_configured: bool,
    has_cgroups: bool,
    refusal: Option<Error>,
) -> Result<()> {
    match refusal {
        Some(error) if path_is_configured && !has_cgroups => Err(error),
        Some(_) | None => Ok(()),
    }
}

impl HierarchyCgroup {
    pub(in crate::cgroups) fn dependents(&self) -> Dependents {
        let is_device_rule = |setting: &&Setting| setting.field == devices::FIELD;
        let mut limits = self.settings.iter().filter(|it| !is_device_rule(it));
        Dependents {
            limit: limits.next().map(|setting| setting.field),
            device_rules: self.settings.iter().any(|it| is_device_rule(&it)),
        }
    }

    /// The requirement for this cgroup, given the container's. The v2 hierarchy beside those of
    /// v1 limits nothing, so the container does without it where it is read-only, as with runc.
    pub(in crate::cgroups) fn requirement(&self, of_container: Requirement) -> Requirement {
        if self.is_unified() {
            Requirement::IfAllowed
        } else {
            of_container
        }
    }
}

impl UnifiedCgroup {
    pub(in crate::cgroups) fn dependents(&self) -> Dependents {
        Dependents {
            limit: self.settings.first().map(|setting| setting.field),
            device_rules: self.devices.is_some(),
        }
    }
}
