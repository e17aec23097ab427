//! `rt check`: finds out what `rt create` would refuse, and changes nothing.
//!
//! It takes the steps of `create.rs` in the same order, by the same functions, as far as they only read. Each
//! of the other steps has a counterpart here that looks at what the step needs.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Error, Result};
use nix::unistd::Pid;

use super::create::{CreateMode, PLACEHOLDER, Request, decide};
use super::state::{boot_id, check_writable_root};
use crate::host::{Host, try_user_namespace};
use crate::namespaces::{Kind, Place};
use crate::network::Owner;
use crate::plan::Plan;
use crate::step::{Failure, Step};
use crate::trusted_proc::Proc;

/// A container that is planned and is not going to be made.
pub(crate) struct Check {
    plan: Plan,
    host: Host,
    proc: Proc,
    root: PathBuf,
}

impl Check {
    /// Plans the container of a request, as `rt create` does.
    ///
    /// # Errors
    /// As for `rt create`: the first part of the configuration that cannot be applied.
    pub(crate) fn plan(root: &Path, request: &Request) -> Result<Check> {
        let proc = Proc::open().context("/proc")?;
        let host = Host::probe(&proc)?;
        let plan = decide(root, request, CreateMode::Create, &host, &proc)?;
        Ok(Check {
            plan,
            host,
            proc,
            root: root.to_owned(),
        })
    }

    /// Why `rt create` would not carry out the plan, as far as that can be found out. The first is the error of
    /// `rt create`. Warnings are deferred, as there.
    pub(crate) fn refusals(&self) -> Vec<Error> {
        let Check { plan, root, .. } = self;
        let mut refusals = plan.namespaces.unjoinable();
        refusals.extend(check_writable_root(root).err());
        refusals.extend(self.refused_network());
        refusals.extend(self.refused_net_devices());
        refusals.extend(plan.cgroups.check().err());
        let resctrl = plan.resctrl.as_ref();
        refusals.extend(resctrl.and_then(|group| group.open(&self.proc).err()));
        match self.user_namespaces() {
            Ok(ids) => refusals.extend(plan.unopenable(ids.as_ref())),
            Err(error) => {
                // If a namespace cannot be joined, it was reported.
                if refusals.is_empty() {
                    refusals.push(error);
                }
                refusals.extend(plan.unopenable(None));
            }
        }
        refusals.extend(self.refused_user_namespace());
        // What this process may do to itself, it may do to init.
        let this = Pid::from_raw(0);
        refusals.extend(plan.process.raise_limits_of(this).err());
        refusals.extend(plan.process.set_io_priority_of(this).err());
        refusals.extend(plan.missing_in_root());
        refusals
    }

    /// What `rt create` would do, one decision a line.
    pub(crate) fn decisions(&self) -> String {
        self.plan.decisions()
    }

    /// The user namespaces whose ids mounts are mapped to. `None` for a caller who may not clone mounts.
    fn user_namespaces(&self) -> Result<Option<BTreeMap<usize, Rc<OwnedFd>>>> {
        if !self.host.kernel.may_mount {
            return Ok(None);
        }
        let joined = self.plan.namespaces.wire()?;
        self.plan.idmappings.wire(&joined, &self.proc).map(Some)
    }

    /// The error of the lease of a container with a network.
    fn refused_network(&self) -> Option<Error> {
        let network = self.plan.network.as_ref()?;
        let owner = Owner {
            root: &self.root,
            id: PLACEHOLDER,
        };
        let checked =
            boot_id(&self.proc).and_then(|boot_id| network.check(owner, &boot_id, &self.proc));
        checked.err()
    }

    /// The errors for the network devices that move into the container.
    fn refused_net_devices(&self) -> Vec<Error> {
        let Some(devices) = &self.plan.net_devices else {
            return Vec::new();
        };
        // If the namespace cannot be joined, it was reported.
        let joined = self.plan.namespaces.open_joined(Kind::Network);
        let joined = joined.unwrap_or_default().map(|(.., namespace)| namespace);
        devices.refusals(joined, &self.proc)
    }

    /// The error of the clone when the caller may not make a user namespace.
    fn refused_user_namespace(&self) -> Option<Error> {
        if *self.plan.namespaces.place(Kind::User) != Place::New {
            return None;
        }
        let errno = try_user_namespace().err()?;
        Some(self.plan.explain(Failure {
            step: Step::Clone,
            item: 0,
            cause: errno.into(),
        }))
    }
}
