//! Protects the file of this program from being overwritten by a container
//! (CVE-2019-5736).
//!
//! A process that enters a container has this program as its /proc/PID/exe until it
//! calls execve(2), and a script in the image may execute it by `#!/proc/self/exe`. A
//! process in the container can open the file through that link, although the file is
//! not in the container's root. This cannot be prevented, but writing can. Commands that
//! create such a process therefore first execute this program again from a read-only,
//! detached copy of its file's mount (`sys/start.rs`), which also finds out whether that has been
//! done. If the mount could not be copied, this module executes a sealed copy of the program in
//! memory.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::prctl::set_name;
use nix::sys::stat::Mode;

use crate::log;
use crate::sys::{self, Pointers};

const PROGRAM: &str = "/proc/self/exe";

/// Write permission for the group and for others.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// The seals that prevent any change of a file in memory (fcntl(2), `F_ADD_SEALS`).
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// Returns if a container cannot write to this program's file through /proc/PID/exe.
/// Otherwise executes a sealed copy in memory with the same `arguments`.
///
/// # Errors
/// When the file cannot be copied, or the copy cannot be executed.
pub(crate) fn seal<'a>(arguments: impl Iterator<Item = &'a OsStr> + Clone) -> Result<()> {
    if sys::is_on_read_only_mount() {
        return name_process(arguments);
    }
    if is_owned_by_root().context(PROGRAM)? {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let program = open(PROGRAM, flags, Mode::empty()).map_err(|errno| {
        let is_missing = errno == Errno::ENOENT;
        log::hinted(errno, is_missing.then(|| "is /proc mounted?".to_owned()))
    });
    let program = program.context(PROGRAM)?;
    if is_sealed(&program).context(PROGRAM)? {
        return name_process(arguments);
    }
    let copy = sealed_copy(program).with_context(|| format!("copy {PROGRAM}"))?;
    let arguments = arguments.map(|argument| CString::new(argument.as_bytes()));
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>().context("arguments")?;
    let arguments: Pointers = arguments.iter().map(CString::as_c_str).collect();
    Err(anyhow!(sys::execute_again(copy.as_fd(), &arguments)).context(format!("execute {PROGRAM}")))
}

/// Whether the caller is not root, and only root may write to the file. The container's
/// processes then have no host id that could write to it.
fn is_owned_by_root() -> io::Result<bool> {
    if sys::ids_at_execve().0.is_root() {
        return Ok(false);
    }
    let program = std::fs::metadata(PROGRAM)?;
    Ok(program.uid() == 0 && program.mode() & GROUP_OR_OTHERS_WRITE == 0)
}

fn is_sealed(program: &OwnedFd) -> nix::Result<bool> {
    match fcntl(program, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_retain(seals).contains(SEALS)),
        // The file is not a file in memory.
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn sealed_copy(program: OwnedFd) -> Result<OwnedFd> {
    let copy = sys::anonymous_program(c"rt")?;
    let mut target = File::from(copy.try_clone()?);
    io::copy(&mut File::from(program), &mut target)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(copy)
}

/// Gives this process the name of the program. Before Linux 6.14, execveat(2) names a process
/// after the descriptor that it executes.
fn name_process<'a>(mut arguments: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let name = arguments
        .next()
        .and_then(|program| Path::new(program).file_name());
    let Some(name) = name else {
        return Ok(());
    };
    set_name(&CString::new(name.as_bytes())?).context("set the name of the process")
}
