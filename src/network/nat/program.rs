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

/// Carries out one transaction.
///
/// # Errors
/// When nft(8) is not installed or fails, with the first line that it writes.
pub(super) fn transaction(text: &str) -> Result<()> {
    let input = sys::anonymous_file(c"nft").context("memfd")?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = write(&input, rest).context("memfd")?;
        rest = &rest[written..];
    }
    lseek(&input, 0, Whence::SeekSet).context("memfd")?;
    run(&nft()?, &["-f", "-"], Some(input)).map(drop)
}

/// Runs a program without an environment, and returns its standard output.
///
/// # Errors
/// When it fails, with the first line that it writes to standard error.
#[allow(
    clippy::disallowed_methods,
    reason = "a program of the host, by its absolute path and without an environment"
)]
pub(super) fn run(program: &Path, arguments: &[&str], input: Option<OwnedFd>) -> Result<String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let [output, errors] = [
        sys::anonymous_file(c"output"),
        sys::anonymous_file(c"stderr"),
    ];
    let (output, errors) = (output.context("memfd")?, errors.context("memfd")?);
    let input = input.map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(input)
        .stdout(File::from(output.try_clone().context("memfd")?))
        .stderr(File::from(errors.try_clone().context("memfd")?));
    let status = command
        .status()
        .with_context(|| program.display().to_string())?;
    if status.success() {
        return text(&output).with_context(|| format!("read from {name}"));
    }
    let said = text(&errors).unwrap_or_default();
    match said.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Err(anyhow!("{name}: {line}")),
        None => Err(anyhow!("{name}: {status}")),
    }
}

fn text(file: &OwnedFd) -> nix::Result<String> {
    lseek(file, 0, Whence::SeekSet)?;
    sys::read_to_string(file.as_fd())
}
