//! What of a container belongs to the host: mounts, and namespaces that exist without it.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat, major};
use nix::unistd::Pid;
use procfs::process::{MountInfo, MountInfos};

use crate::annotations::key;
use crate::container::state::{ProcessStat, State, Status};
use crate::namespaces::Kind;
use crate::network;
use crate::rootfs;
use crate::trusted_proc::Proc;

/// File systems that CRIU mounts again, although the host has them too.
const SHARED: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// The mount points and namespaces that CRIU leaves to `rt`.
pub(crate) struct External {
    /// As the container sees them. The key of a mount is its path.
    mounts: Vec<PathBuf>,
    /// Masked files, which the host's null device covers. The key is its path.
    masks: Vec<PathBuf>,
    /// `net[4026531840]:extRootNetNS`.
    namespaces: Vec<String>,
    /// The network namespace is the container's own, but CRIU could not make its links again, because they lead out of
    /// it.
    pub(crate) has_links_outside: bool,
    /// What the standard streams are: `pipe:[1234]`, a path in the container, or
    /// `file[1f:2a]` for a file of the host.
    pub(crate) streams: Vec<String>,
    /// One of them is a terminal of the host.
    pub(crate) has_terminal_of_host: bool,
}

/// How the name of a file of the host begins.
pub(crate) const HOST_FILE: &str = "file[";

/// The key of an external namespace, as runc has it.
pub(crate) fn namespace_key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Network => Some("extRootNetNS"),
        Kind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

impl External {
    /// Compares the container with this process, which is on the host.
    ///
    /// # Errors
    /// When the container has no mount namespace of its own, or /proc cannot be read.
    pub(crate) fn find(state: &State, proc: &Proc) -> Result<External> {
        let pid = state.init_process_pid;
        let same = |kind: Kind| -> Result<bool> {
            let file = |pid: &str| proc.link_text(&format!("{pid}/ns/{}", kind.file()));
            let (own, other) = (file("self"), file(&pid.to_string()));
            Ok(own.context("/proc")? == other.context("/proc")?)
        };
        ensure!(
            !same(Kind::Mount)?,
            "linux.namespaces: CRIU cannot checkpoint a container without a mount namespace of its own"
        );
        let container = proc.mounts(&pid.to_string()).context("mountinfo")?;
        let host = proc.mounts("self").context("mountinfo")?;
        check_put_old(pid, &container, proc)?;
        let (masks, mounts) = external_mounts(&container, &host, !same(Kind::Cgroup)?)
            .into_iter()
            .partition(|mount| mount.is_null);
        let paths = |mounts: Vec<ExternalMount>| mounts.into_iter().map(|mount| mount.path);
        let mut namespaces = Vec::new();
        for kind in [Kind::Network, Kind::Pid] {
            if !same(kind)? && is_external(kind, state) {
                namespaces.push(namespace(kind, state)?);
            }
        }
        let own_network = !same(Kind::Network)? && !is_external(Kind::Network, state);
        let streams = (0..3).map(|fd| stream(pid, fd, &container, proc));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        Ok(External {
            has_terminal_of_host: streams.iter().any(|stream| stream.is_terminal_of_host),
            streams: streams.into_iter().map(|stream| stream.name).collect(),
            mounts: paths(mounts).collect(),
            masks: paths(masks).collect(),
            namespaces,
            has_links_outside: own_network && network::leads_outside(Pid::from_raw(pid), proc)?,
        })
    }

    pub(crate) fn to_options(&self) -> Vec<String> {
        let mounts = self.mounts.iter().map(|path| {
            let path = path.display();
            format!("mnt[{path}]:{path}")
        });
        let masks = self
            .masks
            .iter()
            .map(|path| format!("mnt[{}]:/dev/null", path.display()));
        let files = self.streams.iter();
        let files = files.filter(|name| name.starts_with(HOST_FILE));
        let others = self.namespaces.iter().chain(files).cloned();
        mounts.chain(masks).chain(others).collect()
    }
}

/// # Errors
/// When CRIU could not change to the root again.
fn check_put_old(pid: i32, container: &MountInfos, proc: &Proc) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let root = proc.link(&format!("{pid}/root"), flags).context("/proc")?;
    let is_root = |mount: &&MountInfo| mount.mount_point == Path::new("/");
    let file_system = container.iter().rfind(is_root);
    rootfs::check_put_old(root.as_fd(), || {
        file_system.is_some_and(|mount| mount.super_options.contains_key("ro"))
    })
}

