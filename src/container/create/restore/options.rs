//! The options of CRIU for a restore.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::unistd::{Pid, pipe2, read, write};

use super::request::{LOG, RestoreRequest};
use crate::container::checkpoint::external::{HOST_FILE, namespace_key};
use crate::container::checkpoint::images::Images;
use crate::container::checkpoint::{configuration_file, empty_namespaces};
use crate::container::child::Child;
use crate::criu::{CgroupRoot, FIRST_DESCRIPTOR, InheritedDescriptor, JoinedNamespace, Options};
use crate::log;
use crate::namespaces::{Kind, Place};
use crate::network::{Network, Reservation};
use crate::plan::Plan;
use crate::rootfs::{Staged, StagedMount};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// Descriptors that CRIU gives to the restored processes, or uses in their place.
pub(super) struct Inherited {
    /// Namespaces that exist, with their keys.
    namespaces: Vec<(&'static str, OwnedFd)>,
    /// Standard streams that were pipes, by the names of those pipes.
    streams: Vec<(String, RawFd)>,
}

impl Inherited {
    pub(super) fn open(
        plan: &Plan,
        images: &Images,
        lease: Option<Reservation>,
        proc: &Proc,
    ) -> Result<Inherited> {
        let mut namespaces = Vec::new();
        for kind in [Kind::Network, Kind::Pid] {
            if let (Some(key), Some((.., fd))) =
                (namespace_key(kind), plan.namespaces.open_joined(kind)?)
            {
                namespaces.push((key, fd));
            }
        }
        if let (Some(network), Some(lease)) = (&plan.network, lease) {
            let key = namespace_key(Kind::Network).unwrap_or_default();
            namespaces.push((key, make_network(network, &lease, plan, proc)?));
        }
        let names = images.read_descriptors()?;
        let streams = (0..).zip(names).take(3);
        let of_host = |name: &str| name.starts_with("pipe:") || name.starts_with(HOST_FILE);
        let streams = streams.filter(|(_, name)| of_host(name));
        Ok(Inherited {
            namespaces,
            streams: streams.map(|(fd, name)| (name, fd)).collect(),
        })
    }

    /// A likely cause of a failure of CRIU, whose text has only the number of a descriptor.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let of_host = |(name, _): &(String, RawFd)| name.starts_with(HOST_FILE);
        self.streams.iter().any(of_host).then_some(
            "a standard stream was a file of the host: the caller has to pass the same one, with the same size",
        )
    }

    /// In the order of their numbers, from [`FIRST_DESCRIPTOR`] on.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.namespaces.iter().map(|(_, fd)| fd.as_fd()).collect()
    }

    fn options(&self) -> Vec<InheritedDescriptor> {
        let namespaces = self.namespaces.iter().map(|(key, _)| (*key).to_owned());
        let namespaces = namespaces.zip(FIRST_DESCRIPTOR..);
        let streams = self.streams.iter().cloned();
        let all = namespaces.chain(streams);
        all.map(|(key, fd)| InheritedDescriptor { key, fd })
            .collect()
    }
}

/// A network namespace with the container's links, which CRIU leaves alone. The process that it is
/// made with ends.
fn make_network(
    network: &Network,
    lease: &Reservation,
    plan: &Plan,
    proc: &Proc,
) -> Result<OwnedFd> {
    let (ready, is_ready) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    let (end, is_over) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    let cloned = sys::clone3(CloneFlags::CLONE_NEWNET, None).context("network namespace")?;
    let Cloned::Parent { pid, pidfd } = cloned else {
        drop((ready, is_over));
        let made = sys::loopback_up().and_then(|_| plan.namespaces.write_network_sysctls(proc));
        let code = made.err().map_or(0, |errno| errno as i32);
        let _told = write(&is_ready, &code.to_ne_bytes());
        let _over = sys::read_to_end(end.as_fd());
        sys::exit(0)
    };
    drop((is_ready, end));
    let child = Child { pid, pidfd };
    let namespace = (|| {
        let mut code = [0; size_of::<i32>()];
        let length = read(&ready, &mut code).context("network namespace")?;
        ensure!(
            length == code.len(),
            "network namespace: its process has ended"
        );
        let code = i32::from_ne_bytes(code);
        ensure!(
            code == 0,
            "linux.sysctl: {}",
            log::errno_text(Errno::from_raw(code))
        );
        network.wire(lease, pid, proc)?;
        let path = format!("{pid}/ns/net");
        proc.link(&path, OFlag::O_RDONLY)
            .context("network namespace")
    })();
    drop(is_over);
    child.kill()?;
    namespace
}

