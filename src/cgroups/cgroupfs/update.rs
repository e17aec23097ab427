//! `rt update`: changes the limits of a container that exists.
//!
//! Only the limits that are given are written. When the kernel refuses one, the earlier values
//! are written back. Some files hold two limits in one value. The limit that is not given is
//! then read from the cgroup, because another program may have changed it since the container
//! was created.

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;

use super::existing::ExistingCgroups;
use super::write::write_all;
use crate::bundle::Resources;
use crate::cgroups::directory::Directory;
use crate::cgroups::plan::amount::Amount;
use crate::cgroups::plan::limits::{Limits, ignored_field};
use crate::cgroups::plan::rates::line_of_device;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::{v1, v2};
use crate::log;

/// The settings of one controller, and the cgroup that they are for.
struct ControllerSettings<'a> {
    directory: Directory,
    settings: &'a [Setting],
}

/// The value that a file had before the update.
struct PreviousValue<'a> {
    directory: &'a Directory,
    setting: &'a Setting,
    value: String,
}

impl ExistingCgroups {
    /// Changes the limits in `requested`, and no others.
    ///
    /// # Errors
    /// When a value is invalid, its controller is missing, or the kernel refuses it. The error
    /// names the configuration field. The limits are then as before.
    pub(crate) fn update(&self, requested: &Resources) -> Result<()> {
        let mut limits = Limits::plan_update(requested)?;
        let settings = match self.unified() {
            None => {
                // The kernel compares a swap limit alone with the present memory limit.
                if limits.memory.is_some() {
                    limits.check_swap()?;
                }
                v1::settings::settings(&limits)?
            }
            Some(path) => {
                let cgroup =
                    Directory::open(path).with_context(|| format!("cgroup {}", path.display()))?;
                fill_in_current_values(&mut limits, &cgroup)?;
                if limits.check_before_update {
                    check_usage(&limits, &cgroup)?;
                }
                v2::settings::settings(&limits)?
            }
        };
        self.write_or_restore(&settings)?;
        for field in &limits.ignored {
            log::warn(&ignored_field(field));
        }
        Ok(())
    }

    fn write_or_restore(&self, settings: &[Setting]) -> Result<()> {
        let by_controller = settings.chunk_by(|one, next| one.controller == next.controller);
        let groups = by_controller.map(|settings| self.controller_settings(settings));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let mut previous = Vec::new();
        for group in &groups {
            previous.extend(group.read()?);
        }
        let write = || {
            let mut groups = groups.iter();
            groups.try_for_each(|group| write_all(group.settings, &group.directory))
        };
        let written = write().and_then(|()| self.update_unit(settings, &write));
        if written.is_err() {
            restore(&previous);
        }
        written
    }

    /// The cgroup for `settings`, which are all of the same controller.
    fn controller_settings<'a>(&self, settings: &'a [Setting]) -> Result<ControllerSettings<'a>> {
        let Some(Setting {
            field, controller, ..
        }) = settings.first()
        else {
            return Err(anyhow!("no settings for a controller"));
        };
        let path = match self.unified() {
            Some(path) => Some(path),
            None => self.paths().get(*controller).map(|path| path.as_path()),
        };
        let path = path.ok_or_else(|| {
            if self.paths().is_empty() {
                anyhow!("{field}: the container has no cgroup of its own to limit")
            } else {
                anyhow!("{field}: the container has no cgroup of the {controller} controller")
            }
        })?;
        let subject = || format!("{field}: cgroup {}", path.display());
        let directory = Directory::open(path).with_context(subject)?;
        if self.unified().is_some() {
            let enabled = directory
                .read_page("cgroup.controllers")
                .with_context(subject)?;
            ensure!(
                enabled.split_whitespace().any(|name| name == *controller),
                "{field}: the {controller} controller is off in {}",
                path.display()
            );
        }
        Ok(ControllerSettings {
            directory,
            settings,
        })
    }
}

impl ControllerSettings<'_> {
    /// The present values of its files. A file that does not exist has nothing to restore.
    fn read(&self) -> Result<Vec<PreviousValue<'_>>> {
        let mut all = Vec::new();
        for setting in self.settings {
            match read_current(&self.directory, setting) {
                Ok(value) => all.push(PreviousValue {
                    directory: &self.directory,
                    setting,
                    value,
                }),
                Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(errno)
                        .with_context(|| format!("read {}", setting.file))
                        .context(setting.field);
                }
            }
        }
        Ok(all)
    }
}

