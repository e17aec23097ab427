//! The host of the tests: its mounts, processes and cgroups, and the place of this process among them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, geteuid};

pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// Moves this process to a cgroup below which relative cgroups can be made, and makes it a subreaper: orphaned
/// processes of the tests become its children, and can be found.
pub(crate) fn prepare() {
    if is_root() {
        drop(fs::write("/sys/fs/cgroup/memory/cgroup.procs", "0"));
    }
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        panic!("become a subreaper: {error}");
    }
}

/// The lines of the host's mount table, without those of other suites and of engines that run
/// at the same time.
pub(crate) fn mountinfo() -> Vec<String> {
    let own = format!("/rt-suite-{}-", std::process::id());
    let below = format!("{}/", std::env::temp_dir().display());
    let foreign = |line: &str| {
        let place = line.split(' ').nth(4).unwrap_or_default();
        (line.contains("/rt-suite-") || place.starts_with(&below)) && !line.contains(&own)
    };
    let table = fs::read_to_string("/proc/self/mountinfo");
    let table = table.unwrap_or_else(|e| panic!("read mountinfo: {e}"));
    table
        .lines()
        .filter(|line| !foreign(line))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn mount_points() -> Vec<String> {
    mountinfo()
        .iter()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect()
}

/// Waits until `holds` is true, for at most 30 s.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process exists and is no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    let state: Option<char> = stat(pid, 3);
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether the process sleeps in poll(2) or ppoll(2), which a runtime does that waits for something. One in
/// Go has threads that sleep in other calls.
pub(crate) fn blocks_in_poll(pid: i32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    number.is_some_and(|number: i64| number == SYS_POLL || number == libc::SYS_ppoll)
}

#[cfg(target_arch = "x86_64")]
const SYS_POLL: i64 = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const SYS_POLL: i64 = libc::SYS_ppoll;

/// A field of `/proc/PID/stat` by its number in proc_pid_stat(5), from 3 on: those after the name.
pub(crate) fn stat<T: FromStr>(pid: i32, field: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field - 3)?.parse().ok()
}

/// Waits until a process has ended, and reaps it if it is ours.
#[track_caller]
pub(crate) fn wait_gone(pid: i32) {
    assert!(
        ends_within(pid, Duration::from_secs(30)),
        "waited in vain for process {pid} to end"
    );
    reap(pid);
}

/// Waits until a process has ended: a pidfd says so (pidfd_open(2)).
#[allow(unsafe_code, reason = "nix does not wrap pidfd_open")]
pub(crate) fn ends_within(pid: i32, limit: Duration) -> bool {
    // SAFETY: takes two numbers; the result is a new descriptor or -1.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(number) = i32::try_from(opened) else {
        return false;
    };
    if number < 0 {
        return !alive(pid);
    }
    // SAFETY: the kernel has just opened it for this process, and nothing else knows its number.
    let pidfd = unsafe { OwnedFd::from_raw_fd(number) };
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last round is not a busy one.
        let left = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) if Instant::now() < deadline => {}
            Err(Errno::EINTR) => {}
            ended => return ended == Ok(1),
        }
    }
}

pub(crate) fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// Kills and reaps the exec processes of a container that were orphaned and became children of this process: the
/// container's init cannot end before (pid_namespaces(7)).
pub(crate) fn end_joined(id: &str) {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
    let children = children.unwrap_or_default();
    for pid in children.split_whitespace() {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let numbers: Vec<&str> = numbers.unwrap_or_default().split_whitespace().collect();
        let is_exec_process = numbers.len() > 1 && numbers.last() != Some(&"1");
        if let (true, true, Ok(pid)) = (is_exec_process, read("cgroup").contains(id), pid.parse()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = waitpid(Pid::from_raw(pid), None);
        }
    }
}

#[track_caller]
pub(crate) fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1, "no pid to signal: {pid}");
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        panic!("{signal} to {pid}: {error}");
    }
}

/// The namespace of a process as a link text.
pub(crate) fn namespace_of(pid: &str, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    link.map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The user namespace that owns the namespace at a path, as a link text.
#[allow(unsafe_code, reason = "no crate wraps this ioctl")]
pub(crate) fn owner_of_namespace(path: &str) -> String {
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("open {path}: {e}"));
    // `_IO(0xb7, 1)`, see ioctl_ns(2).
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: takes no argument; the result is a new descriptor or -1.
    let owner = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_USERNS) };
    let error = std::io::Error::last_os_error();
    assert!(owner >= 0, "who owns {path}: {error}");
    // SAFETY: the kernel has just opened it for this process, and nothing else knows its number.
    let owner = unsafe { OwnedFd::from_raw_fd(owner) };
    let inode = fs::File::from(owner).metadata();
    let inode = inode.unwrap_or_else(|e| panic!("who owns {path}: {e}"));
    format!("user:[{}]", inode.ino())
}