/// The cgroup by which CRIU stops all processes at once, if it is the container's own. Otherwise it
/// stops one after the other.
///
/// # Errors
/// When CRIU would wait forever: ptrace(2) does not get a process that a signal has stopped and that
/// cgroup v1 has frozen.
pub(crate) fn freezer(state: &State, status: Status, proc: &Proc) -> Result<Option<String>> {
    let (paths, cgroups) = (&state.cgroup_paths, state.cgroups());
    let (v1, v2) = (paths.get("freezer"), paths.get(""));
    if v1.is_some() {
        for pid in cgroups.processes()? {
            let process = ProcessStat::read(proc, pid.as_raw())?;
            if process.is_some_and(|process| process.is_stopped()) {
                ensure!(
                    status != Status::Paused,
                    "CRIU cannot checkpoint the process {pid}, which a signal has stopped, in a paused container (cgroup v1); resume the container first"
                );
                return Ok(None);
            }
        }
    }
    let path = v1.or(v2).filter(|_| cgroups.are_own());
    Ok(path.and_then(|path| path.to_str()).map(str::to_owned))
}

/// A standard stream of the process.
struct Stream {
    /// As in [`External::streams`]. Empty if it is closed.
    name: String,
    is_terminal_of_host: bool,
}

fn stream(pid: i32, fd: i32, container: &MountInfos, proc: &Proc) -> Result<Stream> {
    let path = format!("{pid}/fd/{fd}");
    let stream = |name| Stream {
        name,
        is_terminal_of_host: false,
    };
    let name = match proc.link_text(&path) {
        Err(Errno::ENOENT) => return Ok(stream(String::new())),
        name => name.context("/proc")?.to_string_lossy().into_owned(),
    };
    if !name.starts_with('/') {
        return Ok(stream(name));
    }
    let info = proc.read(&format!("{pid}/fdinfo/{fd}")).context("/proc")?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let mount: i32 = mount.context("mnt_id")?.trim().parse().context("mnt_id")?;
    if container.iter().any(|known| known.mnt_id == mount) {
        return Ok(stream(name));
    }
    let file = proc.link(&path, OFlag::O_PATH).context("/proc")?;
    let file = fstat(file).with_context(|| name.clone())?;
    if is_terminal(&file) {
        return Ok(Stream {
            name,
            is_terminal_of_host: true,
        });
    }
    Ok(stream(format!("{HOST_FILE}{mount:x}:{:x}]", file.st_ino)))
}

/// CRIU has another way for terminals of the host (`--shell-job`).
fn is_terminal(file: &FileStat) -> bool {
    /// The numbers of virtual consoles, /dev/tty and /dev/console, and the slaves of pseudoterminals.
    const MAJORS: [u64; 3] = [4, 5, 136];
    let is_device = SFlag::from_bits_truncate(file.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    is_device && MAJORS.contains(&major(file.st_rdev))
}

/// Whether the namespace exists without the container: it was joined by path, or `rt` makes it
/// again.
fn is_external(kind: Kind, state: &State) -> bool {
    let own = format!("/proc/{}/ns/", state.init_process_pid);
    let path = state.namespace_paths.get(kind.state_key());
    let is_joined = path.is_some_and(|path| !path.starts_with(own));
    is_joined || kind == Kind::Network && state.annotations.contains_key(key::BRIDGE)
}

fn namespace(kind: Kind, state: &State) -> Result<String> {
    let path = format!("/proc/{}/ns/{}", state.init_process_pid, kind.file());
    let inode = std::fs::metadata(&path).context(path)?.ino();
    let key = namespace_key(kind).unwrap_or_default();
    Ok(format!("{}[{inode}]:{key}", kind.file()))
}

struct ExternalMount {
    path: PathBuf,
    /// It is the null device of the host.
    is_null: bool,
}

/// The mounts that the host has made. All others are file systems of the container's own.
fn external_mounts(
    container: &MountInfos,
    host: &MountInfos,
    has_cgroup_namespace: bool,
) -> Vec<ExternalMount> {
    let of_host: HashSet<&str> = host.iter().map(|mount| mount.majmin.as_str()).collect();
    let whole = container.iter().filter(|mount| mount.root == "/");
    let own: HashSet<&str> = whole
        .map(|mount| mount.majmin.as_str())
        .filter(|device| !of_host.contains(device))
        .collect();
    let null = host
        .iter()
        .find(|mount| mount.mount_point == Path::new("/dev"));
    let is_null = |mount: &MountInfo| {
        null.is_some_and(|dev| dev.majmin == mount.majmin)
            && Path::new(&mount.root).file_name() == Some("null".as_ref())
            && mount.mount_point != Path::new("/dev/null")
    };
    let is_external = |mount: &&MountInfo| match mount.fs_type.as_str() {
        "cgroup" | "cgroup2" => !has_cgroup_namespace,
        fs_type if SHARED.contains(&fs_type) && mount.root == "/" => false,
        _ => !own.contains(mount.majmin.as_str()),
    };
    let mounts = container
        .iter()
        .filter(|mount| mount.mount_point != Path::new("/"));
    let external = mounts.filter(is_external);
    external
        .map(|mount| ExternalMount {
            path: mount.mount_point.clone(),
            is_null: is_null(mount),
        })
        .collect()
}