/// The present value of the file of `setting`, in the form in which it would be written.
fn read_current(directory: &Directory, setting: &Setting) -> nix::Result<String> {
    let text = directory.read_page(setting.file)?;
    if let Some(line) = line_of_device(setting.file, &text, &setting.value) {
        return Ok(line);
    }
    let oom_kill_disable = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill_disable "));
    Ok(oom_kill_disable.unwrap_or(&text).to_owned())
}

/// Writes the previous values back, in reverse order. There are two rounds, because a value may
/// be refused until another one is restored: v1 refuses a memory limit above that on memory and
/// swap together. A value that cannot be restored is reported as a warning.
fn restore(previous: &[PreviousValue]) {
    let write_back = |value: &&PreviousValue| {
        if read_current(value.directory, value.setting)? == value.value {
            return Ok(());
        }
        // With the newline an empty list is written too: write(2) of no bytes does nothing.
        let text = format!("{}\n", value.value);
        value.directory.write(value.setting.file, &text)
    };
    let refused: Vec<&PreviousValue> = previous
        .iter()
        .rev()
        .filter(|value| write_back(value).is_err())
        .collect();
    for value in refused {
        if let Err(errno) = write_back(&value) {
            let reason = log::errno_text(errno);
            log::warn(&format!(
                "not put back: write \"{}\" to {}: {reason}",
                value.value, value.setting.file
            ));
        }
    }
}

/// Adds the present values that v2 needs to write a limit: the period is written together with
/// the quota, and swap alone is what remains of memory and swap together without the memory.
fn fill_in_current_values(limits: &mut Limits, cgroup: &Directory) -> Result<()> {
    if limits.period.is_some() && limits.quota.is_none() {
        limits.current_quota = read_amount(cgroup, "cpu.max")?;
    }
    match (limits.memory, limits.swap) {
        (None, Some(Amount::Of(_))) => {
            limits.memory = read_amount(cgroup, "memory.max")?;
            if limits.memory.is_none() {
                // The memory controller is off. `controller_settings` reports that.
                return Ok(());
            }
        }
        (Some(Amount::Of(memory)), None) => {
            let current = (
                read_amount(cgroup, "memory.max")?,
                read_amount(cgroup, "memory.swap.max")?,
            );
            if let (Some(Amount::Of(current)), Some(Amount::Of(swap))) = current {
                let both = current.saturating_add(swap);
                ensure!(
                    memory <= both,
                    "linux.resources.memory.limit: {memory} is more than the limit on memory and swap together, {both}"
                );
                limits.swap = Some(Amount::Of(both));
            }
        }
        _ => {}
    }
    limits.check_swap()
}

/// The first field of a file: a number or `max`. `None` when the file does not exist.
fn read_amount(cgroup: &Directory, file: &str) -> Result<Option<Amount>> {
    let subject = || format!("read {}/{file}", cgroup.path().display());
    let text = match cgroup.read_page(file) {
        Err(Errno::ENOENT) => return Ok(None),
        text => text.with_context(subject)?,
    };
    Ok(Some(match text.split_whitespace().next() {
        Some("max") => Amount::Unlimited,
        number => Amount::Of(number.unwrap_or_default().parse().with_context(subject)?),
    }))
}

/// Refuses a limit that is not above the present usage: in v2 the OOM killer would kill
/// processes (config-linux.md, "checkBeforeUpdate"). v1 refuses such a limit itself.
fn check_usage(limits: &Limits, cgroup: &Directory) -> Result<()> {
    let Some(Amount::Of(usage)) = read_amount(cgroup, "memory.current")? else {
        return Ok(());
    };
    for (limit, field, name) in [
        (limits.swap, "linux.resources.memory.swap", "memory+swap"),
        (limits.memory, "linux.resources.memory.limit", "memory"),
    ] {
        if let Some(Amount::Of(limit)) = limit {
            ensure!(
                limit > usage,
                "{field}: rejecting {name} limit {limit} <= usage {usage}"
            );
        }
    }
    Ok(())
}
