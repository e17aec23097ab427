//! The groups of a new container: found or made, and joined by its first process.

use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::file_system::{Access, FileSystem};
use super::plan::{CLOS_ID, Control, ENABLE_MONITORING, FIELD, Group};
use super::record::Record;
use super::schema;
use crate::trusted_proc::Proc;

/// The groups of a container that is being created.
pub(crate) struct OpenGroup {
    file_system: FileSystem,
    /// Names the groups that are missing as `created`, before they are made.
    pub(super) record: Record,
}

impl Group {
    /// Looks at the groups on the host, and changes nothing.
    ///
    /// # Errors
    /// When no resctrl file system is mounted, or a group is missing, differs or is in use.
    pub(crate) fn open(&self, proc: &Proc) -> Result<OpenGroup> {
        self.open_in(FileSystem::find(proc)?)
    }

    pub(super) fn open_in(&self, file_system: FileSystem) -> Result<OpenGroup> {
        let lock = file_system.lock(Access::Read)?;
        let control = self.control.directory();
        let mut created = Vec::new();
        if let Some(monitoring) = self.monitoring_directory() {
            self.check_monitoring(&file_system, &monitoring)?;
            created.push(monitoring);
        }
        if self.is_missing(&file_system, control)? {
            created.push(control.to_owned());
        }
        drop(lock);
        let text = |setting: &Option<schema::Setting>| setting.as_ref().map(|it| it.text.clone());
        let record = Record {
            mount: file_system.mount().to_owned(),
            group: control.to_owned(),
            shared: !matches!(self.control, Control::Own(_)),
            monitoring: self.monitoring_directory(),
            created,
            l3_cache_schema: text(&self.l3_cache),
            mem_bw_schema: text(&self.memory_bandwidth),
        };
        Ok(OpenGroup {
            file_system,
            record,
        })
    }

    /// Makes the groups that were missing, and writes the values of a new control group.
    ///
    /// # Errors
    /// When the kernel refuses, or a shared group was made meanwhile and differs. `open` then names what was made.
    pub(crate) fn wire(&self, open: &mut OpenGroup) -> Result<()> {
        let _lock = open.file_system.lock(Access::Change)?;
        // A control group comes before the monitoring group in it.
        for group in mem::take(&mut open.record.created).into_iter().rev() {
            self.make(open, group)?;
        }
        self.write_settings(open)
    }

    /// Makes a group. A shared one may exist by now.
    pub(super) fn make(&self, open: &mut OpenGroup, group: PathBuf) -> Result<()> {
        let file_system = &open.file_system;
        let made = file_system.make_group(&group);
        let is_control = group == open.record.group;
        if is_control && open.record.shared && made == Err(Errno::EEXIST) {
            return self.ensure_same(file_system);
        }
        let place = match &self.control {
            _ if !is_control => ENABLE_MONITORING,
            Control::Shared(_) => CLOS_ID,
            Control::Own(_) | Control::Default => FIELD,
        };
        let made = made.map_err(|errno| file_system.refusal(errno));
        made.with_context(|| format!("{place}: make {}", file_system.path(&group)))?;
        open.record.created.insert(0, group);
        Ok(())
    }

    /// Writes the values of a control group that was made.
    pub(super) fn write_settings(&self, open: &OpenGroup) -> Result<()> {
        let OpenGroup {
            file_system,
            record,
        } = open;
        if record.created.contains(&record.group) {
            let file = record.group.join("schemata");
            for setting in self.settings() {
                setting.write(file_system, &file)?;
            }
        }
        Ok(())
    }

    /// Whether the control group has to be made.
    ///
    /// # Errors
    /// When it may not be, or when the group exists and has other values.
    fn is_missing(&self, file_system: &FileSystem, directory: &Path) -> Result<bool> {
        let path = file_system.path(directory);
        let place = match &self.control {
            Control::Default => {
                self.ensure_same(file_system)?;
                return Ok(false);
            }
            Control::Shared(_) => CLOS_ID,
            Control::Own(_) => FIELD,
        };
        let exists = file_system.has_group(directory);
        let exists = exists.with_context(|| format!("{place}: {path}"))?;
        match (&self.control, exists) {
            (Control::Own(_), true) => bail!(
                "{place}: {path} exists, and is not the container's; remove it with rmdir, or name it in closID"
            ),
            (_, true) => self.ensure_same(file_system)?,
            (Control::Shared(_), false) => ensure!(
                self.settings().next().is_some(),
                "{place}: {path}: no such group; make it, or set schemata, with which rt makes it"
            ),
            (_, false) => {}
        }
        Ok(!exists)
    }

    /// # Errors
    /// When the monitoring group exists, or the host cannot have one.
    fn check_monitoring(&self, file_system: &FileSystem, monitoring: &Path) -> Result<()> {
        let has_group = |group: &Path| {
            let found = file_system.has_group(group);
            found.with_context(|| format!("{ENABLE_MONITORING}: {}", file_system.path(group)))
        };
        ensure!(
            has_group(Path::new("mon_groups"))?,
            "{ENABLE_MONITORING}: {} has no mon_groups: this host cannot monitor",
            file_system.mount().display()
        );
        ensure!(
            !has_group(monitoring)?,
            "{ENABLE_MONITORING}: {} exists, and is not the container's; remove it with rmdir",
            file_system.path(monitoring)
        );
        Ok(())
    }

    /// # Errors
    /// When the control group, which exists, has other values than the configuration.
    fn ensure_same(&self, file_system: &FileSystem) -> Result<()> {
        if self.settings().next().is_none() {
            return Ok(());
        }
        let group = self.control.directory();
        let file = group.join("schemata");
        let text = file_system.read(&file);
        let text = text.with_context(|| format!("{FIELD}: read {}", file_system.path(&file)))?;
        // Absent where the bandwidth of the memory cannot be limited.
        let step = file_system.read(Path::new("info/MB/bandwidth_gran")).ok();
        let step = step.and_then(|step| step.trim().parse().ok()).unwrap_or(1);
        let group = file_system.path(group);
        schema::ensure_same(self.settings(), &schema::lines(&text), step, group)
    }

    fn monitoring_directory(&self) -> Option<PathBuf> {
        let name = self.monitoring.as_ref()?;
        Some(self.control.directory().join("mon_groups").join(name))
    }
}

impl Control {
    /// The directory below the mount point.
    fn directory(&self) -> &Path {
        match self {
            Control::Default => Path::new(""),
            Control::Shared(name) | Control::Own(name) => Path::new(name),
        }
    }
}

impl OpenGroup {
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Moves the container's first process, which has one thread, into the groups.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn join(&self, init: Pid) -> Result<()> {
        self.record.join_in(&self.file_system, init)
    }

    /// Removes the groups that were made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn undo(&self, init: Pid) -> Result<()> {
        self.record.remove_in(&self.file_system, init)
    }
}
