//! Creates a container's cgroups and writes their settings.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use caps::Capability;
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Uid;

use super::created::{CreatedCgroups, OpenCgroup, OpenCgroups};
use super::existing::ExistingCgroups;
use super::hint::directory_hint;
use super::refusal::fail_without_cgroups;
use super::unused::{check_unused_v1, check_unused_v2};
use super::write::write_all;
use crate::cgroups::directory::make::make_with_parents;
use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::device_program::assemble;
use crate::cgroups::plan::devices;
use crate::cgroups::plan::limits::ignored_field;
use crate::cgroups::planned::{Cgroups, HierarchyCgroup, Layout, UnifiedCgroup};
use crate::cgroups::systemd::scope::Scope;
use crate::cgroups::v1::cpuset::inherit_cpuset;
use crate::cgroups::v2::controllers::create_with_controllers;
use crate::cgroups::v2::delegate::delegate;
use crate::cgroups::v2::threaded::join_threaded_subtree;
use crate::host::{UNIFIED, missing_capability};
use crate::log;
use crate::sys::{self, BpfInstruction, CloseBatch};

impl Cgroups {
    /// Makes the directories, enables controllers, and writes the limits and device rules.
    ///
    /// # Errors
    /// When the kernel refuses a part that the container cannot do without. The error names the
    /// configuration field. The directories made so far are removed.
    pub(crate) fn wire(&self) -> Result<CreatedCgroups> {
        self.warn_of_ignored();
        let scope = self.scope.as_ref().map(Scope::start).transpose()?;
        let (mut created, of_scope) = (Vec::new(), scope.is_some());
        let open = match &self.layout {
            Layout::None => Ok(OpenCgroups::None),
            Layout::V1(cgroups) => self.create_all(cgroups, &mut created).map(OpenCgroups::V1),
            Layout::V2(cgroup) => cgroup.create(&mut created, of_scope).map(OpenCgroups::V2),
        };
        created.reverse();
        if of_scope {
            self.add_directories_of_scope(&mut created);
        }
        let existing = ExistingCgroups::new(self.paths(), created);
        match open {
            Ok(open) => {
                let mut wired = CreatedCgroups {
                    requirement: self.requirement,
                    path_is_configured: self.path_is_configured,
                    open,
                    existing,
                    scope,
                };
                wired.retain_open_paths();
                Ok(wired)
            }
            Err(error) => {
                if let Some(scope) = &scope {
                    scope.undo();
                }
                if let Err(not_removed) = existing.remove() {
                    log::warn(&log::format_error(&not_removed));
                }
                match &self.layout {
                    Layout::V2(cgroup) if !self.path_is_configured => {
                        self.requirement.tolerate(error, cgroup.dependents())?;
                    }
                    Layout::V2(_) | Layout::None | Layout::V1(_) => return Err(error),
                }
                Ok(CreatedCgroups {
                    requirement: self.requirement,
                    path_is_configured: self.path_is_configured,
                    open: OpenCgroups::None,
                    existing: ExistingCgroups::new(BTreeMap::new(), Vec::new()),
                    scope: None,
                })
            }
        }
    }

    /// Adds the directories that systemd has made for the scope, deepest first. The container may
    /// make cgroups below them, which have to be removed.
    fn add_directories_of_scope(&self, created: &mut Vec<PathBuf>) {
        let mut own: Vec<PathBuf> = self.paths().into_values().collect();
        own.dedup();
        own.retain(|path| !created.contains(path));
        created.splice(..0, own);
    }

    /// Warns of fields that have no effect.
    pub(super) fn warn_of_ignored(&self) {
        for field in &self.ignored {
            log::defer_warning(ignored_field(field));
        }
    }

    /// Opens all hierarchies before it makes cgroups in them, so that the descriptors of either
    /// kind have neighbouring numbers and can be closed together.
    fn create_all(
        &self,
        cgroups: &[HierarchyCgroup],
        created: &mut Vec<PathBuf>,
    ) -> Result<Vec<OpenCgroup>> {
        let open_root = |cgroup: &HierarchyCgroup| {
            let path = cgroup.mount.join(&cgroup.path);
            Directory::open(&cgroup.mount).with_context(|| making(&path))
        };
        let roots = cgroups.iter().map(open_root).collect::<Result<Vec<_>>>()?;
        let (mut open, mut refusal) = (Vec::new(), None);
        for (cgroup, root) in cgroups.iter().zip(&roots) {
            match cgroup.create(root, created, self.scope.is_some()) {
                Ok(cgroup) => open.push(cgroup),
                Err(error) => {
                    let requirement = cgroup.requirement(self.requirement);
                    let error = requirement.tolerate(error, cgroup.dependents())?;
                    refusal = refusal.or(Some(error));
                }
            }
        }
        let close_batch = CloseBatch::default();
        roots
            .into_iter()
            .for_each(|root| close_batch.add(root.into_fd()));
        fail_without_cgroups(self.path_is_configured, !open.is_empty(), refusal)?;
        Ok(open)
    }
}

