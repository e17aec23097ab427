//! Making a container's cgroups, and taking its first process in.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, Uid};

use super::devices;
use super::directory::{Directory, Origin, make_all, put};
use super::existing::{check_unused_v1, check_unused_v2};
use super::fit::{fit_among_threads, hand_over};
use super::settings::{Setting, write_all};
use super::update::ignored;
use super::{Branch, Cgroups, Entry, Existing, Need, Tree, Unified, v1, v2};
use crate::host::UNIFIED;
use crate::log;
use crate::sys::{self, BpfInstruction, CloseBatch};

/// The directories made and open, until the container's first process is in them.
pub(crate) struct Wired {
    need: Need,
    named: bool,
    open: Open,
    existing: Existing,
}

enum Open {
    V1(Vec<Leaf>),
    V2(Leaf),
    /// The caller's own do.
    None,
}

/// A cgroup that was made.
struct Leaf {
    controllers: Vec<String>,
    directory: Directory,
    duty: Duty,
    entry: Entry,
}

/// What a cgroup is for.
#[derive(Clone, Copy)]
struct Duty {
    /// Where a limit comes from that it has to keep.
    limit: Option<&'static str>,
    /// It keeps the rules for devices.
    devices: bool,
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
            log::warn_later(ignored(field));
        }
        let mut created = Vec::new();
        let open = match &self.tree {
            Tree::None => Ok(Open::None),
            Tree::V1(branches) => self.wire_all(branches, &mut created).map(Open::V1),
            Tree::V2(unified) => unified.wire(&mut created),
        };
        created.reverse();
        let existing = Existing::new(self.paths(), created);
        match open {
            Ok(open) => {
                let mut wired = Wired {
                    need: self.need,
                    named: self.named,
                    open,
                    existing,
                };
                wired.forget_paths();
                Ok(wired)
            }
            Err(error) => {
                if let Err(left) = existing.remove() {
                    log::warn(&log::sentence(&left));
                }
                match &self.tree {
                    Tree::V2(unified) if !self.named => {
                        self.need.judge(error, unified.duty())?;
                    }
                    Tree::V2(_) | Tree::None | Tree::V1(_) => return Err(error),
                }
                Ok(Wired {
                    need: self.need,
                    named: self.named,
                    open: Open::None,
                    existing: Existing::new(BTreeMap::new(), Vec::new()),
                })
            }
        }
    }
}

impl Need {
    /// Gives back an error that can be lived with: there are none but a user's
    /// rights in the way, and no limit that somebody has asked for. Rules for
    /// devices are in every configuration: root, who alone has to keep any, has
    /// said that it can be without.
    fn judge(self, error: Error, duty: Duty) -> Result<Error> {
        let refused = matches!(
            error.downcast_ref::<Errno>(),
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS)
        );
        match (self, refused, duty.limit) {
            (Need::WhereAllowed, true, None) => {
                if duty.devices {
                    log::warn_later(format!(
                        "{}: not kept: {}",
                        devices::PLACE,
                        log::sentence(&error)
                    ));
                }
                Ok(error)
            }
            (Need::WhereAllowed, true, Some(place)) => Err(error.context(format!(
                "{place}: a user needs a cgroup that is handed over, as by \
                     systemd-run --user --scope --property=Delegate=yes"
            ))),
            _ => Err(error),
        }
    }
}

impl Cgroups {
    /// The roots are opened first and the leaves then, so that either can be
    /// closed together.
    fn wire_all(&self, branches: &[Branch], created: &mut Vec<PathBuf>) -> Result<Vec<Leaf>> {
        let open = |branch: &Branch| {
            Directory::open(&branch.mount).with_context(|| making(&branch.mount.join(&branch.path)))
        };
        let roots = branches.iter().map(open).collect::<Result<Vec<_>>>()?;
        let (mut leaves, mut refused) = (Vec::new(), None);
        for (branch, root) in branches.iter().zip(&roots) {
            match branch.wire(root, created) {
                Ok(leaf) => leaves.push(leaf),
                Err(error) => {
                    let error = branch.need(self.need).judge(error, branch.duty())?;
                    refused = refused.or(Some(error));
                }
            }
        }
        let close_batch = CloseBatch::default();
        roots
            .into_iter()
            .for_each(|root| close_batch.add(root.into_fd()));
        refuse_if_nowhere(self.named && leaves.is_empty(), refused)?;
        Ok(leaves)
    }
}

/// The place that the configuration names would be passed over in silence.
fn refuse_if_nowhere(nowhere: bool, refused: Option<Error>) -> Result<()> {
    match refused {
        Some(error) if nowhere => Err(error),
        Some(_) | None => Ok(()),
    }
}

impl Branch {
    fn duty(&self) -> Duty {
        let rule = |setting: &&Setting| setting.place == devices::PLACE;
        let limit = self.settings.iter().find(|setting| !rule(setting));
        Duty {
            limit: limit.map(|setting| setting.place),
            devices: self.settings.iter().any(|setting| rule(&setting)),
        }
    }

    /// Beside version 1 nothing is limited in version 2: where it must not be
    /// changed, as with runc, the container does without.
    fn need(&self, need: Need) -> Need {
        match self.is_unified() {
            true => Need::WhereAllowed,
            false => need,
        }
    }