/// The capabilities that this process, though root's, does not have.
pub(crate) fn withheld_capabilities() -> BTreeSet<String> {
    let held = caps::read(None, caps::CapSet::Bounding);
    let held = held.unwrap_or_else(|e| panic!("read the bounding set: {e}"));
    let all = caps::all().into_iter();
    let without = all.filter(|capability| !held.contains(capability));
    without.map(|capability| capability.to_string()).collect()
}

/// Whether a directory lies on an overlay.
pub(crate) fn on_overlay(directory: &Path) -> bool {
    let found = nix::sys::statfs::statfs(directory);
    found.is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::OVERLAYFS_SUPER_MAGIC)
}

/// Whether the host has cgroup v2 alone.
pub(crate) fn on_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Where a controller's tree begins on the host; `""` for cgroup2.
pub(crate) fn cgroup_top(controller: &str) -> PathBuf {
    let top = Path::new("/sys/fs/cgroup");
    match controller.strip_prefix("name=") {
        _ if on_v2() => top.to_owned(),
        Some(name) => top.join(name),
        None if controller.is_empty() => top.join("unified"),
        None => top.join(controller),
    }
}

/// Where a controller (or `""` for cgroup2) has put a process, as a directory of the host.
pub(crate) fn cgroup_of(pid: i32, controller: &str) -> PathBuf {
    let controller = if on_v2() { "" } else { controller };
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let place = table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        (parts.next()? == controller).then(|| parts.next().map(str::to_owned))?
    });
    let place = place.unwrap_or_else(|| panic!("{pid} has no {controller} cgroup: {table}"));
    cgroup_top(controller).join(place.trim_start_matches('/'))
}

/// Removes a cgroup at the top of every hierarchy with all below it, as far as nothing runs there.
/// Nothing is removed for a name such as "" or "..": it stands for the cgroups of all tests.
pub(crate) fn remove_cgroup(name: &str) {
    let mut parts = Path::new(name).components().peekable();
    if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return;
    }
    if on_v2() {
        return remove_below(&cgroup_top("").join(name));
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        remove_below(&hierarchy.path().join(name));
    }
}

fn remove_below(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    drop(fs::remove_dir(cgroup));
}

/// A process that holds namespaces open for containers to join.
pub(crate) struct Holder(Child);

impl Holder {
    /// Unshares the kinds that `unshare` has flags for: `--net`, `--uts`, `--pid --fork`.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let mut command_line = vec!["unshare"];
        command_line.extend(flags);
        Self::start(&command_line)
    }

    /// One of each kind that a container can join without a user namespace.
    pub(crate) fn of_each_kind() -> Self {
        Self::new(&[
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--mount-proc",
        ])
    }

    /// The same through other programs: `setpriv .. unshare ..`.
    pub(crate) fn start(command_line: &[&str]) -> Self {
        let mut command = Command::new(command_line[0]);
        command
            .args(&command_line[1..])
            .args(["sh", "-c", "echo ready; exec sleep 1000"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("start {command_line:?}: {e}"));
        let mut ready = [0u8; 6];
        if let Some(out) = child.stdout.as_mut() {
            let read = std::io::Read::read_exact(out, &mut ready);
            read.unwrap_or_else(|e| panic!("{command_line:?}: {e}"));
        }
        Self(child)
    }

    /// The same below a new user namespace in which `maps` are set: lines of uid_map(5) and gid_map(5).
    ///
    /// With `--user` first in `flags` the other namespaces belong to the new one.
    pub(crate) fn with_maps(flags: &[&str], uids: &str, gids: &str) -> Self {
        let holder = Self::new(flags);
        for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
            let path = format!("/proc/{}/{file}", holder.pid());
            fs::write(&path, maps).unwrap_or_else(|e| panic!("write {maps:?} to {path}: {e}"));
        }
        holder
    }

    /// The process in the new namespaces: the child of unshare when it forked.
    pub(crate) fn pid(&self) -> i32 {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let child = children
            .unwrap_or_default()
            .split_whitespace()
            .next()
            .and_then(|c| c.parse().ok());
        child.unwrap_or_else(|| own.cast_signed())
    }

    pub(crate) fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.pid())
    }

    /// The namespace's link text.
    pub(crate) fn namespace(&self, kind: &str) -> String {
        namespace_of(&self.pid().to_string(), kind)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let pid = self.pid();
        // unshare first: it complains when its child has gone.
        drop(self.0.kill());
        if pid > 1 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        drop(self.0.wait());
        reap(pid);
    }
}
