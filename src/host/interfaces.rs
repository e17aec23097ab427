//! The kernel's interfaces that `rt` uses and that not every kernel has, or that a sandbox refuses.

use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, openat2};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::utsname::uname;

use super::{CgroupLayout, Host};
use crate::sys;

/// The oldest release of Linux that `rt` is written for.
pub(crate) const MINIMUM_RELEASE: &str = "5.10";

/// An interface of the kernel.
pub(crate) struct Interface {
    pub(crate) name: &'static str,
    /// The first release with it.
    pub(crate) since: &'static str,
    /// What is weaker without it.
    pub(crate) without: &'static str,
    /// Whether this kernel has it. An error says why that is not known.
    pub(crate) found: Result<bool>,
}

/// The release of the kernel (uname(2)).
///
/// # Errors
/// When uname(2) fails.
pub(crate) fn release() -> Result<String> {
    Ok(uname()?.release().to_string_lossy().into_owned())
}

/// Probes each interface without a lasting effect. `lowerdir_append` is the result for overlay file systems,
/// which another module tries.
pub(crate) fn interfaces(
    host: &Result<Host>,
    lowerdir_append: impl FnOnce() -> nix::Result<bool>,
) -> Vec<Interface> {
    let mount_setattr = host_fact(host, |host| Ok(host.kernel.mount_setattr));
    let cgroup_kill = host_fact(host, has_cgroup_kill);
    let lowerdir_append = has_lowerdir_append(lowerdir_append);
    let time = Ok(Path::new("/proc/self/ns/time").exists());
    let into_cgroup = call(sys::try_clone_into_cgroup());
    let all = [
        ("open_tree", "5.2", NOTHING, call(sys::try_open_tree())),
        ("pidfd_open", "5.3", NOTHING, call(sys::try_pidfd_open())),
        ("openat2", "5.6", NOTHING, call(try_openat2())),
        ("time namespaces", "5.6", "no linux.timeOffsets", time),
        ("CLONE_INTO_CGROUP", "5.7", NOTHING, into_cgroup),
        ("close_range", "5.9", NOTHING, call(sys::try_close_range())),
        ("BPF memory", "5.11", RAISED_LIMIT, since((5, 11))),
        ("overlay userxattr", "5.11", NO_OVERLAY, since((5, 11))),
        ("mount_setattr", "5.12", SLOWER, mount_setattr),
        (
            "cgroup.kill",
            "5.14",
            "processes are killed one by one",
            cgroup_kill,
        ),
        ("MFD_NOEXEC_SEAL", "6.3", EXECUTABLE, has_noexec_seal()),
        (
            "tmpfs xattrs",
            "6.6",
            "tmpcopyup loses them",
            has_tmpfs_xattrs(),
        ),
        ("overlay lowerdir+", "6.7", LONG_LISTS, lowerdir_append),
    ];
    let interface = |(name, since, without, found)| Interface {
        name,
        since,
        without,
        found,
    };
    all.into_iter().map(interface).collect()
}

/// What is weaker without an interface. `rt` has no other way than some of them.
const NOTHING: &str = "rt does not work";
const RAISED_LIMIT: &str = "RLIMIT_MEMLOCK is raised to load device rules";
const NO_OVERLAY: &str = "no rt.rootfs.overlay in user namespaces";
const SLOWER: &str = "no idmapped mounts, no rro; commands are slower";
const EXECUTABLE: &str = "files in memory can be executed";
const LONG_LISTS: &str = "long lists of layers take a process";

fn host_fact<T>(host: &Result<Host>, fact: impl FnOnce(&Host) -> Result<T>) -> Result<T> {
    match host {
        Ok(host) => fact(host),
        Err(error) => Err(anyhow!("{}", crate::log::format_error(error))),
    }
}

/// The kernel has a call unless it returns `ENOSYS`, or `E2BIG` for a structure that it does not know.
fn call(tried: nix::Result<()>) -> Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(Errno::ENOSYS | Errno::E2BIG) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn try_openat2() -> nix::Result<()> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    openat2(AT_FDCWD, "/", how).map(drop)
}

/// For an interface that cannot be tried.
fn since(first: (u32, u32)) -> Result<bool> {
    let release = release()?;
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse::<u32>().ok());
    let own = numbers.next().flatten().zip(numbers.next().flatten());
    own.map(|own| own >= first)
        .ok_or_else(|| anyhow!("release {release}"))
}

/// Every cgroup of version 2 has the file, except the root.
fn has_cgroup_kill(host: &Host) -> Result<bool> {
    let root = match &host.cgroups {
        CgroupLayout::V2 { mount, .. } => mount,
        CgroupLayout::V1 {
            unified: Some(unified),
            ..
        } => &unified.mount,
        CgroupLayout::V1 { unified: None, .. } => return Err(anyhow!("no cgroup v2 is mounted")),
    };
    let mut cgroups = fs::read_dir(root)?.filter_map(Result::ok);
    let below = cgroups.find(|entry| entry.path().is_dir());
    let below = below.ok_or_else(|| anyhow!("there is no cgroup below the root"))?;
    Ok(below.path().join("cgroup.kill").exists())
}

fn anonymous(flags: MFdFlags) -> nix::Result<std::os::fd::OwnedFd> {
    memfd_create(c"rt", MFdFlags::MFD_CLOEXEC | flags)
}

fn has_noexec_seal() -> Result<bool> {
    match anonymous(MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Ok(_) => Ok(true),
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A file in memory is on a tmpfs.
fn has_tmpfs_xattrs() -> Result<bool> {
    const NAME: &CStr = c"user.rt";
    let file = sys::anonymous_file(c"rt")?;
    match sys::fsetxattr(file.as_fd(), NAME, b"1") {
        Ok(()) => Ok(true),
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The kernel is asked only if it has overlay: otherwise it would load a module.
fn has_lowerdir_append(try_it: impl FnOnce() -> nix::Result<bool>) -> Result<bool> {
    let file_systems = fs::read_to_string("/proc/filesystems")?;
    if !file_systems.lines().any(|line| line == "nodev\toverlay") {
        return Err(anyhow!("overlay is not loaded"));
    }
    try_it().map_err(Error::from)
}
