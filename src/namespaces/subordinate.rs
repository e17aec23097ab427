//! newuidmap(1) and newgidmap(1), which map the ids that /etc/subuid and /etc/subgid grant to a
//! user without privileges.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use nix::unistd::{Pid, Whence, lseek};

use crate::host;
use crate::sys;

/// Where the programs are searched for. PATH is not used.
const PROGRAM_DIRECTORIES: [&str; 5] = [
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/run/wrappers/bin",
];

/// How much of /etc/subuid is read, in bytes.
const MAX_GRANTS: u64 = 1 << 20;

/// The bit of a program that runs as its owner (inode(7)).
const SETUID: u32 = 0o4000;

/// Writes the lines of a map for the process `pid`. `name` is `uid` or `gid`, and `user` the uid
/// of the caller.
///
/// # Errors
/// When the program is not installed, or refuses. Its message is part of the error.
#[allow(
    clippy::disallowed_methods,
    reason = "a setuid program of the host, by its absolute path and without an environment"
)]
pub(super) fn write_map(name: &str, pid: Pid, lines: &str, user: u32) -> Result<()> {
    let program_name = format!("new{name}map");
    let program = mapping_program(&program_name).with_context(|| {
        format!(
            "{program_name} is not installed (package uidmap); an unprivileged user needs it to map more than its own id"
        )
    })?;
    let stderr = sys::anonymous_file(c"stderr").context(program_name.clone())?;
    let mut command = Command::new(&program);
    command
        .arg0(&program_name)
        .arg(pid.to_string())
        .args(lines.split_whitespace())
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
    lseek(&stderr, 0, Whence::SeekSet).context(program_name.clone())?;
    let message = sys::read_to_string(stderr.as_fd()).unwrap_or_default();
    let message = message
        .trim()
        .trim_start_matches(&program_name)
        .trim_start_matches(": ");
    let message = if message.is_empty() {
        "failed"
    } else {
        message
    };
    let hint =
        hint(name, user, &program, message).map_or_else(String::new, |hint| format!(" ({hint})"));
    Err(anyhow!("{program_name}: {message}{hint}"))
}

/// The path of newuidmap(1) or newgidmap(1). `None` if it is not installed.
pub(crate) fn mapping_program(name: &str) -> Option<PathBuf> {
    let paths = PROGRAM_DIRECTORIES.map(|directory| Path::new(directory).join(name));
    paths.into_iter().find(|path| path.exists())
}

/// Why the program refuses: it has no privileges, or what the file grants is not what is asked.
fn hint(name: &str, user: u32, program: &Path, message: &str) -> Option<String> {
    if is_unprivileged(program) {
        return Some(format!("{} is not setuid root", program.display()));
    }
    if !message.ends_with("not allowed") {
        return None;
    }
    let file = format!("/etc/sub{name}");
    let login = host::user_name(&host::read_passwd(), user).unwrap_or_else(|| user.to_string());
    let mut text = String::new();
    if let Ok(opened) = File::open(&file) {
        opened.take(MAX_GRANTS).read_to_string(&mut text).ok()?;
    }
    let granted = grants(&text, &login, user);
    Some(if granted.is_empty() {
        format!("{file} grants {login} no ids; add the line {login}:100000:65536")
    } else {
        format!("{file} grants {login} {}", granted.join(" and "))
    })
}

/// Whether neither the mode nor the capabilities of the file give it privileges.
fn is_unprivileged(program: &Path) -> bool {
    let Ok(file) = File::open(program) else {
        return false;
    };
    let mode = fs::metadata(program).map(|file| file.mode());
    let has_capabilities = sys::flistxattr(file.as_fd())
        .is_ok_and(|names| names.iter().any(|name| *name == *c"security.capability"));
    mode.is_ok_and(|mode| mode & SETUID == 0) && !has_capabilities
}

/// The ranges `START:COUNT` of a user, who is listed by name or by number (subuid(5)).
fn grants<'a>(text: &'a str, login: &str, user: u32) -> Vec<&'a str> {
    let user = user.to_string();
    let granted = text.lines().filter_map(|line| {
        let (owner, range) = line.split_once(':')?;
        (owner == login || owner == user).then_some(range)
    });
    granted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_granted_by_name_or_by_number() {
        let text = "ann:100000:65536\nbob:1:2\n1000:300000:10\n# ann\n";
        assert_eq!(grants(text, "ann", 1000), ["100000:65536", "300000:10"]);
        assert_eq!(grants(text, "eve", 7), [""; 0]);
    }
}
