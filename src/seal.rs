//! The program's own file, out of the reach of containers (CVE-2019-5736).
//!
//! A process on its way into a container still has this program as its
//! /proc/PID/exe, and a script in the image may execute it by `#!/proc/self/exe`.
//! Whoever can see such a process opens the file by that link, whatever lies
//! between the two in the file system; what is left to refuse is writing. So who
//! makes such a process executes itself once more, first thing, from a read-only
//! copy of the file's mount that is attached nowhere (`sys/start.rs`). Here that is
//! verified; where no mount could be copied, a sealed copy in memory takes its place.

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
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::geteuid;

use crate::sys::{self, Pointers};

const PROGRAM: &str = "/proc/self/exe";

/// Write permission of a group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// What keeps a file in memory as it is (fcntl(2), `F_ADD_SEALS`).
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// Returns when nobody can write to this program's file by way of this process;
/// before that, where its mount is not read-only, executes a copy in memory with the
/// arguments `words`.
///
/// # Errors
/// When the file cannot be copied, or the copy not executed.
pub(crate) fn seal<'a>(words: impl Iterator<Item = &'a OsStr> + Clone) -> Result<()> {
    if is_out_of_reach().context(PROGRAM)? {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let program = open(PROGRAM, flags, Mode::empty()).context(PROGRAM)?;
    if is_sealed(&program).context(PROGRAM)? {
        return name_process(words).context("name of the process");
    }
    let copy = sealed_copy(program).with_context(|| format!("copy {PROGRAM}"))?;
    let words = words.map(|word| CString::new(word.as_bytes()));
    let words: Vec<CString> = words.collect::<Result<_, _>>().context("arguments")?;
    let words: Pointers = words.iter().map(CString::as_c_str).collect();
    Err(anyhow!(sys::execute_again(copy.as_fd(), &words)).context(format!("execute {PROGRAM}")))
}

/// Whether a user without rights runs a file of the machine's root: the ids that
/// they can lend to a container's processes cannot write to it.
fn is_out_of_reach() -> io::Result<bool> {
    if geteuid().is_root() {
        return Ok(false);
    }
    let program = std::fs::metadata(PROGRAM)?;
    Ok(program.uid() == 0 && program.mode() & OTHERS_WRITE == 0)
}

fn is_sealed(program: &OwnedFd) -> nix::Result<bool> {
    if fstatvfs(program)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    match fcntl(program, FcntlArg::F_GET_SEALS) {
        Ok(seals) => Ok(SealFlag::from_bits_retain(seals).contains(SEALS)),
        // It is no file in memory.
        Err(Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn sealed_copy(program: OwnedFd) -> Result<OwnedFd> {
    let copy = sys::anonymous_program(c"rt")?;
    let mut to = File::from(copy.try_clone()?);
    io::copy(&mut File::from(program), &mut to)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(copy)
}

/// The kernel has named this process after the descriptor that it was executed
/// from (before Linux 6.14).
fn name_process<'a>(mut words: impl Iterator<Item = &'a OsStr>) -> Result<()> {
    let called = words.next().and_then(|word| Path::new(word).file_name());
    let Some(called) = called else {
        return Ok(());
    };
    Ok(set_name(&CString::new(called.as_bytes())?)?)
}
