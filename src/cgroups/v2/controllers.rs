//! Enables controllers from the root of the v2 hierarchy down to a new cgroup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail};
use nix::errno::Errno;
use nix::unistd::AccessFlags;

use crate::cgroups::directory::make::{make_or_open, retry_races};
use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::setting::Setting;

/// The file with the controllers that are enabled for the children of a cgroup.
const ENABLED: &str = "cgroup.subtree_control";

/// The controllers that a new cgroup has, and why it lacks others.
#[derive(Debug)]
pub(in crate::cgroups) struct Controllers {
    mount: PathBuf,
    available: BTreeSet<String>,
    /// Controller to the cgroup that could not enable it for its children, and the error.
    refused: BTreeMap<String, (PathBuf, Errno)>,
}

impl Controllers {
    /// The controllers of the root cgroup.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub(in crate::cgroups) fn of(root: &Directory) -> nix::Result<Controllers> {
        Ok(Controllers {
            mount: root.path().to_owned(),
            available: names(&root.read_page("cgroup.controllers")?),
            refused: BTreeMap::new(),
        })
    }

    /// # Errors
    /// When the host lacks the controller of `setting`, or it could not be enabled.
    pub(in crate::cgroups) fn check(&self, setting: &Setting) -> Result<()> {
        if setting.is_core() || self.available.contains(setting.controller.as_ref()) {
            return Ok(());
        }
        let (place, controller) = (setting.place(), setting.controller.as_ref());
        let Some((directory, errno)) = self.refused.get(controller) else {
            bail!(
                "{place}: this host has no {controller} controller (cgroup v2: {}/cgroup.controllers)",
                self.mount.display()
            );
        };
        let file = format!("{}/{ENABLED}", directory.display());
        let reason = match errno {
            Errno::EBUSY => {
                " (a cgroup with processes of its own has no controllers for others; move the processes to a cgroup below it)"
            }
            Errno::EOPNOTSUPP => " (a threaded cgroup has no controllers for whole processes)",
            _ => "",
        };
        Err(Error::new(*errno)
            .context(format!("write \"+{controller}\" to {file}{reason}"))
            .context(place))
    }

    /// Enables all available controllers for the children of `directory`: in one write, and one
    /// by one when the kernel refuses that.
    fn enable(&mut self, directory: &Directory) -> nix::Result<()> {
        let missing = self.missing_below(directory)?;
        if missing.is_empty() || directory.write(ENABLED, &plus(&missing)).is_ok() {
            return Ok(());
        }
        for controller in missing {
            if let Err(errno) = directory.write(ENABLED, &plus(std::slice::from_ref(&controller))) {
                self.refuse(controller, directory, errno);
            }
        }
        Ok(())
    }

    /// Does as if the available controllers were enabled for the children of `directory`, without a write.
    ///
    /// # Errors
    /// When `directory` cannot be read.
    pub(in crate::cgroups) fn check_enabling(&mut self, directory: &Directory) -> nix::Result<()> {
        let missing = self.missing_below(directory)?;
        if let Err(errno) = directory.check_access(ENABLED, AccessFlags::W_OK) {
            for controller in missing {
                self.refuse(controller, directory, errno);
            }
        }
        Ok(())
    }

    /// The controllers that are not enabled for the children of `directory` and can be.
    fn missing_below(&mut self, directory: &Directory) -> nix::Result<Vec<String>> {
        let enabled = names(&directory.read_page(ENABLED)?);
        let missing: Vec<String> = self.available.difference(&enabled).cloned().collect();
        if missing.is_empty() {
            return Ok(missing);
        }
        if let Some(errno) = must_not_enable(directory)? {
            for controller in missing {
                self.refuse(controller, directory, errno);
            }
            return Ok(Vec::new());
        }
        Ok(missing)
    }

    fn refuse(&mut self, controller: String, directory: &Directory, errno: Errno) {
        self.available.remove(&controller);
        self.refused
            .insert(controller, (directory.path().to_owned(), errno));
    }
}

/// Why controllers must not be enabled for the children of a cgroup: it has processes of its
/// own, or is an invalid domain. For some controllers the kernel would not refuse the write but
/// turn the cgroup into the root of a threaded subtree, in which no other process can be
/// (cgroup-v2.rst, "Threads"). The root cgroup may have both processes and controllers.
fn must_not_enable(directory: &Directory) -> nix::Result<Option<Errno>> {
    match directory.read_page("cgroup.type").as_deref() {
        // Only the root cgroup has no such file.
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(*errno),
        Ok("domain") => {}
        // The kernel enables threaded controllers only, and the type does not change.
        Ok("threaded" | "domain threaded") => return Ok(None),
        Ok(_) => return Ok(Some(Errno::EOPNOTSUPP)),
    }
    let processes = directory.read_page("cgroup.procs")?;
    Ok((!processes.is_empty()).then_some(Errno::EBUSY))
}

fn names(line: &str) -> BTreeSet<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// `+cpu +memory`.
fn plus(controllers: &[String]) -> String {
    let signed: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    signed.join(" ")
}

/// Opens the cgroup `relative` below `mount`. Makes missing directories, and enables all
/// available controllers in each parent. Paths that are made are added to `created`, parents
/// first.
///
/// # Errors
/// When a directory cannot be made or opened, or its controllers cannot be read.
pub(in crate::cgroups) fn create_with_controllers(
    mount: &Path,
    relative: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin, Controllers)> {
    retry_races(|| {
        let mut current = Directory::open(mount)?;
        let mut origin = Origin::Found;
        let mut controllers = Controllers::of(&current)?;
        for name in relative.components() {
            controllers.enable(&current)?;
            (current, origin) = make_or_open(&current, Path::new(name.as_os_str()), created)?;
        }
        Ok((current, origin, controllers))
    })
}
