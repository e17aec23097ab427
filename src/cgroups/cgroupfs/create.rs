//! Making a container's cgroups, and taking its first process in.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Uid;

use super::created::{Leaf, Open, Wired};
use super::existing::Existing;
use super::refusal::refuse_if_nowhere;
use super::unused::{check_unused_v1, check_unused_v2};
use super::write::write_all;
use crate::cgroups::directory::make::make_all;
use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::devices;
use crate::cgroups::plan::limits::ignored;
use crate::cgroups::planned::{Branch, Cgroups, Tree, Unified};
use crate::cgroups::v1::cpuset::inherit_cpuset;
use crate::cgroups::v2::controllers::descend;
use crate::cgroups::v2::delegate::hand_over;
use crate::cgroups::v2::threaded::fit_among_threads;
use crate::host::UNIFIED;
use crate::log;
use crate::sys::{self, BpfInstruction, CloseBatch};

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

impl Branch {
    fn wire(&self, root: &Directory, created: &mut Vec<PathBuf>) -> Result<Leaf> {
        let made = make_all(root, &self.path, created);
        let (leaf, origin) = made.with_context(|| making(&self.mount.join(&self.path)))?;
        match origin {
            Origin::Found if self.is_unified() => check_unused_v2(&leaf)?,
            Origin::Found => check_unused_v1(&leaf)?,
            Origin::Made => {}
        }
        if self.controllers.iter().any(|name| name == "cpuset") {
            inherit_cpuset(root, &self.path, (&leaf, origin), &self.settings)
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
    fn wire(&self, created: &mut Vec<PathBuf>) -> Result<Open> {
        let (leaf, origin, controllers) = descend(&self.mount, &self.path, created)
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
