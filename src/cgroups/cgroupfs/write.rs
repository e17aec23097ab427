//! Writing settings.

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::cgroups::directory::{Directory, put};
use crate::cgroups::plan::setting::{Care, Setting};

/// Writes `settings` in their order. A file that several in a row are for is
/// opened once.
///
/// # Errors
/// The first that the kernel refuses, with place, value and file.
pub(super) fn write_all(settings: &[Setting], directory: &Directory) -> Result<()> {
    let mut rest = settings;
    while let Some(setting) = rest.first() {
        let run = rest
            .iter()
            .take_while(|other| other.file == setting.file)
            .count();
        let next = rest
            .get(1)
            .filter(|_| run == 1 && setting.care == Care::AfterNext);
        if run > 1 {
            write_lines(&rest[..run], directory)?;
            rest = &rest[run..];
            continue;
        }
        match (setting.write(directory), next) {
            (Err(Errno::EINVAL), Some(next)) => {
                // Whatever is wrong with this one is said about this one.
                next.write(directory)
                    .map_err(|errno| next.refused(errno, directory))?;
                setting
                    .write(directory)
                    .map_err(|errno| setting.refused(errno, directory))?;
                rest = &rest[2..];
            }
            (done, _) => {
                done.map_err(|errno| setting.refused(errno, directory))?;
                rest = &rest[1..];
            }
        }
    }
    Ok(())
}

/// One write for each line, which is how the kernel tells them apart.
fn write_lines(settings: &[Setting], directory: &Directory) -> Result<()> {
    let Some(first) = settings.first() else {
        return Ok(());
    };
    let file = directory
        .file(first.file, OFlag::O_WRONLY)
        .with_context(|| format!("open {}", first.file))
        .context(first.place)?;
    for setting in settings {
        put(&file, &setting.value).map_err(|errno| setting.refused(errno, directory))?;
    }
    Ok(())
}

impl Setting {
    fn refused(&self, errno: Errno, directory: &Directory) -> Error {
        let used = match errno {
            Errno::EBUSY => self.used(directory).unwrap_or_default(),
            _ => String::new(),
        };
        Error::new(errno)
            .context(format!("write \"{}\" to {}{used}", self.value, self.file))
            .context(self.place)
    }

    /// What is in use already of what version 1 has a limit for.
    fn used(&self, directory: &Directory) -> Option<String> {
        let counted = self.file.strip_suffix(".limit_in_bytes")?;
        let read = |what: &str| directory.line(&format!("{counted}.{what}")).ok();
        let (now, most) = (read("usage_in_bytes")?, read("max_usage_in_bytes")?);
        Some(format!(" (in use: {now} bytes, at most so far: {most})"))
    }

    fn write(&self, directory: &Directory) -> nix::Result<()> {
        match directory.write(self.file, &self.value) {
            Err(Errno::ENOENT) if self.care == Care::UnlessAbsent => Ok(()),
            done => done,
        }
    }
}