    fn wire(&self, root: &Directory, created: &mut Vec<PathBuf>) -> Result<Leaf> {
        let made = make_all(root, &self.path, created);
        let (leaf, origin) = made.with_context(|| making(&self.mount.join(&self.path)))?;
        match origin {
            Origin::Found if self.is_unified() => check_unused_v2(&leaf)?,
            Origin::Found => check_unused_v1(&leaf)?,
            Origin::Made => {}
        }
        if self.controllers.iter().any(|name| name == "cpuset") {
            v1::inherit_cpuset(root, &self.path, (&leaf, origin), &self.settings)
                .context("linux.cgroupsPath")?;
        }
        write_all(&self.settings, &leaf)?;
        Ok(Leaf {
            controllers: self.controllers.clone(),
            directory: leaf,
            duty: self.duty(),
            entry: self.entry,
        })
    }
}

impl Unified {
    fn duty(&self) -> Duty {
        Duty {
            limit: self.settings.first().map(|setting| setting.place),
            devices: self.program.is_some(),
        }
    }

    fn wire(&self, created: &mut Vec<PathBuf>) -> Result<Open> {
        let (leaf, origin, controllers) = v2::descend(&self.mount, &self.path, created)
            .with_context(|| making(&self.mount.join(&self.path)))?;
        if origin == Origin::Found {
            check_unused_v2(&leaf)?;
        }
        // What is made right below the root is of the ordinary type.
        if origin == Origin::Found || self.path.components().count() > 1 {
            fit_among_threads(&leaf, created)?;
        }
        for setting in &self.settings {
            controllers.check(setting)?;
        }
        write_all(&self.settings, &leaf)?;
        self.judge_devices(leaf.as_fd(), origin)
            .context(devices::PLACE)?;
        if let Some(owner) = self.owner {
            hand_over(&leaf, Uid::from_raw(owner)).with_context(|| {
                format!("linux.cgroupsPath: hand {} over", leaf.path().display())
            })?;
        }
        let leaf = Leaf {
            controllers: vec![UNIFIED.to_owned()],
            directory: leaf,
            duty: self.duty(),
            entry: self.entry,
        };
        Ok(Open::V2(leaf))
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

impl Directory {
    fn admit(&self, pid: &str, close_batch: &CloseBatch) -> Result<()> {
        let moved = self.file("cgroup.procs", OFlag::O_WRONLY).and_then(|file| {
            put(&file, pid)?;
            close_batch.add(file);
            Ok(())
        });
        moved.with_context(|| {
            let path = self.path().display();
            format!("linux.cgroupsPath: write \"{pid}\" to {path}/cgroup.procs")
        })
    }
}

fn making(path: &Path) -> String {
    format!("linux.cgroupsPath: make cgroup {}", path.display())
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
        let close_batch = CloseBatch::default();
        if let Open::V1(all) = &mut self.open {
            all.drain(..)
                .for_each(|leaf| close_batch.add(leaf.directory.into_fd()));
        }
    }
}

impl Wired {
    /// Version 2: the directory to be born in (clone3(2), `CLONE_INTO_CGROUP`).
    /// `None` when the process must be admitted instead.
    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        let leaf = match &self.open {
            Open::V2(leaf) => Some(leaf),
            Open::V1(all) => all.iter().find(|leaf| leaf.entry == Entry::Birth),
            Open::None => None,
        };
        let born = leaf.filter(|leaf| leaf.entry == Entry::Birth);
        born.map(|leaf| leaf.directory.as_fd())
    }

    /// Moves the process `pid` into every directory that it was not born in.
    ///
    /// # Errors
    /// Those of writing to cgroup.procs.
    pub(crate) fn admit(&mut self, pid: Pid) -> Result<()> {
        let need = self.need;
        let (pid, close_batch) = (pid.to_string(), CloseBatch::default());
        let mut refused = None;
        let mut admitted = |leaf: &Leaf| {
            if leaf.entry == Entry::Birth {
                return Ok(true);
            }
            let moved = leaf.directory.admit(&pid, &close_batch);
            moved.map(|()| true).or_else(|error| {
                refused = Some(need.judge(error, leaf.duty)?);
                anyhow::Ok(false)
            })
        };
        let nowhere = match &mut self.open {
            Open::None => return Ok(()),
            Open::V2(leaf) => {
                let nowhere = !admitted(leaf)?;
                if nowhere {
                    self.open = Open::None;
                }
                nowhere
            }
            Open::V1(all) => {
                let mut kept = Vec::with_capacity(all.len());
                for leaf in all.drain(..) {
                    if admitted(&leaf)? {
                        kept.push(leaf);
                    }
                }
                *all = kept;
                all.is_empty()
            }
        };
        if refused.is_some() {
            self.forget_paths();
        }
        refuse_if_nowhere(self.named && nowhere, refused)
    }

    /// The container's cgroups are those alone that it is in.
    fn forget_paths(&mut self) {
        let own: Vec<&Leaf> = match &self.open {
            Open::V1(all) => all.iter().collect(),
            Open::V2(leaf) => vec![leaf],
            Open::None => Vec::new(),
        };
        self.existing.retain(|name| {
            own.iter()
                .any(|leaf| leaf.controllers.iter().any(|own| own == name))
        });
    }

    /// Controller to directory, of the cgroups that there are.
    pub(crate) fn paths(&self) -> &BTreeMap<String, PathBuf> {
        self.existing.paths()
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
                let memory = |leaf: &&Leaf| leaf.controllers.iter().any(|name| name == "memory");
                let leaf = all.iter().find(memory)?;
                leaf.directory.line("memory.oom_control")
            }
            Open::V2(leaf) => leaf.directory.line("memory.events"),
            Open::None => return None,
        };
        text.ok()?
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }
}
