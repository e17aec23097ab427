//! What a container could leave on the host: a snapshot, and its comparison with a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Bundle, host};

/// A process by its pid and start time, which stay the same through execve(2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Process {
    pid: i32,
    /// In clock ticks since boot, proc_pid_stat(5).
    started: u64,
}

/// The host's mounts, cgroups and processes, the runtime's `--root` and the bundle's files.
#[derive(Debug)]
pub(crate) struct HostState {
    mounts: Vec<String>,
    cgroups: BTreeSet<PathBuf>,
    processes: BTreeMap<Process, String>,
    states: BTreeSet<String>,
    rootfs: BTreeSet<String>,
}

impl HostState {
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let states = tree(&bundle.runtime().root());
        let table = Table::read();
        Self {
            mounts: host::mountinfo(),
            cgroups: cgroups(&table),
            processes: processes(bundle.path(), &table),
            states: states
                .into_iter()
                .filter(|name| !name.starts_with(".cache"))
                .collect(),
            rootfs: tree(&bundle.rootfs()),
        }
    }

    /// The mount table of the host at that time.
    pub(crate) fn mounts(&self) -> &[String] {
        &self.mounts
    }

    /// Asserts that nothing was added or removed since.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self, bundle: &Bundle) {
        let changes = self.changes_since(bundle);
        assert!(
            changes.is_empty(),
            "left behind (+) or taken away (-):\n{changes}"
        );
    }

    /// Asserts that nothing was added since. Something may have been removed.
    #[track_caller]
    pub(crate) fn assert_nothing_added(&self, bundle: &Bundle) {
        let is_addition = |change: &String| change.starts_with("  +");
        let added = self.changes_when(bundle, is_addition);
        assert!(added.is_empty(), "left behind:\n{}", added.join("\n"));
    }

    /// What was added and removed, a line each.
    pub(crate) fn changes_since(&self, bundle: &Bundle) -> String {
        self.changes_when(bundle, |_| true).join("\n")
    }

    /// The changes that count. The kernel gets a moment to end processes.
    fn changes_when(&self, bundle: &Bundle, counts: impl Fn(&String) -> bool) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let mut changes = self.changes(&Self::of(bundle));
            changes.retain(&counts);
            if changes.is_empty() || Instant::now() > deadline {
                return changes;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let mounts = |state: &Self| state.mounts.iter().cloned().collect();
        compare("mount", &mounts(self), &mounts(now), &mut changes);
        // Other programs end processes and remove cgroups of their own.
        let cgroups = now.cgroups.difference(&self.cgroups);
        changes.extend(cgroups.map(|cgroup| format!("  + cgroup {}", cgroup.display())));
        let known = |process: &Process| self.processes.contains_key(process);
        let new = now.processes.iter().filter(|(process, _)| !known(process));
        changes.extend(new.map(|(process, line)| format!("  + process {} {line}", process.pid)));
        compare("state", &self.states, &now.states, &mut changes);
        compare("rootfs", &self.rootfs, &now.rootfs, &mut changes);
        changes
    }
}

fn compare(what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>, changes: &mut Vec<String>) {
    changes.extend(new.difference(old).map(|item| format!("  + {what} {item}")));
    changes.extend(old.difference(new).map(|item| format!("  - {what} {item}")));
}

/// The processes of the host at one moment.
struct Table(BTreeMap<i32, Entry>);

struct Entry {
    parent: i32,
    is_alive: bool,
    /// In clock ticks since boot.
    started: u64,
}

/// Every kernel thread is a child of this one.
const KTHREADD: i32 = 2;

impl Table {
    fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        Self(
            pids.filter_map(|pid| Some((pid, Entry::read(pid)?)))
                .collect(),
        )
    }

    /// Whether a process descends from this one.
    fn descends(&self, pid: i32) -> bool {
        let own = std::process::id().cast_signed();
        let mut at = pid;
        while let Some(entry) = self.0.get(&at) {
            if entry.parent == own {
                return true;
            }
            at = entry.parent;
        }
        false
    }
}

impl Entry {
    /// Reads proc_pid_stat(5) by one call.
    fn read(pid: i32) -> Option<Self> {
        let mut text = [0; 1024];
        let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..length]);
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        Some(Self {
            is_alive: !matches!(fields.next()?, "Z" | "X"),
            parent: fields.next()?.parse().ok()?,
            // Field 22 of the line, where the state is field 3.
            started: fields.nth(17)?.parse().ok()?,
        })
    }
}

/// All cgroups, without those that only processes use that do not descend from this one.
fn cgroups(processes: &Table) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
                found.insert(entry.path());
            }
        }
    }
    found.retain(|cgroup| !is_foreign(cgroup, processes));
    found
}

/// Whether other tests that run at the same time have made it, or it is used by other processes than the
/// descendants of this one.
fn is_foreign(cgroup: &Path, processes: &Table) -> bool {
    let own = format!("suite-{}-", std::process::id());
    let of_other_tests = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        let of_a_suite = name
            .strip_prefix("suite-")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let of_engines = ["rt-", "libpod", "docker", "buildah", "containerd"];
        of_engines.iter().any(|start| name.starts_with(start))
            || (of_a_suite && !name.starts_with(&own))
    };
    // The hierarchies of v1 themselves are always there.
    let is_hierarchy = !host::on_v2() && cgroup.parent() == Some(Path::new("/sys/fs/cgroup"));
    if is_hierarchy || cgroup.iter().any(of_other_tests) {
        return true;
    }
    let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids = pids
        .lines()
        .filter_map(|pid| pid.parse::<i32>().ok())
        .peekable();
    pids.peek().is_some() && pids.all(|pid| !processes.descends(pid))
}

/// Every descendant of this process, and every process that runs from the bundle.
fn processes(bundle: &Path, table: &Table) -> BTreeMap<Process, String> {
    let mut found = BTreeMap::new();
    let users = table
        .0
        .iter()
        .filter(|(pid, entry)| **pid != KTHREADD && entry.parent != KTHREADD);
    for (&pid, entry) in users {
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let runs_from = |name: &&str| link(name).starts_with(bundle);
        if table.descends(pid) || ["root", "cwd", "exe"].iter().any(runs_from) {
            if entry.is_alive {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let started = entry.started;
                found.insert(Process { pid, started }, line);
            } else {
                host::reap(pid);
            }
        }
    }
    found
}

/// Every name below a directory with its type and mode, links with their targets.
pub(crate) fn tree(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let target = if meta.is_symlink() {
                fs::read_link(&path).unwrap_or_default()
            } else {
                PathBuf::new()
            };
            let name = path
                .strip_prefix(top)
                .unwrap_or(&path)
                .display()
                .to_string();
            found.insert(format!("{name} {:o} {}", meta.mode(), target.display()));
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    found
}
