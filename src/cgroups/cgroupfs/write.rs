//! Writes settings to the files of a cgroup.

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::cgroups::directory::{Directory, write_whole};
use crate::cgroups::plan::huge_pages;
use crate::cgroups::plan::setting::{OnRefusal, Setting};
use crate::log;

/// Writes `settings` in order. Consecutive settings for the same file share one open file.
///
/// # Errors
/// When the kernel refuses a setting. The error names its field, value and file; the settings
/// after it are not written.
pub(super) fn write_all(settings: &[Setting], directory: &Directory) -> Result<()> {
    let mut rest = settings;
    while let Some(setting) = rest.first() {
        let same_file = rest
            .iter()
            .take_while(|other| other.file == setting.file)
            .count();
        let done = if same_file > 1 {
            write_lines(&rest[..same_file], directory)?;
            same_file
        } else {
            write_one(setting, rest.get(1), directory)?
        };
        rest = &rest[done..];
    }
    Ok(())
}

/// Writes a setting, and the next one too if what the kernel says makes that necessary. Returns
/// how many settings are done with.
fn write_one(setting: &Setting, next: Option<&Setting>, directory: &Directory) -> Result<usize> {
    let write = |setting: &Setting| {
        let written = setting.write(directory);
        written.map_err(|errno| setting.refusal(errno, directory))
    };
    match (setting.on_refusal, setting.write(directory), next) {
        (OnRefusal::NextIfMissing, Ok(()), Some(_)) => Ok(2),
        (OnRefusal::NextIfMissing, Err(Errno::ENOENT), Some(next)) => {
            write(next)?;
            Ok(2)
        }
        (OnRefusal::RetryAfterNext, Err(Errno::EINVAL), Some(next)) => {
            write(next)?;
            write(setting)?;
            Ok(2)
        }
        (_, written, _) => {
            written.map_err(|errno| setting.refusal(errno, directory))?;
            Ok(1)
        }
    }
}

/// Writes each setting with a write(2) of its own: the kernel takes one line per write.
fn write_lines(settings: &[Setting], directory: &Directory) -> Result<()> {
    let Some(first) = settings.first() else {
        return Ok(());
    };
    let file = directory
        .file(&first.file, OFlag::O_WRONLY)
        .map_err(|errno| log::hinted(errno, first.hint(errno, directory)))
        .with_context(|| format!("open {}", first.file))
        .context(first.place())?;
    for setting in settings {
        write_whole(&file, &setting.value).map_err(|errno| setting.refusal(errno, directory))?;
    }
    Ok(())
}

impl Setting {
    fn write(&self, directory: &Directory) -> nix::Result<()> {
        match directory.write(&self.file, &self.value) {
            Err(Errno::ENOENT) if self.on_refusal == OnRefusal::IgnoreMissingFile => Ok(()),
            written => written,
        }
    }

    /// The error for a write that the kernel refused. `EBUSY` means that more memory is in use
    /// than the limit allows, so the error says how much.
    pub(super) fn refusal(&self, errno: Errno, directory: &Directory) -> Error {
        let usage = match errno {
            Errno::EBUSY => self.memory_usage(directory).unwrap_or_default(),
            _ => String::new(),
        };
        log::hinted(errno, self.hint(errno, directory))
            .context(format!(
                "write \"{}\" to {}{usage}",
                self.value.trim_end(),
                self.file
            ))
            .context(self.place_refused(errno))
    }

    /// The place of what the kernel refuses: the name of a file for huge pages has their size.
    fn place_refused(&self, errno: Errno) -> String {
        let place = self.place();
        match place.strip_suffix(".limit") {
            Some(item) if errno == Errno::ENOENT && self.controller == huge_pages::CONTROLLER => {
                format!("{item}.pageSize")
            }
            _ => place,
        }
    }

    /// The usage that a v1 memory limit is compared with.
    fn memory_usage(&self, directory: &Directory) -> Option<String> {
        let prefix = self.file.strip_suffix(".limit_in_bytes")?;
        let read = |suffix: &str| directory.read_page(&format!("{prefix}.{suffix}")).ok();
        let (usage, highest) = (read("usage_in_bytes")?, read("max_usage_in_bytes")?);
        Some(format!(
            " (in use: {usage} bytes, at most so far: {highest})"
        ))
    }
}
