//! What is private to a container: the namespaces it gets new, joins by path,
//! or shares with the machine, and the few settings that belong to them.
//!
//! pid, network, ipc, uts and mount namespaces are born in the one clone3(2);
//! a cgroup namespace is unshared once the process is in its cgroup, because
//! its root is where the process is at that moment (cgroup_namespaces(7)). A
//! pid namespace is joined by the runtime just before the clone, every other
//! one by init just after it.

mod sysctl;

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, fstat, stat};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::step::{Cause, Progress, Step};
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;
use sysctl::Sysctl;

/// A kind of namespace that `rt` applies (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pid,
    Network,
    Ipc,
    Uts,
    Mount,
    Cgroup,
}

const KINDS: [Kind; 6] = [
    Kind::Pid,
    Kind::Network,
    Kind::Ipc,
    Kind::Uts,
    Kind::Mount,
    Kind::Cgroup,
];

/// Where the container stands in one kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the runtime's own: the configuration does not mention the kind.
    Shared,
    /// In one of its own, as `linux.namespaces[index]` asks.
    New,
    /// In the one that a file names.
    Joined { index: usize, path: PathBuf },
}

/// All namespaces of one container, decided.
#[derive(Debug)]
pub(crate) struct Namespaces {
    places: [Place; KINDS.len()],
    hostname: Option<String>,
    domainname: Option<CString>,
    sysctls: Vec<Sysctl>,
}

/// The namespaces that are joined, open since before the clone.
pub(crate) struct Joined {
    open: Vec<(Kind, usize, OwnedFd)>,
    pid: Option<PidNamespaces>,
}

/// The pid namespace to be born in, and the way back.
struct PidNamespaces {
    theirs: OwnedFd,
    own: OwnedFd,
}

impl Namespaces {
    /// Decides from `linux.namespaces`, `hostname`, `domainname` and
    /// `linux.sysctl`.
    ///
    /// # Errors
    /// A relative path, or a setting without a namespace to keep it in.
    pub(crate) fn plan(spec: &Spec) -> Result<Namespaces> {
        let linux = spec.linux().as_ref();
        let mut places = [const { Place::Shared }; KINDS.len()];
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        for (index, namespace) in listed.unwrap_or_default().iter().enumerate() {
            let kind = Kind::from_spec(namespace.typ())
                .with_context(|| format!("linux.namespaces[{index}]: {}", namespace.typ()))?;
            places[kind as usize] = match namespace.path() {
                None => Place::New,
                Some(path) if path.as_os_str().is_empty() => Place::New,
                Some(path) => {
                    ensure!(
                        path.is_absolute(),
                        "linux.namespaces[{index}].path: {} is not absolute",
                        path.display()
                    );
                    Place::Joined {
                        index,
                        path: path.clone(),
                    }
                }
            };
        }
        let namespaces = Namespaces {
            places,
            hostname: name("hostname", spec.hostname().as_ref())?,
            domainname: name("domainname", spec.domainname().as_ref())?
                .map(CString::new)
                .transpose()
                .context("domainname")?,
            sysctls: sysctl::plan(linux.and_then(|linux| linux.sysctl().as_ref()))?,
        };
        namespaces.refuse_settings_of_the_machine()?;
        Ok(namespaces)
    }

    pub(crate) fn place(&self, kind: Kind) -> &Place {
        &self.places[kind as usize]
    }

    /// What the child is born with (clone(2)).
    pub(crate) fn clone_flags(&self) -> CloneFlags {
        KINDS
            .into_iter()
            .filter(|kind| *kind != Kind::Cgroup && *self.place(*kind) == Place::New)
            .fold(CloneFlags::empty(), |flags, kind| flags | kind.flag())
    }

    /// A name or a sysctl of a namespace that the container shares would be
    /// the machine's.
    fn refuse_settings_of_the_machine(&self) -> Result<()> {
        let shared = |kind| *self.place(kind) == Place::Shared;
        for (field, given) in [
            ("hostname", self.hostname.is_some()),
            ("domainname", self.domainname.is_some()),
        ] {
            ensure!(
                !given || !shared(Kind::Uts),
                "{field}: needs a uts namespace in linux.namespaces; the container shares the machine's"
            );
        }
        for sysctl in &self.sysctls {
            ensure!(
                !shared(sysctl.kind),
                "linux.sysctl: {}: needs a {} namespace in linux.namespaces; the container shares the machine's",
                sysctl.key,
                sysctl.kind
            );
        }
        Ok(())
    }

