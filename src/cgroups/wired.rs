//! Making a container's cgroups, and taking its first process in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::devices;
use super::directory::{Directory, Origin, make_all, put};
use super::existing::{check_unused_v1, check_unused_v2};
use super::settings::write_all;
use super::{Branch, Cgroups, Entry, Existing, Tree, Unified, v1, v2};
use crate::log;
use crate::sys::{self, BpfInstruction, Spent};

/// The directories made and open, until the container's first process is in them.
pub(crate) struct Wired {
    open: Open,
    existing: Existing,
}

enum Open {
    /// Each with its controllers.
    V1(Vec<(Vec<String>, Directory)>),
    V2(Directory, Entry),
}

impl Cgroups {
    /// Makes the directories, enables controllers, writes limits and the rules
    /// for devices.
    ///
    /// # Errors
    /// What the kernel refuses, with its place in the configuration; what was
    /// made until then is removed.
    pub(crate) fn wire(&self) -> Result<Wired> {
        for field in &self.ignored {
            log::warn_later(format!(
                "{field}: ignored: kernel memory has no limit of its own any more"
            ));
        }
        let mut created = Vec::new();
        let open = match &self.tree {
            Tree::V1(branches) => wire_all(branches, &mut created).map(Open::V1),
            Tree::V2(unified) => unified.wire(&mut created),
        };
        created.reverse();
        let existing = Existing::new(self.paths(), created);
        match open {
            Ok(open) => Ok(Wired { open, existing }),
            Err(error) => {
                if let Err(left) = existing.remove() {
                    log::warn(&format!("{left:#}"));
                }
                Err(error)
            }
        }
    }
}

/// The roots are opened first and the leaves then, so that either can be closed
/// together.
fn wire_all(
    branches: &[Branch],
    created: &mut Vec<PathBuf>,
) -> Result<Vec<(Vec<String>, Directory)>> {
    let open = |branch: &Branch| {
        Directory::open(&branch.mount).with_context(|| making(&branch.mount.join(&branch.path)))
    };
    let roots = branches.iter().map(open).collect::<Result<Vec<_>>>()?;
    let leaves = branches.iter().zip(&roots);
    let leaves = leaves
        .map(|(branch, root)| branch.wire(root, created))
        .collect();
    let spent = Spent::default();
    roots.into_iter().for_each(|root| spent.add(root.into_fd()));
    leaves
}

impl Branch {
    fn wire(
        &self,
        root: &Directory,
        created: &mut Vec<PathBuf>,
    ) -> Result<(Vec<String>, Directory)> {
        let made = make_all(root, &self.path, created);
        let (leaf, origin) = made.with_context(|| making(&self.mount.join(&self.path)))?;
        if origin == Origin::Found {
            check_unused_v1(&leaf)?;
        }
        if self.controllers.iter().any(|name| name == "cpuset") {
            v1::inherit_cpuset(root, &self.path, (&leaf, origin), &self.settings)
                .context("linux.cgroupsPath")?;
        }
        write_all(&self.settings, &leaf)?;
        Ok((self.controllers.clone(), leaf))
    }
}

impl Unified {
    fn wire(&self, created: &mut Vec<PathBuf>) -> Result<Open> {
        let (leaf, origin, controllers) = v2::descend(&self.mount, &self.path, created)
            .with_context(|| making(&self.mount.join(&self.path)))?;
        if origin == Origin::Found {
            check_unused_v2(&leaf)?;
        }
        // What is made right below the root is of the ordinary type.
        if origin == Origin::Found || self.path.components().count() > 1 {
            check_type(&leaf)?;
        }
        for setting in &self.settings {
            controllers.check(setting)?;
        }
        write_all(&self.settings, &leaf)?;
        self.judge_devices(leaf.as_fd(), origin)
            .context(devices::PLACE)?;
        Ok(Open::V2(leaf, self.entry))
    }

