//! A failure is a position: the steps that init takes, in order, and eight bytes
//! that say how far it came.
//!
//! Init keeps its position in a [`Progress`] and otherwise returns plain
//! errors. When one ends it, `(step, item, cause)` travels to the runtime,
//! which holds the same plan and writes the sentence. [`Step`] is the table of
//! contents of everything that happens between clone3(2) and execve(2).

mod progress;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use progress::{Position, Progress};

/// What init does, in this order. `item` counts within a step, where a step
/// handles a list: mounts, devices, paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Step {
    /// clone3(2) itself, which is not init's but the runtime's.
    Clone,
    /// Waits until the runtime has put it into its cgroups.
    Wait,
    /// Signals that the caller ignored or blocked are neither any more.
    Signals,
    /// A session of its own (setsid(2)).
    Session,
    /// `process.oomScoreAdj`.
    OomScore,
    /// A process that joins a container enters its cgroups. Item: the tree of version 1.
    JoinCgroup,
    /// Enters the namespaces that the configuration names by path. Item: `linux.namespaces[item]`.
    JoinNamespace,
    /// A process that joins a container enters its namespaces, and its root.
    JoinContainer,
    /// A new time namespace with `linux.timeOffsets`.
    TimeNamespace,
    /// Opens `root.path`. This and the next five are the runtime's, before the clone, if it may.
    OpenRoot,
    /// Opens what a mount takes from the machine. Item: `mounts[item]`.
    OpenSource,
    /// Maps the ids of what was opened. Item: `mounts[item]`.
    MapIds,
    /// Opens a default device of the machine, to bind. Item: its place in the table of defaults.
    OpenDefaultDevice,
    /// Opens a device of the machine, to bind. Item: `linux.devices[item]`.
    OpenDevice,
    /// Opens the machine's null device, to cover files with.
    OpenNull,
    /// Cuts the new mount namespace off from the machine's propagation.
    Propagation,
    /// Puts the copy-on-write layer on the root.
    Overlay,
    /// Attaches the root file system.
    Root,
    /// Leaves the machine's mounts behind (pivot_root(2), or chroot(2)); after the devices, where
    /// hooks or a user namespace need them in sight.
    Pivot,
    /// Becomes root of its user namespace.
    NamespaceRoot,
    /// A session keyring of its own (keyrings(7)). Item 0.
    Keyring,
    /// New namespaces that begin with the process as it is now: in its cgroup, and root.
    Unshare,
    /// Brings the loopback device of a new network namespace up.
    Loopback,
    /// `hostname`.
    Hostname,
    /// `domainname`.
    Domainname,
    /// Finds or makes the place for a mount. Item: `mounts[item]`.
    MountPoint,
    /// Builds and attaches a mount. Item: `mounts[item]`.
    Mount,
    /// A tmpfs takes over what its mount point holds, before it is attached. Item: `mounts[item]`.
    CopyUp,
    /// The directory that holds the default devices.
    DeviceDirectory,
    /// A default device node. Item: its place in the table of defaults.
    DefaultDevice,
    /// A device node of the configuration. Item: `linux.devices[item]`.
    Device,
    /// A link in /dev. Item: its place in the table of links.
    DeviceLink,
    /// Waits while the runtime calls prestart and createRuntime hooks.
    RuntimeHooks,
    /// `hooks.createContainer[item]`.
    ContainerHook,
    /// `process.terminal`: a pseudoterminal of the container's own devpts.
    Terminal,
    /// The terminal as /dev/console.
    Console,
    /// `process.consoleSize`.
    TerminalSize,
    /// The other end goes to who asked for it.
    ConsoleSocket,
    /// The terminal of the process's session, and its standard input, output and error.
    ControllingTerminal,
    /// `linux.sysctl`, in the order of the keys.
    Sysctl,
    /// `linux.readonlyPaths[item]`.
    ReadonlyPath,
    /// `linux.maskedPaths[item]`.
    MaskedPath,
    /// `root.readonly`.
    ReadonlyRoot,
    /// `linux.rootfsPropagation`.
    RootPropagation,
    /// The mounts at /proc and /sys are those that were made. Item: `mounts[item]`.
    MountInPlace,
    /// CPUs that the caller was confined to are not the container's limit.
    Affinity,
    /// `process.cwd`: made if missing, entered, and checked to lie inside.
    WorkingDirectory,
    /// Standard input, output and error go to the process's user. Item: the descriptor.
    StandardIo,
    /// `process.capabilities.bounding`.
    BoundingSet,
    /// `process.user.additionalGids`.
    Groups,
    /// `process.user.gid`.
    Gid,
    /// `process.user.uid`.
    Uid,
    /// The other four sets of `process.capabilities`.
    Capabilities,
    /// `process.apparmorProfile`, from execve(2) on.
    AppArmor,
    /// `process.noNewPrivileges`.
    NoNewPrivileges,
    /// HOME, from the container's own /etc/passwd.
    Home,
    /// `process.args[0]`, looked up in the container.
    Executable,
    /// Ready: waits to be told to start.
    Start,
    /// `hooks.startContainer[item]`.
    StartHook,
    /// Closes every descriptor of the runtime's, before a path in the image is resolved.
    Descriptors,
    /// `process.rlimits[item]`: last, as a tiny limit would stop the rest.
    Limit,
    /// What the caller hands on outlives execve(2): after the hooks, which get none of it.
    PassedDescriptors,
    /// `linux.seccomp`: after everything that it may forbid.
    Seccomp,
    /// execve(2).
    Exec,
}

