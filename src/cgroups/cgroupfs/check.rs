//! What `rt check` can find out about a container's cgroups without making or changing one.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::AccessFlags;

use super::create::making;
use super::huge_page_sizes::huge_page_sizes;
use super::refusal::fail_without_cgroups;
use super::unused::{check_unused_v1, check_unused_v2};
use crate::cgroups::directory::Directory;
use crate::cgroups::plan::huge_pages;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::planned::{Cgroups, HierarchyCgroup, Layout, UnifiedCgroup};
use crate::cgroups::v2::controllers::Controllers;

impl Cgroups {
    /// Checks what [`Cgroups::wire`] needs, and logs its warnings.
    ///
    /// # Errors
    /// The error of [`Cgroups::wire`] for a missing controller or permission, or for a cgroup of
    /// `linux.cgroupsPath` that is in use.
    pub(crate) fn check(&self) -> Result<()> {
        self.warn_of_ignored();
        if self.scope.is_some() {
            return Ok(()); // systemd makes the cgroup, and was asked while this was planned.
        }
        match &self.layout {
            Layout::None => Ok(()),
            Layout::V1(cgroups) => self.check_all(cgroups),
            Layout::V2(cgroup) => match cgroup.check(self.path_is_configured) {
                Err(error) if !self.path_is_configured => {
                    let tolerated = self.requirement.tolerate(error, cgroup.dependents());
                    tolerated.map(drop)
                }
                done => done,
            },
        }
    }

    /// The directories in which [`Cgroups::wire`] would make the container's cgroups, and whether it may.
    pub(crate) fn parents(&self) -> BTreeMap<PathBuf, bool> {
        let cgroups: Vec<(&PathBuf, &PathBuf)> = match &self.layout {
            Layout::None => Vec::new(),
            Layout::V1(all) => all.iter().map(|one| (&one.mount, &one.path)).collect(),
            Layout::V2(cgroup) => vec![(&cgroup.mount, &cgroup.path)],
        };
        let parent = |(mount, path): (&PathBuf, &PathBuf)| {
            let root = Directory::open(mount);
            let missing = root.and_then(|root| existing(root, path, |_| Ok(())));
            let directory = mount.join(path.parent().unwrap_or(Path::new("")));
            (directory.components().collect(), missing.is_ok())
        };
        cgroups.into_iter().map(parent).collect()
    }

    fn check_all(&self, cgroups: &[HierarchyCgroup]) -> Result<()> {
        let (mut has_cgroups, mut refusal) = (false, None);
        for cgroup in cgroups {
            match cgroup.check(self.path_is_configured) {
                Ok(()) => has_cgroups = true,
                Err(error) => {
                    let requirement = cgroup.requirement(self.requirement);
                    let error = requirement.tolerate(error, cgroup.dependents())?;
                    refusal = refusal.or(Some(error));
                }
            }
        }
        fail_without_cgroups(self.path_is_configured, has_cgroups, refusal)
    }
}

impl HierarchyCgroup {
    /// A path that is not configured is made of the id, which is not known.
    fn check(&self, path_is_configured: bool) -> Result<()> {
        let place = || making(&self.mount.join(&self.path));
        let root = Directory::open(&self.mount).with_context(place)?;
        check_page_sizes(&self.settings, &root)?;
        match existing(root, &self.path, |_| Ok(())).with_context(place)? {
            Some(directory) if path_is_configured && self.is_unified() => {
                check_unused_v2(&directory)
            }
            Some(directory) if path_is_configured => check_unused_v1(&directory),
            _ => Ok(()),
        }
    }
}

impl UnifiedCgroup {
    fn check(&self, path_is_configured: bool) -> Result<()> {
        let place = || making(&self.mount.join(&self.path));
        let root = Directory::open(&self.mount).with_context(place)?;
        check_page_sizes(&self.settings, &root)?;
        let mut controllers = Controllers::of(&root).with_context(place)?;
        let found = existing(root, &self.path, |parent| {
            controllers.check_enabling(parent)
        });
        match found.with_context(place)? {
            Some(directory) if path_is_configured => check_unused_v2(&directory)?,
            _ => {}
        }
        let mut settings = self.settings.iter();
        settings.try_for_each(|setting| controllers.check(setting))
    }
}

/// The error of [`Cgroups::wire`] for huge pages of a size that the host does not have.
fn check_page_sizes(settings: &[Setting], root: &Directory) -> Result<()> {
    for setting in settings {
        let (size, sizes) = match huge_pages::size_of(&setting.file) {
            Some(size) => (size, huge_page_sizes()),
            None => continue,
        };
        if sizes.is_some_and(|sizes| sizes.iter().all(|known| known != size)) {
            return Err(setting.refusal(Errno::ENOENT, root));
        }
    }
    Ok(())
}

/// Opens the cgroup `path` below `root`. `None` if it is missing and can be made. Calls `visit` for each
/// directory above it that exists.
///
/// # Errors
/// When it cannot be opened, or may not be made.
fn existing(
    root: Directory,
    path: &Path,
    mut visit: impl FnMut(&Directory) -> nix::Result<()>,
) -> nix::Result<Option<Directory>> {
    let mut current = root;
    for name in path.components() {
        let Component::Normal(name) = name else {
            continue;
        };
        visit(&current)?;
        current = match current.below(Path::new(name)) {
            Err(Errno::ENOENT) => {
                current.check_access("", AccessFlags::W_OK | AccessFlags::X_OK)?;
                return Ok(None);
            }
            child => child?,
        };
    }
    Ok(Some(current))
}
