//! What a process is planned from beside `process` of config.json.

use oci_spec::runtime::LinuxSeccomp;

use super::caller::Caller;
use super::descriptors::Passed;
use super::init::Init;
use super::memory_policy::MemoryPolicy;
use super::personality::Personality;
use super::seccomp::Seccomp;
use super::stdio::StdioOwnership;

/// What [`super::Process::plan`] needs beside `process` of config.json.
pub(crate) struct Options<'a> {
    /// The container's id, from which its session keyring gets its name.
    pub(crate) id: &'a str,
    /// Whether the process gets a session keyring of the container instead of the caller's.
    pub(crate) new_keyring: bool,
    pub(crate) caller: &'a Caller,
    /// Whether SELinux is enabled on this host. Only read for a process that has a label.
    pub(crate) selinux: bool,
    /// Whether AppArmor is enabled on this host. Only read for a process that has a
    /// profile.
    pub(crate) apparmor: bool,
    /// `linux.seccomp`.
    pub(crate) filter: SeccompSource<'a>,
    /// `linux.memoryPolicy`.
    pub(crate) memory_policy: Option<MemoryPolicy>,
    /// `linux.personality`.
    pub(crate) personality: Option<Personality>,
    pub(crate) kind: ProcessKind,
    /// `rt.init`.
    pub(crate) init: Option<Init>,
    pub(crate) streams: StdioOwnership,
    /// Descriptors to pass to the process beside standard input, output and error.
    pub(crate) passed: Passed,
    /// Whether the process keeps the caller's additional groups.
    pub(crate) keeps_groups: bool,
    /// `NAME=value`, which the runtime adds to `process.env`.
    pub(crate) variable: Option<&'a str>,
}

/// Where the seccomp filter comes from.
pub(crate) enum SeccompSource<'a> {
    None,
    Profile(&'a LinuxSeccomp),
    /// The filter that was compiled when the container was created.
    Compiled(Seccomp),
}

/// Which process of the container this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessKind {
    Init,
    /// A process that `rt exec` adds to a running container.
    ExecProcess,
}
