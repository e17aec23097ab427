//! `rt check`: finds out what `rt create` would refuse, and changes nothing.
//!
//! It takes the steps of `create.rs` in the same order, by the same functions, as far as they only read. Each
//! of the other steps has a counterpart here that looks at what the step needs.

use std::path::Path;

use anyhow::{Context, Error, Result};
use nix::unistd::Pid;

use super::create::{CreateMode, Request, decide};
use super::state::check_writable_root;
use crate::host::{Host, try_user_namespace};
use crate::namespaces::{Kind, Place};
use crate::plan::Plan;
use crate::step::{Failure, Step};
use crate::trusted_proc::Proc;

/// Why `rt create` would refuse the container, as far as it can be known. The first is the error of
/// `rt create`. Warnings are deferred, as there.
pub(crate) fn check(root: &Path, request: &Request) -> Vec<Error> {
    let mut refusals = Vec::new();
    if let Err(error) = look(root, request, &mut refusals) {
        refusals.push(error);
    }
    refusals
}

/// Adds the refusals that do not depend on each other.
///
/// # Errors
/// The refusal after which nothing more can be found out.
fn look(root: &Path, request: &Request, refusals: &mut Vec<Error>) -> Result<()> {
    let proc = Proc::open().context("/proc")?;
    let host = Host::probe(&proc)?;
    let plan = decide(root, request, CreateMode::Create, &host, &proc)?;

    refusals.extend(plan.namespaces.unjoinable());
    refusals.extend(check_writable_root(root).err());
    refusals.extend(plan.cgroups.check().err());
    if refusals.is_empty() {
        let joined = plan.namespaces.wire()?;
        let ids = match host.kernel.may_mount {
            true => Some(plan.idmappings.wire(&joined, &proc)?),
            false => None,
        };
        refusals.extend(plan.unopenable(ids.as_ref()));
    } else {
        // Whether mounts can be mapped is not known.
        refusals.extend(plan.unopenable(None));
    }
    refusals.extend(refused_user_namespace(&plan));
    // This process may raise its own limits if it may raise those of init.
    refusals.extend(plan.process.raise_limits_of(Pid::from_raw(0)).err());
    refusals.extend(plan.missing_in_root());
    Ok(())
}

/// The error of the clone when the caller may not make a user namespace.
fn refused_user_namespace(plan: &Plan) -> Option<Error> {
    if *plan.namespaces.place(Kind::User) != Place::New {
        return None;
    }
    let errno = try_user_namespace().err()?;
    Some(plan.explain(Failure {
        step: Step::Clone,
        item: 0,
        cause: errno.into(),
    }))
}
