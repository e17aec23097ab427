//! The two directories that `rt diff` compares: the lower layers, and the container's root
//! without the mounts on it. Both are detached mounts.
//!
//! The process that opens them enters the container's user namespace, so that it sees ids as the
//! container does, and the container's mount namespace, because the kernel clones no mounts of
//! another one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Error, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid};

use crate::annotations::key;
use crate::container::state::{Container, ExecDefaults, Layers, State, Status};
use crate::namespaces::{Kind, Mapper, Membership};
use crate::plan::Shared;
use crate::rootfs::{merged_layers, root_of_overlay};
use crate::sys;
use crate::trusted_proc::Proc;

/// Where the files are.
pub(super) struct View {
    layers: Layers,
    changes: Changes,
    /// Overlayfs stores its attributes as `user.` attributes.
    user_namespace: bool,
}

/// Where the changed files are.
enum Changes {
    /// In the mount namespace of the container's init.
    Running {
        init: OwnedFd,
        membership: Membership,
    },
    /// In a directory, whose owners are ids of the user namespace, if there is one.
    Kept {
        upper: PathBuf,
        user_namespace: Option<OwnedFd>,
    },
}

impl View {
    /// # Errors
    /// When the container has no overlay, or had one that ended with it.
    pub(super) fn plan(container: &Container, state: &State) -> Result<View> {
        let proc = Proc::open().context("/proc")?;
        // Opened before the status is read, so that both are about the same process.
        let init = state.pidfd_of_init_pid()?;
        let status = container.status(state, &proc)?;
        let layers = state.layers.clone().with_context(|| {
            format!(
                "has no overlay, so its changes are in root.path itself; the annotation {} gives it one",
                key::OVERLAY
            )
        })?;
        let shared = ExecDefaults::load(state)?.shared;
        let user_namespace = shared.membership.has(Kind::User);
        let changes = match (status, init, &layers.upper) {
            (Status::Creating, ..) => bail!("is still being created"),
            (Status::Created | Status::Running | Status::Paused, Some(init), _) => {
                Changes::of_running(state, &shared, init, &proc)?
            }
            (_, _, Some(upper)) => Changes::Kept {
                upper: upper.clone(),
                user_namespace: user_namespace_of_stopped(state, &shared, &proc)?,
            },
            (_, _, None) => bail!(
                "is stopped, and its changes ended with it; a directory in the annotation {} keeps those of another",
                key::OVERLAY
            ),
        };
        Ok(View {
            layers,
            changes,
            user_namespace,
        })
    }

    /// Enters the namespaces, and returns the lower layers and the container's root.
    ///
    /// # Errors
    /// When a namespace cannot be entered, a layer is missing, or the root is not an overlay.
    pub(super) fn open(&self) -> Result<(OwnedFd, OwnedFd)> {
        // Root mounts on the host, where it can reach every layer. Others may mount in the user
        // namespace only, in a mount namespace that belongs to it.
        let is_root = geteuid().is_root();
        if !is_root {
            self.changes.enter_user_namespace()?;
            unshare(CloneFlags::CLONE_NEWNS).context("new mount namespace")?;
        }
        let before = merged_layers(&self.layers.lower, self.user_namespace)?;
        let after = match &self.changes {
            Changes::Running { init, membership } => {
                let entered = membership.enter(Kind::Mount, init.as_fd());
                entered.context("enter the container's mount namespace")?;
                root_of_overlay()?
            }
            Changes::Kept { upper, .. } => {
                let layers = [std::slice::from_ref(upper), &self.layers.lower].concat();
                merged_layers(&layers, self.user_namespace)?
            }
        };
        if is_root {
            self.changes.enter_user_namespace()?;
        }
        Ok((before, after))
    }
}

impl Changes {
    fn of_running(state: &State, shared: &Shared, init: OwnedFd, proc: &Proc) -> Result<Changes> {
        let pid = state.init_process_pid;
        let ended = |errno: Errno| match errno {
            Errno::ENOENT | Errno::ESRCH => Error::msg("container not running"),
            errno => Error::new(errno).context("namespaces"),
        };
        let membership = shared.membership.excluding_own(pid, proc).map_err(ended)?;
        // What was read by pid is of init if init is still alive.
        sys::pidfd_send_signal(init.as_fd(), 0).map_err(ended)?;
        Ok(Changes::Running { init, membership })
    }

    fn enter_user_namespace(&self) -> Result<()> {
        match self {
            Changes::Running { init, membership } => membership.enter(Kind::User, init.as_fd()),
            Changes::Kept {
                user_namespace: Some(namespace),
                ..
            } => setns(namespace, CloneFlags::CLONE_NEWUSER),
            Changes::Kept { .. } => Ok(()),
        }
        .context("enter the container's user namespace")
    }
}

/// A user namespace like that of a container that has ended: the one that it had joined, or a new
/// one with the same id maps.
fn user_namespace_of_stopped(
    state: &State,
    shared: &Shared,
    proc: &Proc,
) -> Result<Option<OwnedFd>> {
    if let Some(maps) = &shared.id_maps {
        let (uid, gid) = (geteuid(), getegid());
        let mapper = Mapper {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            privileged: uid.is_root(),
        };
        return maps.create_namespace(mapper, proc).map(Some);
    }
    if !shared.membership.has(Kind::User) {
        return Ok(None);
    }
    let path = state.namespace_paths.get(Kind::User.state_key());
    let path = path.context("state.json: names no user namespace")?;
    let namespace = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    namespace
        .map(Some)
        .with_context(|| path.display().to_string())
}
