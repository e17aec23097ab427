//! New values for a container that exists.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::file_system::{Access, FileSystem};
use super::plan::FIELD;
use super::record::Record;
use super::schema::{Line, Setting, lines};
use crate::log;

/// What `rt update` changes.
pub(crate) struct Update {
    l3_cache: Option<Setting>,
    memory_bandwidth: Option<Setting>,
}

/// The values of before an update.
pub(crate) struct Previous {
    file_system: FileSystem,
    group: PathBuf,
    lines: Vec<Line>,
}

impl Update {
    /// Reads the flags of `rt update`. `None` when none is given, or all are empty.
    ///
    /// # Errors
    /// When a value is invalid, by its flag.
    pub(crate) fn from_flags(
        l3_cache: Option<&str>,
        memory_bandwidth: Option<&str>,
    ) -> Result<Option<Update>> {
        let given = |text: Option<&str>, place: &str, plan: fn(&str, &str) -> Result<Setting>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| plan(place, text)).transpose()
        };
        let update = Update {
            l3_cache: given(l3_cache, "--l3-cache-schema", Setting::plan)?,
            memory_bandwidth: given(memory_bandwidth, "--mem-bw-schema", Setting::plan_bandwidth)?,
        };
        let is_given = update.settings().next().is_some();
        Ok(is_given.then_some(update))
    }

    /// The flag that is given first.
    pub(crate) fn flag(&self) -> &str {
        let first = self.settings().next();
        first.map_or(FIELD, |setting| &setting.place)
    }

    fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.l3_cache.iter().chain(&self.memory_bandwidth)
    }
}

impl Record {
    /// Writes the new values to the control group, and records them.
    ///
    /// # Errors
    /// When the group is gone, or the kernel refuses a value. The values are then as before.
    pub(crate) fn update(&mut self, update: &Update) -> Result<Previous> {
        let file_system = FileSystem::require(&self.mount)?;
        self.update_in(file_system, update)
    }

    pub(super) fn update_in(
        &mut self,
        file_system: FileSystem,
        update: &Update,
    ) -> Result<Previous> {
        let lock = file_system.lock(Access::Change)?;
        let file = self.group.join("schemata");
        let text = file_system.read(&file);
        let text =
            text.with_context(|| format!("{}: read {}", update.flag(), file_system.path(&file)))?;
        let mut present = lines(&text);
        present.retain(|line| {
            let mut asked = update.settings().flat_map(|setting| &setting.lines);
            asked.any(|asked| asked.resource == line.resource)
        });
        let mut settings = update.settings();
        let written = settings.try_for_each(|setting| setting.write(&file_system, &file));
        drop(lock);
        let previous = Previous {
            file_system,
            group: self.group.clone(),
            lines: present,
        };
        if let Err(error) = written {
            previous.restore();
            return Err(error);
        }
        for (text, setting) in [
            (&mut self.l3_cache_schema, &update.l3_cache),
            (&mut self.mem_bw_schema, &update.memory_bandwidth),
        ] {
            if let Some(setting) = setting {
                *text = Some(setting.text.clone());
            }
        }
        Ok(previous)
    }
}

impl Previous {
    /// Writes the values of before back. One that is refused is a warning.
    pub(crate) fn restore(&self) {
        let file = self.group.join("schemata");
        for line in &self.lines {
            let written = self.file_system.write(&file, &format!("{line}\n"));
            if let Err(errno) = written {
                let (path, reason) = (self.file_system.path(&file), log::errno_text(errno));
                log::warn(&format!(
                    "not put back: write \"{line}\" to {path}: {reason}"
                ));
            }
        }
    }
}

impl Setting {
    /// Writes the value to a file `schemata`.
    ///
    /// # Errors
    /// When the kernel refuses it. The error has its reason.
    pub(super) fn write(&self, file_system: &FileSystem, file: &Path) -> Result<()> {
        // The kernel takes complete lines only.
        let written = file_system.write(file, &format!("{}\n", self.text));
        let written = written.map_err(|errno| file_system.refusal(errno));
        written.with_context(|| {
            let (place, text) = (&self.place, log::one_line(&self.text));
            format!("{place}: write \"{text}\" to {}", file_system.path(file))
        })
    }
}
