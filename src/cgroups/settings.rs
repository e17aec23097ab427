//! What is written to the files of a cgroup, each value with its place in config.json.

use std::borrow::Cow;

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::directory::{Directory, put};
use super::limits::{Amount, Idle, Limits};

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The field it comes from: `linux.resources.memory.limit`.
    pub(super) place: &'static str,
    /// The controller whose file it is.
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) value: Cow<'static, str>,
    pub(super) care: Care,
}

/// What to do when the kernel does not take a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// It is an error.
    Strict,
    /// The value is what a kernel without the file does anyway.
    UnlessAbsent,
    /// `EINVAL` may mean that the old value of the next file forbids this one:
    /// the next is written first, then this one again.
    AfterNext,
}

impl Setting {
    pub(super) fn new(
        place: &'static str,
        controller: &'static str,
        file: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Setting {
        Setting {
            place,
            controller,
            file,
            value: value.into(),
            care: Care::Strict,
        }
    }

    pub(super) fn care(self, care: Care) -> Setting {
        Setting { care, ..self }
    }

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

/// The files of a cpuset, in both versions.
pub(super) const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// What both versions say alike: processors, memory nodes, processes.
pub(super) fn alike(limits: &Limits) -> impl Iterator<Item = Setting> {
    let cpuset = |place, file, value: &Option<String>| {
        value
            .clone()
            .map(|value| Setting::new(place, "cpuset", file, value))
    };
    let pids = limits.pids.map(|pids| {
        let value = match pids {
            Amount::Unlimited => "max".to_owned(),
            Amount::Of(number) => number.to_string(),
        };
        Setting::new("linux.resources.pids.limit", "pids", "pids.max", value)
    });
    let settings = [
        cpuset("linux.resources.cpu.cpus", CPUSET[0], &limits.cpus),
        cpuset("linux.resources.cpu.mems", CPUSET[1], &limits.mems),
        pids,
    ];
    settings.into_iter().flatten()
}

/// What comes before the cgroup's share of the processors, and what after: an
/// idle cgroup takes none, so it gets its share before it becomes one.
pub(super) fn idle(limits: &Limits) -> (Option<Setting>, Option<Setting>) {
    let setting = |value| Setting::new("linux.resources.cpu.idle", "cpu", "cpu.idle", value);
    match limits.idle {
        Some(Idle::No) => (Some(setting("0").care(Care::UnlessAbsent)), None),
        Some(Idle::Yes) => (None, Some(setting("1"))),
        None => (None, None),
    }
}

/// No burst at all is what a kernel before 5.14 does, which has no such file.
pub(super) fn burst_setting(file: &'static str, burst: u64) -> Setting {
    let place = "linux.resources.cpu.burst";
    let setting = Setting::new(place, "cpu", file, burst.to_string());
    setting.care(match burst {
        0 => Care::UnlessAbsent,
        _ => Care::Strict,
    })
}

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