    /// Runtime, before the clone: opens what is joined, and checks that each
    /// file names a namespace of its kind.
    ///
    /// # Errors
    /// A missing file, one that is no namespace, or one of another kind.
    pub(crate) fn wire(&self) -> Result<Joined> {
        let mut joined = Joined {
            open: Vec::new(),
            pid: None,
        };
        for kind in KINDS {
            let Place::Joined { index, path } = self.place(kind) else {
                continue;
            };
            let fd = open_namespace(kind, path)
                .with_context(|| format!("linux.namespaces[{index}].path"))?;
            self.refuse_settings_of_the_machine_by_path(kind, &fd)?;
            if kind == Kind::Pid {
                let own = open(
                    "/proc/self/ns/pid",
                    OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )
                .context("/proc/self/ns/pid")?;
                joined.pid = Some(PidNamespaces { theirs: fd, own });
            } else {
                joined.open.push((kind, *index, fd));
            }
        }
        Ok(joined)
    }

    /// A path can name the machine's own namespace, where a setting is not ours.
    fn refuse_settings_of_the_machine_by_path(&self, kind: Kind, fd: &OwnedFd) -> Result<()> {
        let sysctls = self.sysctls.iter().filter(|sysctl| sysctl.kind == kind);
        let mut settings: Vec<String> = sysctls
            .map(|sysctl| format!("linux.sysctl: {}", sysctl.key))
            .collect();
        if kind == Kind::Uts {
            settings.extend(self.hostname.iter().map(|_| "hostname".to_owned()));
            settings.extend(self.domainname.iter().map(|_| "domainname".to_owned()));
        }
        let Some(setting) = settings.first() else {
            return Ok(());
        };
        let file = format!("/proc/self/ns/{}", kind.file());
        let own = stat(file.as_str()).with_context(|| file)?;
        let theirs = fstat(fd).context("namespace")?;
        ensure!(
            (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino),
            "{setting}: the {kind} namespace that the container joins is the machine's"
        );
        Ok(())
    }

    /// Init, first: enters what is joined by path.
    pub(crate) fn join(&self, joined: &Joined, at: &Progress) -> Result<(), Cause> {
        for (kind, index, fd) in &joined.open {
            at.at(Step::JoinNamespace, *index);
            setns(fd, kind.flag())?;
        }
        Ok(())
    }

    /// Init, in its cgroup and its namespaces: the settings that belong to them.
    pub(crate) fn apply(&self, at: &Progress) -> Result<(), Cause> {
        if *self.place(Kind::Cgroup) == Place::New {
            at.enter(Step::CgroupNamespace);
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
        }
        if *self.place(Kind::Network) == Place::New {
            at.enter(Step::Loopback);
            sys::loopback_up()?;
        }
        if let Some(name) = &self.hostname {
            at.enter(Step::Hostname);
            nix::unistd::sethostname(name)?;
        }
        if let Some(name) = &self.domainname {
            at.enter(Step::Domainname);
            sys::setdomainname(name)?;
        }
        Ok(())
    }

    /// Init: `linux.sysctl`, through the machine's /proc, where a write lands
    /// in the namespaces of the writer.
    pub(crate) fn write_sysctls(&self, proc: &Proc, at: &Progress) -> Result<(), Cause> {
        for (item, sysctl) in self.sysctls.iter().enumerate() {
            at.at(Step::Sysctl, item);
            proc.write(&sysctl.file, sysctl.value.as_bytes())?;
        }
        Ok(())
    }