impl Step {
    const LAST: Step = Step::Exec;

    pub(crate) fn all() -> &'static [Step] {
        &ALL
    }

    /// What comes when init has been told to start.
    pub(crate) fn after_start() -> impl Iterator<Item = Step> {
        ALL.into_iter().skip(Step::Start as usize + 1)
    }

    fn decode(byte: u8) -> Option<Step> {
        ALL.get(usize::from(byte)).copied()
    }
}

/// Every step, at the index that is its number.
const ALL: [Step; Step::LAST as usize + 1] = [
    Step::Clone,
    Step::Wait,
    Step::Signals,
    Step::Session,
    Step::OomScore,
    Step::JoinCgroup,
    Step::JoinNamespace,
    Step::JoinContainer,
    Step::TimeNamespace,
    Step::OpenRoot,
    Step::OpenSource,
    Step::MapIds,
    Step::OpenDefaultDevice,
    Step::OpenDevice,
    Step::OpenNull,
    Step::Propagation,
    Step::Overlay,
    Step::Root,
    Step::Pivot,
    Step::NamespaceRoot,
    Step::Keyring,
    Step::Unshare,
    Step::Loopback,
    Step::Hostname,
    Step::Domainname,
    Step::MountPoint,
    Step::Mount,
    Step::CopyUp,
    Step::DeviceDirectory,
    Step::DefaultDevice,
    Step::Device,
    Step::DeviceLink,
    Step::RuntimeHooks,
    Step::ContainerHook,
    Step::Terminal,
    Step::Console,
    Step::TerminalSize,
    Step::ConsoleSocket,
    Step::ControllingTerminal,
    Step::Sysctl,
    Step::ReadonlyPath,
    Step::MaskedPath,
    Step::ReadonlyRoot,
    Step::RootPropagation,
    Step::MountInPlace,
    Step::Affinity,
    Step::WorkingDirectory,
    Step::StandardIo,
    Step::BoundingSet,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::Capabilities,
    Step::AppArmor,
    Step::NoNewPrivileges,
    Step::Home,
    Step::Executable,
    Step::Start,
    Step::StartHook,
    Step::Descriptors,
    Step::Limit,
    Step::PassedDescriptors,
    Step::Seccomp,
    Step::Exec,
];

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The kernel refused.
    Errno(Errno),
    /// The kernel refused one parameter of a file system, by its place among them.
    Parameter(u16, Errno),
    /// `rt` refused.
    Refused(Refusal),
    /// A program ended with this status, which is not 0.
    Exit(i32),
    /// The signal of this number ended a program.
    Signal(i32),
    /// A program ran longer than this, in seconds.
    TimedOut(u32),
}

