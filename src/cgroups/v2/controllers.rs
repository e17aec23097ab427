//! Controllers of v2.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail};
use nix::errno::Errno;

use crate::cgroups::directory::make::{make_one, retry_races};
use crate::cgroups::directory::{Directory, Origin};
use crate::cgroups::plan::setting::Setting;

/// Which controllers a new cgroup has, and why not the others.
#[derive(Debug)]
pub(in crate::cgroups) struct Controllers {
    mount: PathBuf,
    on: BTreeSet<String>,
    refused: BTreeMap<String, (PathBuf, Errno)>,
}

impl Controllers {
    /// # Errors
    /// When the controller of `setting` is missing or could not be enabled.
    pub(in crate::cgroups) fn check(&self, setting: &Setting) -> Result<()> {
        if self.on.contains(setting.controller) {
            return Ok(());
        }
        let Setting {
            place, controller, ..
        } = setting;
        let Some((directory, errno)) = self.refused.get(*controller) else {
            bail!(
                "{place}: this machine has no {controller} controller (cgroup v2: {}/cgroup.controllers)",
                self.mount.display()
            );
        };
        let file = format!("{}/cgroup.subtree_control", directory.display());
        let why = match errno {
            Errno::EBUSY => " (a cgroup with processes of its own has no controllers for others)",
            Errno::EOPNOTSUPP => " (a threaded cgroup has no controllers for whole processes)",
            _ => "",
        };
        Err(Error::new(*errno)
            .context(format!("write \"+{controller}\" to {file}{why}"))
            .context(*place))
    }

    /// Hands on to the children of `directory` what it has itself: in one
    /// write, and one by one when the kernel objects to some of them.
    fn enable(&mut self, directory: &Directory) -> nix::Result<()> {
        let file = "cgroup.subtree_control";
        let shared = words(&directory.line(file)?);
        let missing: Vec<String> = self.on.difference(&shared).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(errno) = unfit_to_share(directory)? {
            for controller in missing {
                self.refuse(controller, directory, errno);
            }
            return Ok(());
        }
        if directory.write(file, &plus(&missing)).is_ok() {
            return Ok(());
        }
        for controller in missing {
            if let Err(errno) = directory.write(file, &plus(std::slice::from_ref(&controller))) {
                self.refuse(controller, directory, errno);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, controller: String, directory: &Directory, errno: Errno) {
        self.on.remove(&controller);
        self.refused
            .insert(controller, (directory.path().to_owned(), errno));
    }
}

/// Why controllers must not be enabled for the children of a cgroup: it has
/// processes of its own, or threads only. Some controllers the kernel would
/// enable even so, by making the cgroup a threaded one, below which no other
/// process can live (cgroup-v2.rst, "Threads"). The root of all may have both.
fn unfit_to_share(directory: &Directory) -> nix::Result<Option<Errno>> {
    match directory.line("cgroup.type").as_deref() {
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(*errno),
        Ok("domain") => {}
        // It hands down controllers for threads alone, and stays what it is.
        Ok("threaded" | "domain threaded") => return Ok(None),
        Ok(_) => return Ok(Some(Errno::EOPNOTSUPP)),
    }
    let processes = directory.line("cgroup.procs")?;
    Ok((!processes.is_empty()).then_some(Errno::EBUSY))
}

fn words(line: &str) -> BTreeSet<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// `+cpu +memory`.
fn plus(controllers: &[String]) -> String {
    let signed: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    signed.join(" ")
}

/// Opens the leaf `relative` below `mount`, making what is missing and
/// enabling all controllers on the way. Paths made are added to `created`.
///
/// # Errors
/// Those of mkdir(2), openat2(2), and of reading the controllers.
pub(in crate::cgroups) fn descend(
    mount: &Path,
    relative: &Path,
    created: &mut Vec<PathBuf>,
) -> nix::Result<(Directory, Origin, Controllers)> {
    retry_races(|| {
        let mut at = Directory::open(mount)?;
        let mut origin = Origin::Found;
        let mut controllers = Controllers {
            mount: mount.to_owned(),
            on: words(&at.line("cgroup.controllers")?),
            refused: BTreeMap::new(),
        };
        for name in relative.components() {
            controllers.enable(&at)?;
            (at, origin) = make_one(&at, Path::new(name.as_os_str()), created)?;
        }
        Ok((at, origin, controllers))
    })
}
