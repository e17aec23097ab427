//! Maps of subordinate ids (subuid(5)). An unprivileged user may map only its own id by itself;
//! newuidmap(1) and newgidmap(1) also map the ids that /etc/subuid and /etc/subgid grant to it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use nix::unistd::{Pid, Whence, lseek};

use super::id_map::Map;
use crate::log;
use crate::sys;

/// Where the two programs are searched for. PATH is not used.
const PROGRAM_DIRECTORIES: [&str; 5] = [
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/wrappers/bin",
];

/// Writes a map for `pid` with newuidmap(1) or newgidmap(1). `kind` is `uid` or `gid`, `own` the
/// id of this kind of the user `uid`.
///
/// # Errors
/// When the program is not installed or refuses the map. The error has its message, and what the
/// user may map.
pub(super) fn write(kind: &str, map: &Map, (uid, own): (u32, u32), pid: Pid) -> Result<()> {
    call(&format!("new{kind}map"), map, pid).map_err(|error| {
        anyhow!(
            "{}; {kind} {own} may map {}",
            log::format_error(&error),
            allowed(kind, uid)
        )
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "a setuid program of the host, by its absolute path and without an environment"
)]
fn call(name: &str, map: &Map, pid: Pid) -> Result<()> {
    let paths = PROGRAM_DIRECTORIES.map(|directory| Path::new(directory).join(name));
    let program = paths.iter().find(|path| path.exists()).with_context(|| {
        format!("{name} is not installed (package uidmap), and only it may map other ids")
    })?;
    let stderr = sys::anonymous_file(c"stderr").context(name.to_owned())?;
    let mut command = Command::new(program);
    command
        .arg0(name)
        .arg(pid.to_string())
        .args(map.lines().split_whitespace())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::from(stderr.try_clone().context("memfd")?));
    let status = command
        .status()
        .with_context(|| program.display().to_string())?;
    if status.success() {
        return Ok(());
    }
    lseek(&stderr, 0, Whence::SeekSet).context(name.to_owned())?;
    let message = sys::read_to_string(stderr.as_fd()).unwrap_or_default();
    let message = message
        .trim()
        .trim_start_matches(name)
        .trim_start_matches(": ");
    Err(anyhow!(
        "{name}: {}",
        if message.is_empty() {
            "failed"
        } else {
            message
        }
    ))
}

/// What a user may map: `itself, and 100000 to 165535 (/etc/subuid)`. `kind` is `uid` or `gid`.
fn allowed(kind: &str, uid: u32) -> String {
    let file = format!("/etc/sub{kind}");
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ranges = ranges(&read(&file), &login_name(&read("/etc/passwd"), uid), uid);
    if ranges.is_empty() {
        return format!("itself, and what {file} grants");
    }
    format!("itself, and {} ({file})", ranges.join(", and "))
}

/// The name of a user in the text of /etc/passwd; empty if it has none. Where a directory service
/// has it, the ranges are not found.
fn login_name(passwd: &str, uid: u32) -> String {
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let mut names = fields.filter_map(|fields| match fields[..] {
        [name, _, number, ..] if number == uid.to_string() => Some(name.to_owned()),
        _ => None,
    });
    names.next().unwrap_or_default()
}

/// The ranges of a user, by name or number, in the text of /etc/subuid or /etc/subgid.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<String> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter_map(|fields| {
            let [user, first, count] = fields[..] else {
                return None;
            };
            let is_users = !user.is_empty() && (user == name || user == uid.to_string());
            let (first, count): (u32, u32) = (first.parse().ok()?, count.trim().parse().ok()?);
            let last = first.checked_add(count.checked_sub(1)?)?;
            is_users.then(|| format!("{first} to {last}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(login_name(passwd, 1000), "alice");
        assert_eq!(login_name(passwd, 100), "");
        let text = "bob:1:2\nalice:100000:65536\nmalformed\n1000:300000:5\n:7:7\nalice:1:0\n";
        assert_eq!(
            ranges(text, "alice", 1000),
            ["100000 to 165535", "300000 to 300004"]
        );
        assert_eq!(ranges(text, "", 5), [""; 0]);
    }
}