    /// The place in config.json and the deed, for a position in this plan.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let item = usize::from(item);
        Some(match step {
            Step::JoinNamespace => (
                format!("linux.namespaces[{item}]"),
                self.places.iter().find_map(|place| match place {
                    Place::Joined { index, path } if *index == item => {
                        Some(format!("join {}", path.display()))
                    }
                    _ => None,
                })?,
            ),
            Step::CgroupNamespace => ("linux.namespaces".into(), "new cgroup namespace".into()),
            Step::Loopback => ("linux.namespaces".into(), "bring up lo".into()),
            Step::Hostname => (
                "hostname".into(),
                format!("set {:?}", self.hostname.as_ref()?),
            ),
            Step::Domainname => (
                "domainname".into(),
                format!("set {:?}", self.domainname.as_ref()?),
            ),
            Step::Sysctl => {
                let sysctl = self.sysctls.get(item)?;
                (
                    format!("linux.sysctl: {}", sysctl.key),
                    format!("write {:?} to /proc/{}", sysctl.value, sysctl.file),
                )
            }
            _ => return None,
        })
    }
}

impl Joined {
    /// clone3(2), with the child born in the joined pid namespace if there is
    /// one; the runtime's children after it are born in its own again
    /// (pid_namespaces(7): setns(2) moves only children).
    pub(crate) fn clone(
        &self,
        flags: CloneFlags,
        cgroup: Option<BorrowedFd>,
    ) -> nix::Result<Cloned> {
        let Some(pid) = &self.pid else {
            return sys::clone3(flags, cgroup);
        };
        setns(pid.theirs.as_fd(), CloneFlags::CLONE_NEWPID)?;
        let cloned = sys::clone3(flags, cgroup);
        if !matches!(cloned, Ok(Cloned::Init)) {
            setns(pid.own.as_fd(), CloneFlags::CLONE_NEWPID)?;
        }
        cloned
    }
}

impl Kind {
    fn from_spec(kind: LinuxNamespaceType) -> Result<Kind> {
        Ok(match kind {
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                bail!("not applied by this version")
            }
        })
    }

    fn flag(self) -> CloneFlags {
        match self {
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Network => CloneFlags::CLONE_NEWNET,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Mount => CloneFlags::CLONE_NEWNS,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        }
    }

    /// Its file below /proc/PID/ns.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Kind::Pid => "pid",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Mount => "mnt",
            Kind::Cgroup => "cgroup",
        }
    }

    /// The key of `namespace_paths` in state.json, as outside readers know it.
    pub(crate) fn state_key(self) -> &'static str {
        match self {
            Kind::Pid => "NEWPID",
            Kind::Network => "NEWNET",
            Kind::Ipc => "NEWIPC",
            Kind::Uts => "NEWUTS",
            Kind::Mount => "NEWNS",
            Kind::Cgroup => "NEWCGROUP",
        }
    }

    pub(crate) fn all() -> [Kind; KINDS.len()] {
        KINDS
    }
}

impl fmt::Display for Kind {
    /// The specification's word for it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Network => "network",
            Kind::Mount => "mount",
            other => other.file(),
        })
    }
}

/// A host or domain name: at most 64 bytes (uts_namespaces(7)), none of them NUL.
fn name(field: &str, value: Option<&String>) -> Result<Option<String>> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    ensure!(value.len() <= 64, "{field}: longer than 64 bytes");
    ensure!(!value.contains('\0'), "{field}: holds a NUL byte");
    Ok(Some(value.clone()))
}

fn open_namespace(kind: Kind, path: &Path) -> Result<OwnedFd> {
    let subject = || path.display().to_string();
    let fd = open(
        path,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK,
        Mode::empty(),
    )
    .with_context(subject)?;
    match sys::namespace_type(fd.as_fd()) {
        Ok(flag) if flag == kind.flag() => Ok(fd),
        Ok(flag) => {
            let other = KINDS
                .into_iter()
                .find(|kind| kind.flag() == flag)
                .map_or_else(|| "another".to_owned(), |kind| format!("a {kind}"));
            bail!(
                "{}: is {other} namespace, not a {kind} namespace",
                subject()
            )
        }
        Err(Errno::ENOTTY | Errno::EINVAL) => bail!("{}: is not a namespace", subject()),
        Err(errno) => Err(errno).with_context(subject),
    }
}