/// `criu` is the pid of CRIU, which is in the container's cgroups.
pub(super) fn all(
    request: &RestoreRequest,
    (plan, staged): (&Plan, &Staged),
    (images, inherited): (&Images, &Inherited),
    (criu, proc): (Pid, &Proc),
    empty_network: bool,
) -> Result<Options> {
    let annotations = request.container.bundle.spec.annotations().clone();
    let annotations = annotations.unwrap_or_default().into_iter().collect();
    Ok(Options {
        root: Some(staged.root().display().to_string()),
        rst_sibling: Some(true),
        evasive_devices: Some(true),
        // With --shell-job the terminal may be the caller's, which has a master.
        orphan_pts_master: Some(plan.process.has_terminal() || !request.common.shell_job),
        // The other way takes the propagation of all mounts of a peer group from one source, whose
        // root must be above theirs. Each mount has a source of its own here.
        mntns_compat_mode: Some(true),
        external: external(staged),
        inherited: inherited.options(),
        joined: joined(plan),
        cgroup_roots: cgroup_roots(criu, proc)?,
        config_file: configuration_file(&annotations),
        empty_ns: Some(empty_namespaces(empty_network)),
        lsm_profile: request.lsm_profile.clone().or_else(|| lsm_profile(request)),
        lsm_mount_context: request
            .lsm_mount_context
            .clone()
            .or_else(|| mount_label(request)),
        ..request.common.options(images, LOG)
    })
}

/// Where the mounts of the host are. The key of what covers masked files is a path on the host.
fn external(staged: &Staged) -> Vec<String> {
    let external = |mount: &StagedMount| {
        let (key, path) = (mount.key.display(), mount.path.display());
        format!("mnt[{key}]:{path}")
    };
    staged.mounts.iter().map(external).collect()
}

fn joined(plan: &Plan) -> Vec<JoinedNamespace> {
    let kinds = [Kind::Ipc, Kind::Uts, Kind::User, Kind::Time];
    let joined = kinds
        .into_iter()
        .filter_map(|kind| match plan.namespaces.place(kind) {
            Place::Joined { path, .. } => Some(JoinedNamespace {
                kind: kind.file().to_owned(),
                file: path.display().to_string(),
            }),
            Place::New | Place::Shared => None,
        });
    joined.collect()
}

/// The cgroups of CRIU's process, for those of the images.
fn cgroup_roots(criu: Pid, proc: &Proc) -> Result<Vec<CgroupRoot>> {
    let text = proc
        .read_record(&format!("{criu}/cgroup"))
        .context("/proc")?;
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        roots.extend(controllers.split(',').map(|controller| CgroupRoot {
            controller: Some(controller.to_owned()),
            path: path.to_owned(),
        }));
    }
    Ok(roots)
}

/// The profile or the label of config.json, whatever the images have.
fn lsm_profile(request: &RestoreRequest) -> Option<String> {
    let process = request.container.bundle.spec.process().as_ref()?;
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let apparmor = set(process.apparmor_profile()).map(|name| format!("apparmor:{name}"));
    apparmor.or_else(|| set(process.selinux_label()).map(|label| format!("selinux:{label}")))
}

fn mount_label(request: &RestoreRequest) -> Option<String> {
    let linux = request.container.bundle.spec.linux().as_ref()?;
    linux
        .mount_label()
        .clone()
        .filter(|label| !label.is_empty())
}