    /// Attaches the program. In a cgroup that was there before, that of an
    /// earlier container goes, after ours has come: no moment without any.
    fn judge_devices(&self, leaf: BorrowedFd, origin: Origin) -> Result<()> {
        let earlier = match origin {
            Origin::Made => Vec::new(),
            Origin::Found => sys::bpf_own_device_programs(leaf).context("earlier programs")?,
        };
        if let Some(program) = &self.program {
            let program = load(program).context("load the program")?;
            sys::bpf_attach_device_program(leaf, program.as_fd()).context("attach the program")?;
        }
        for program in earlier {
            sys::bpf_detach_device_program(leaf, program.as_fd()).context("earlier program")?;
        }
        Ok(())
    }
}

fn making(path: &Path) -> String {
    format!("linux.cgroupsPath: make cgroup {}", path.display())
}

/// Refuses a cgroup that takes threads only (cgroup-v2.rst, "Threads").
fn check_type(leaf: &Directory) -> Result<()> {
    let path = leaf.path().display();
    let kind = leaf
        .line("cgroup.type")
        .with_context(|| format!("read {path}/cgroup.type"))?;
    if !matches!(kind.as_str(), "domain" | "domain threaded") {
        bail!("linux.cgroupsPath: {path} is of the type \"{kind}\", which takes no whole process");
    }
    Ok(())
}

fn load(program: &[BpfInstruction]) -> nix::Result<OwnedFd> {
    match sys::bpf_load_device_program(program) {
        // Before Linux 5.11 programs counted as locked memory, of which all
        // containers of a user together had 64 KiB.
        Err(Errno::EPERM) => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
            setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
            let loaded = sys::bpf_load_device_program(program);
            setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
            loaded
        }
        done => done,
    }
}

impl Drop for Wired {
    /// Many descriptors with neighbouring numbers: closed by few calls.
    fn drop(&mut self) {
        let spent = Spent::default();
        if let Open::V1(all) = &mut self.open {
            all.drain(..)
                .for_each(|(_, directory)| spent.add(directory.into_fd()));
        }
    }
}

impl Wired {
    /// Version 2: the directory to be born in (clone3(2), `CLONE_INTO_CGROUP`).
    /// `None` when the process must be admitted instead.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match &self.open {
            Open::V2(leaf, Entry::Birth) => Some(leaf.as_fd()),
            Open::V2(_, Entry::Move) | Open::V1(_) => None,
        }
    }

    /// Moves the process `pid` into every directory that it was not born in.
    ///
    /// # Errors
    /// Those of writing to cgroup.procs.
    pub(crate) fn admit(&self, pid: Pid) -> Result<()> {
        let directories: Vec<&Directory> = match &self.open {
            Open::V1(all) => all.iter().map(|(_, directory)| directory).collect(),
            Open::V2(leaf, Entry::Move) => vec![leaf],
            Open::V2(_, Entry::Birth) => vec![],
        };
        let (pid, spent) = (pid.to_string(), Spent::default());
        for directory in directories {
            directory
                .file("cgroup.procs", OFlag::O_WRONLY)
                .and_then(|file| {
                    put(&file, &pid)?;
                    spent.add(file);
                    Ok(())
                })
                .with_context(|| {
                    let path = directory.path().display();
                    format!("write \"{pid}\" to {path}/cgroup.procs")
                })?;
        }
        Ok(())
    }

    /// Directories that `wire` made, deepest first: all that delete may remove.
    pub(crate) fn created(&self) -> &[PathBuf] {
        self.existing.created()
    }

    /// Removes what `wire` made; kills nothing.
    ///
    /// # Errors
    /// Those of [`Existing::remove`].
    pub(crate) fn undo(&self) -> Result<()> {
        self.existing.remove()
    }

    /// How many processes the kernel killed in here for want of memory; `None`
    /// when it does not say.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let text = match &self.open {
            Open::V1(all) => {
                let memory = |(names, _): &&(Vec<String>, _)| names.iter().any(|n| n == "memory");
                all.iter().find(memory)?.1.line("memory.oom_control")
            }
            Open::V2(leaf, _) => leaf.line("memory.events"),
        };
        text.ok()?
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}
