//! The kinds of namespaces (namespaces(7)) and their names in config.json, in /proc,
//! and in state.json.

use std::fmt;

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxNamespaceType;
use serde::{Deserialize, Serialize};

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    User,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
    Mount,
}

/// All kinds, in the order in which they are entered. The mount namespace is last
/// because the host's paths are unreachable from it.
pub(super) const KINDS: [Kind; 8] = [
    Kind::User,
    Kind::Pid,
    Kind::Network,
    Kind::Ipc,
    Kind::Uts,
    Kind::Cgroup,
    Kind::Time,
    Kind::Mount,
];

/// `CLONE_NEWTIME`, which nix lacks, for unshare(2) and setns(2) (Linux 5.6).
const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

impl Kind {
    pub(super) fn of(kind: LinuxNamespaceType) -> Kind {
        match kind {
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Time => Kind::Time,
            LinuxNamespaceType::Mount => Kind::Mount,
        }
    }

    pub(super) fn flag(self) -> CloneFlags {
        match self {
            Kind::User => CloneFlags::CLONE_NEWUSER,
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Network => CloneFlags::CLONE_NEWNET,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Kind::Time => NEW_TIME,
            Kind::Mount => CloneFlags::CLONE_NEWNS,
        }
    }

    /// Its file below /proc/PID/ns.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
            Kind::Mount => "mnt",
        }
    }

    /// The key of `namespace_paths` in state.json. These are runc's keys, which other
    /// programs read.
    pub(crate) fn state_key(self) -> &'static str {
        match self {
            Kind::User => "NEWUSER",
            Kind::Pid => "NEWPID",
            Kind::Network => "NEWNET",
            Kind::Ipc => "NEWIPC",
            Kind::Uts => "NEWUTS",
            Kind::Cgroup => "NEWCGROUP",
            Kind::Time => "NEWTIME",
            Kind::Mount => "NEWNS",
        }
    }

    pub(crate) fn all() -> [Kind; KINDS.len()] {
        KINDS
    }
}

impl fmt::Display for Kind {
    /// The name that config.json uses, for every kind.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Network => "network",
            Kind::Mount => "mount",
            other => other.file(),
        })
    }
}
