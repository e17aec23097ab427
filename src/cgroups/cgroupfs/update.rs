//! `rt update`: other limits for a container that exists.
//!
//! What is asked for is written; what was there before is put back when the
//! kernel refuses a part. What one write must say together with what is asked
//! is read from the cgroup, which knows it better than any file of ours.

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;

use super::existing::Existing;
use super::write::write_all;
use crate::bundle::Resources;
use crate::cgroups::directory::Directory;
use crate::cgroups::plan::amount::Amount;
use crate::cgroups::plan::limits::{Limits, ignored};
use crate::cgroups::plan::rates::line_of_device;
use crate::cgroups::plan::setting::Setting;
use crate::cgroups::{v1, v2};
use crate::log;

/// The settings of one controller, and the container's cgroup of it.
struct Part<'a> {
    directory: Directory,
    settings: &'a [Setting],
}

/// What a file said before.
struct Earlier<'a> {
    directory: &'a Directory,
    setting: &'a Setting,
    value: String,
}

impl Existing {
    /// Changes the limits that are asked for, and no others.
    ///
    /// # Errors
    /// A value that is none, one without a controller for it, and what the
    /// kernel refuses, each with its place in the configuration. All is as
    /// before then.
    pub(crate) fn update(&self, asked: &Resources) -> Result<()> {
        let mut limits = Limits::plan_update(asked)?;
        let settings = match self.unified() {
            None => {
                // What there is already, the kernel compares.
                if limits.memory.is_some() {
                    limits.check_swap()?;
                }
                v1::settings::settings(&limits)?
            }
            Some(path) => {
                let cgroup =
                    Directory::open(path).with_context(|| format!("cgroup {}", path.display()))?;
                complete(&mut limits, &cgroup)?;
                if limits.check_before_update {
                    check_usage(&limits, &cgroup)?;
                }
                v2::settings::settings(&limits)?
            }
        };
        self.write_or_restore(&settings)?;
        for field in &limits.ignored {
            log::warn(&ignored(field));
        }
        Ok(())
    }

    fn write_or_restore(&self, settings: &[Setting]) -> Result<()> {
        let of_controllers = settings.chunk_by(|one, next| one.controller == next.controller);
        let parts = of_controllers.map(|settings| self.part(settings));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let mut earlier = Vec::new();
        for part in &parts {
            earlier.extend(part.read()?);
        }
        let mut parts = parts.iter();
        let written = parts.try_for_each(|part| write_all(part.settings, &part.directory));
        if written.is_err() {
            restore(&earlier);
        }
        written
    }

    /// The directory for settings of the same controller.
    fn part<'a>(&self, settings: &'a [Setting]) -> Result<Part<'a>> {
        let Some(Setting {
            place, controller, ..
        }) = settings.first()
        else {
            return Err(anyhow!("a part without settings"));
        };
        let path = match self.unified() {
            Some(path) => Some(path),
            None => self.paths().get(*controller).map(|path| path.as_path()),
        };
        let path = path.ok_or_else(|| match self.paths().is_empty() {
            true => anyhow!("{place}: the container has no cgroup of its own to limit"),
            false => anyhow!("{place}: the container has no cgroup of the {controller} controller"),
        })?;
        let subject = || format!("{place}: cgroup {}", path.display());
        let directory = Directory::open(path).with_context(subject)?;
        if self.unified().is_some() {
            let on = directory.line("cgroup.controllers").with_context(subject)?;
            ensure!(
                on.split_whitespace().any(|name| name == *controller),
                "{place}: the {controller} controller is off in {}",
                path.display()
            );
        }
        Ok(Part {
            directory,
            settings,
        })
    }
}

impl Part<'_> {
    /// What its files say now. One that is not there has nothing to restore.
    fn read(&self) -> Result<Vec<Earlier<'_>>> {
        let mut all = Vec::new();
        for setting in self.settings {
            match current(&self.directory, setting) {
                Ok(value) => all.push(Earlier {
                    directory: &self.directory,
                    setting,
                    value,
                }),
                Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(errno)
                        .with_context(|| format!("read {}", setting.file))
                        .context(setting.place);
                }
            }
        }
        Ok(all)
    }
}

/// What the file of a setting says, in the form in which it is written.
fn current(directory: &Directory, setting: &Setting) -> nix::Result<String> {
    let text = directory.line(setting.file)?;
    if let Some(line) = line_of_device(setting.file, &text, &setting.value) {
        return Ok(line);
    }
    let disabled = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill_disable "));
    Ok(disabled.unwrap_or(&text).to_owned())
}

/// Puts back what was changed, the last first. One value may have to wait for
/// another, as memory for memory and swap together: so there are two rounds.
fn restore(earlier: &[Earlier]) {
    let put_back = |one: &&Earlier| {
        let now = current(one.directory, one.setting)?;
        match now == one.value {
            true => Ok(()),
            // The end of the line makes an empty list one that is written.
            false => one
                .directory
                .write(one.setting.file, &format!("{}\n", one.value)),
        }
    };
    let left: Vec<&Earlier> = earlier
        .iter()
        .rev()
        .filter(|one| put_back(one).is_err())
        .collect();
    for one in left {
        if let Err(errno) = put_back(&one) {
            let why = log::errno_text(errno);
            log::warn(&format!(
                "not put back: write \"{}\" to {}: {why}",
                one.value, one.setting.file
            ));
        }
    }
}

/// Adds what version 2 has in one value: a period is written with the quota,
/// and swap alone is what is left of both together beside memory.
fn complete(limits: &mut Limits, cgroup: &Directory) -> Result<()> {
    if limits.period.is_some() && limits.quota.is_none() {
        limits.kept_quota = amount(cgroup, "cpu.max")?;
    }
    match (limits.memory, limits.swap) {
        (None, Some(Amount::Of(_))) => {
            limits.memory = amount(cgroup, "memory.max")?;
            if limits.memory.is_none() {
                // Without a controller: that is said first.
                return Ok(());
            }
        }
        (Some(Amount::Of(memory)), None) => {
            let was = (
                amount(cgroup, "memory.max")?,
                amount(cgroup, "memory.swap.max")?,
            );
            if let (Some(Amount::Of(was)), Some(Amount::Of(swap))) = was {
                let both = was.saturating_add(swap);
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

/// The first word of a file: a number or `max`; `None` when it is not there.
fn amount(cgroup: &Directory, file: &str) -> Result<Option<Amount>> {
    let subject = || format!("read {}/{file}", cgroup.path().display());
    let text = match cgroup.line(file) {
        Err(Errno::ENOENT) => return Ok(None),
        text => text.with_context(subject)?,
    };
    Ok(Some(match text.split_whitespace().next() {
        Some("max") => Amount::Unlimited,
        word => Amount::Of(word.unwrap_or_default().parse().with_context(subject)?),
    }))
}

/// Refuses a limit below what is used already, for which version 2 would end
/// processes (config-linux.md, "checkBeforeUpdate"). Version 1 refuses it
/// anyway.
fn check_usage(limits: &Limits, cgroup: &Directory) -> Result<()> {
    let Some(Amount::Of(usage)) = amount(cgroup, "memory.current")? else {
        return Ok(());
    };
    for (limit, place, name) in [
        (limits.swap, "linux.resources.memory.swap", "memory+swap"),
        (limits.memory, "linux.resources.memory.limit", "memory"),
    ] {
        if let Some(Amount::Of(limit)) = limit {
            ensure!(
                limit > usage,
                "{place}: rejecting {name} limit {limit} <= usage {usage}"
            );
        }
    }
    Ok(())
}