impl HierarchyCgroup {
    /// `of_scope`: systemd has made the cgroup in its own hierarchies.
    fn create(
        &self,
        root: &Directory,
        created: &mut Vec<PathBuf>,
        of_scope: bool,
    ) -> Result<OpenCgroup> {
        let (directory, origin) = make_with_parents(root, &self.path, created)
            .map_err(|errno| log::hinted(errno, directory_hint(errno)))
            .with_context(|| making(&self.mount.join(&self.path)))?;
        match origin {
            Origin::Found if of_scope => {}
            Origin::Created if of_scope && (self.is_unified() || self.is_named()) => {
                bail!(elsewhere(directory.path()))
            }
            Origin::Found if self.is_unified() => check_unused_v2(&directory)?,
            Origin::Found => check_unused_v1(&directory)?,
            Origin::Created => {}
        }
        if self.controllers.iter().any(|name| name == "cpuset") {
            inherit_cpuset(root, &self.path, (&directory, origin), &self.settings)
                .context("linux.cgroupsPath")?;
        }
        write_all(&self.settings, &directory)?;
        Ok(OpenCgroup {
            controllers: self.controllers.clone(),
            directory,
            dependents: self.dependents(),
            entry: self.entry,
        })
    }
}

impl UnifiedCgroup {
    /// `of_scope`: systemd has made the cgroup.
    fn create(&self, created: &mut Vec<PathBuf>, of_scope: bool) -> Result<OpenCgroup> {
        let (directory, origin, controllers) =
            create_with_controllers(&self.mount, &self.path, created)
                .map_err(|errno| log::hinted(errno, directory_hint(errno)))
                .with_context(|| making(&self.mount.join(&self.path)))?;
        match origin {
            Origin::Created if of_scope => bail!(elsewhere(directory.path())),
            Origin::Found if !of_scope => check_unused_v2(&directory)?,
            Origin::Created | Origin::Found => {}
        }
        // A new child of the root cgroup is always of the type "domain".
        if origin == Origin::Found || self.path.components().count() > 1 {
            join_threaded_subtree(&directory, created)?;
        }
        for setting in &self.settings {
            controllers.check(setting)?;
        }
        write_all(&self.settings, &directory)?;
        // The program of a new scope is systemd's.
        let programs_of = if of_scope { Origin::Created } else { origin };
        self.replace_device_program(directory.as_fd(), programs_of)
            .context(devices::FIELD)?;
        if let Some(owner) = self.owner {
            delegate(&directory, Uid::from_raw(owner)).with_context(|| {
                format!("linux.cgroupsPath: delegate {}", directory.path().display())
            })?;
        }
        Ok(OpenCgroup {
            controllers: vec![UNIFIED.to_owned()],
            directory,
            dependents: self.dependents(),
            entry: self.entry,
        })
    }

    /// Attaches the device program. A cgroup that existed before may have the program of an
    /// earlier container. That one is detached after ours is attached, so that the cgroup is
    /// never without a program.
    fn replace_device_program(&self, cgroup: BorrowedFd, origin: Origin) -> Result<()> {
        let earlier = match origin {
            Origin::Created => Vec::new(),
            Origin::Found => sys::bpf_own_device_programs(cgroup).context("earlier programs")?,
        };
        if let Some(policy) = &self.devices {
            let program = load(&assemble(policy)).map_err(program_error);
            let program = program.context("load the program")?;
            sys::bpf_attach_device_program(cgroup, program.as_fd())
                .map_err(program_error)
                .context("attach the program")?;
        }
        for program in earlier {
            sys::bpf_detach_device_program(cgroup, program.as_fd()).context("earlier program")?;
        }
        Ok(())
    }
}

pub(super) fn making(path: &Path) -> String {
    format!("linux.cgroupsPath: make cgroup {}", path.display())
}

/// The container would run outside of the cgroup that systemd has made.
fn elsewhere(path: &Path) -> String {
    format!(
        "linux.cgroupsPath: systemd has made no cgroup {}; has it another cgroup or mount namespace than rt?",
        path.display()
    )
}

fn program_error(errno: Errno) -> anyhow::Error {
    let is_missing = matches!(errno, Errno::EINVAL | Errno::ENOSYS);
    let hint = "does this kernel have CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF?";
    let hint = is_missing.then(|| hint.to_owned());
    let hint = hint.or_else(|| missing_capability(errno, &[Capability::CAP_SYS_ADMIN]));
    log::hinted(errno, hint)
}

fn load(program: &[BpfInstruction]) -> nix::Result<OwnedFd> {
    match sys::bpf_load_device_program(program) {
        // Before Linux 5.11 BPF programs counted as locked memory, and the programs of all
        // containers of a user together had to fit in RLIMIT_MEMLOCK, 64 KiB by default.
        Err(Errno::EPERM) => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
            setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
            let loaded = sys::bpf_load_device_program(program);
            setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
            loaded
        }
        loaded => loaded,
    }
}
