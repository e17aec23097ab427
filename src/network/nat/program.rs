//! The host's programs for packet filters: nft(8), and iptables(8) for tables of the older
//! kernel interface.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use nix::unistd::{Whence, lseek, write};

use crate::sys;

/// Where the programs are searched for. PATH is not used.
const DIRECTORIES: [&str; 5] = [
    "/usr/sbin",
    "/sbin",
    "/usr/bin",
    "/bin",
    "/run/current-system/sw/bin",
];

/// The path of nft(8).
///
/// # Errors
/// When it is not installed.
pub(super) fn nft() -> Result<PathBuf> {
    find("nft").context(
        "nft is not installed (package nftables): masquerading and published ports need it",
    )
}

/// The path of a program. `None` if it is not installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let paths = DIRECTORIES.map(|directory| Path::new(directory).join(name));
    paths.into_iter().find(|path| path.exists())
}

/// Carries out one transaction. nft(8) keeps `lock` open until it ends.
///
/// # Errors
/// When nft(8) is not installed or fails, with the first line that it writes.
pub(super) fn transaction(text: &str, lock: Option<File>) -> Result<()> {
    let input = sys::anonymous_file(c"nft").context("memfd")?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = write(&input, rest).context("memfd")?;
        rest = &rest[written..];
    }
    lseek(&input, 0, Whence::SeekSet).context("memfd")?;
    // It writes nothing to standard output, so that place can keep the lock.
    let output = lock.map_or_else(Stdio::null, Stdio::from);
    let mut command = command(&nft()?);
    command.args(["-f", "-"]).stdin(input).stdout(output);
    run(command)
}

/// Runs iptables-legacy(8), and returns its standard output.
///
/// # Errors
/// When it fails, with the first line that it writes to standard error.
pub(super) fn iptables(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = sys::anonymous_file(c"output").context("memfd")?;
    let mut command = command(program);
    // Two programs at a time wait for each other with `-w`.
    command.arg("-w").args(arguments);
    command.stdout(output.try_clone().context("memfd")?);
    run(command)?;
    text(&output).with_context(|| program.display().to_string())
}

/// A program without an environment and without input.
#[allow(
    clippy::disallowed_methods,
    reason = "a program of the host, by its absolute path and without an environment"
)]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Result<()> {
    let errors = sys::anonymous_file(c"stderr").context("memfd")?;
    let program = Path::new(command.get_program()).to_owned();
    let status = command
        .stderr(errors.try_clone().context("memfd")?)
        .status()
        .with_context(|| program.display().to_string())?;
    if status.success() {
        return Ok(());
    }
    let said = text(&errors).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    match said.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Err(anyhow!("{name}: {line}")),
        None => Err(anyhow!("{name}: {status}")),
    }
}

fn text(file: &OwnedFd) -> nix::Result<String> {
    lseek(file, 0, Whence::SeekSet)?;
    sys::read_to_string(file.as_fd())
}
