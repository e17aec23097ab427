//! The container's terminal as files: a pseudoterminal of its own devpts, and
//! /dev/console.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};

use super::root::{Links, Root};
use super::{Entered, Entry, Rootfs};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, OpenTree};

/// statfs(2).
const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);
/// The inode of ptmx in every devpts (fs/devpts/inode.c).
const PTMX_INODE: u64 = 2;

/// Both ends of a pseudoterminal.
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) terminal: OwnedFd,
}

impl Rootfs {
    /// Init: a new pseudoterminal, and the terminal as /dev/console where the
    /// mounts are the container's.
    pub(crate) fn open_terminal(&self, entered: &Entered, at: &Progress) -> Result<Pty, Cause> {
        at.enter(Step::Terminal);
        let pty = open_in(&entered.root)?;
        if self.entry != Entry::Chroot {
            at.enter(Step::Console);
            bind_console(&entered.root, &pty.terminal)?;
        }
        Ok(pty)
    }
}

/// A process that has joined the container: the same, and /dev/console stays
/// the first one's.
pub(crate) fn open_terminal(at: &Progress) -> Result<Pty, Cause> {
    at.enter(Step::Terminal);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open_in(&Root::new(nix::fcntl::open("/", flags, Mode::empty())?))
}

/// What an image may have put at these places is refused: only the kernel's own
/// ptmx gives terminals (CVE-2025-52565).
fn open_in(root: &Root) -> Result<Pty, Cause> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let place = Path::new("/dev/pts/ptmx");
    let found = root.open(place, OFlag::O_PATH, Links::Refuse)?;
    let node = fstat(&found)?;
    if fstatfs(&found)?.filesystem_type() != DEVPTS_SUPER_MAGIC
        || node.st_mode & libc::S_IFMT != libc::S_IFCHR
        || node.st_ino != PTMX_INODE
        || node.st_rdev != makedev(5, 2)
    {
        return Err(Refusal::OtherFile.into());
    }
    let master = root.open(place, flags, Links::Refuse)?;
    // Opening it again could have found another file.
    let opened = fstat(&master)?;
    if (opened.st_dev, opened.st_ino) != (node.st_dev, node.st_ino) {
        return Err(Refusal::OtherFile.into());
    }
    sys::pty_unlock(master.as_fd())?;
    let terminal = sys::pty_peer(master.as_fd())?;
    Ok(Pty { master, terminal })
}

fn bind_console(root: &Root, terminal: &OwnedFd) -> Result<(), Cause> {
    let place = match root.file(Path::new("/dev/console"), Links::Refuse) {
        Err(Errno::ELOOP) => return Err(Refusal::OtherFile.into()),
        place => place?,
    };
    let mount = sys::open_tree(terminal.as_fd(), c"", OpenTree::Mount)?;
    Ok(sys::move_mount(mount.as_fd(), place.as_fd())?)
}