/// What `rt` finds unacceptable where the kernel would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// /proc or /sys of the root is reached through a symbolic link (CVE-2019-19921).
    NotOrdinaryDirectory,
    /// A mount would cover part of /proc (CVE-2019-16884).
    InsideProc,
    /// Something else lies where a device belongs.
    OtherFile,
    /// The working directory is not below the container's root (CVE-2024-21626).
    OutsideRoot,
    /// No directory of PATH has the executable.
    NotInPath,
    /// The executable is a directory.
    IsDirectory,
    /// `root.path` is the machine's own root, laid open.
    MachineRoot,
    /// What is to be bound on /proc is not procfs.
    NotProc,
    /// A user namespace without ids: nobody has written its maps.
    NoIds,
    /// A joined user namespace has other maps than `linux.uidMappings` and its twin.
    OtherMaps,
    /// The runtime is gone.
    Abandoned,
    /// A hook of a container whose process has ended.
    ContainerEnded,
    /// Somebody has put something else in the place of a mount.
    Replaced,
    /// The machine's null device would be the container's to change.
    MachinesNull,
}

const REFUSALS: [Refusal; 14] = [
    Refusal::NotOrdinaryDirectory,
    Refusal::InsideProc,
    Refusal::OtherFile,
    Refusal::OutsideRoot,
    Refusal::NotInPath,
    Refusal::IsDirectory,
    Refusal::MachineRoot,
    Refusal::NotProc,
    Refusal::NoIds,
    Refusal::OtherMaps,
    Refusal::Abandoned,
    Refusal::ContainerEnded,
    Refusal::Replaced,
    Refusal::MachinesNull,
];

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause::Errno(errno)
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Cause {
        Cause::Refused(refusal)
    }
}

/// A position and its cause: all that crosses from init to the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) item: u16,
    pub(crate) cause: Cause,
}

impl Failure {
    /// Length of an encoded failure, in bytes.
    pub(crate) const LENGTH: usize = 8;

    pub(crate) fn encode(self) -> [u8; Self::LENGTH] {
        let [low, high] = self.item.to_le_bytes();
        let (kind, number) = match self.cause {
            Cause::Errno(errno) => (0, errno as i32),
            Cause::Refused(refusal) => (1, refusal as i32),
            Cause::Exit(status) => (2, status),
            Cause::Signal(number) => (3, number),
            Cause::TimedOut(seconds) => (4, seconds.cast_signed()),
            // No error number is above 4095 (MAX_ERRNO).
            Cause::Parameter(place, errno) => (5, i32::from(place) << 12 | errno as i32),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [self.step as u8, low, high, kind, a, b, c, d]
    }

    /// `None` for bytes that no init sends.
    pub(crate) fn decode(bytes: [u8; Self::LENGTH]) -> Option<Failure> {
        let [step, low, high, kind, a, b, c, d] = bytes;
        let number = i32::from_le_bytes([a, b, c, d]);
        let cause = match kind {
            0 => Cause::Errno(Errno::from_raw(number)),
            1 => Cause::Refused(*REFUSALS.get(usize::try_from(number).ok()?)?),
            2 => Cause::Exit(number),
            3 => Cause::Signal(number),
            4 => Cause::TimedOut(number.cast_unsigned()),
            5 => Cause::Parameter(
                u16::try_from(number >> 12).ok()?,
                Errno::from_raw(number & 0xfff),
            ),
            _ => return None,
        };
        Some(Failure {
            step: Step::decode(step)?,
            item: u16::from_le_bytes([low, high]),
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_and_refusal_is_at_its_number() {
        for (number, step) in ALL.iter().enumerate() {
            assert_eq!(*step as usize, number);
        }
        for (number, refusal) in REFUSALS.iter().enumerate() {
            assert_eq!(*refusal as usize, number);
        }
    }

    #[test]
    fn a_failure_survives_the_wire() {
        for step in ALL {
            for cause in [
                Cause::Errno(Errno::EPERM),
                Refusal::InsideProc.into(),
                Cause::Exit(255),
                Cause::Signal(9),
                Cause::TimedOut(u32::MAX),
                Cause::Parameter(u16::MAX, Errno::EINVAL),
            ] {
                let failure = Failure {
                    step,
                    item: 511,
                    cause,
                };
                assert_eq!(Failure::decode(failure.encode()), Some(failure));
            }
        }
    }

    #[test]
    fn foreign_bytes_are_no_failure() {
        assert_eq!(Failure::decode([255, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 9, 0, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 1, 200, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 1, 255, 255, 255, 255]), None);
    }
}
