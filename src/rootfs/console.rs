//! The container's terminal: a pseudoterminal of the container's devpts, and /dev/console.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};

use super::root::{Links, Root};
use super::{Entry, NewRoot, Rootfs};
use crate::step::{Cause, Progress, Refusal, Step};
use crate::sys::{self, OpenTree};

/// See statfs(2).
const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);
/// The inode number of ptmx in every devpts (fs/devpts/inode.c).
const PTMX_INODE: u64 = 2;

/// Both ends of a pseudoterminal.
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) terminal: OwnedFd,
}

impl Rootfs {
    /// Init: opens a new pseudoterminal. In a mount namespace of the container's own, the
    /// terminal is also bind-mounted on /dev/console.
    pub(crate) fn open_terminal(
        &self,
        entered: &NewRoot,
        progress: &Progress,
    ) -> Result<Pty, Cause> {
        progress.enter(Step::Terminal);
        let pty = open_pty(&entered.root)?;
        if self.entry != Entry::Chroot {
            progress.enter(Step::Console);
            bind_console(&entered.root, &pty.terminal)?;
        }
        Ok(pty)
    }
}

/// An exec process: opens a new pseudoterminal. /dev/console stays the terminal of init.
pub(crate) fn open_terminal(progress: &Progress) -> Result<Pty, Cause> {
    progress.enter(Step::Terminal);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open_pty(&Root::new(nix::fcntl::open("/", flags, Mode::empty())?))
}

/// Opens a pseudoterminal through /dev/pts/ptmx. Only a ptmx of devpts is accepted, because
/// an image can put another file there (CVE-2025-52565).
fn open_pty(root: &Root) -> Result<Pty, Cause> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let path = Path::new("/dev/pts/ptmx");
    let found = root.open(path, OFlag::O_PATH, Links::Refuse)?;
    let node = fstat(&found)?;
    if fstatfs(&found)?.filesystem_type() != DEVPTS_SUPER_MAGIC
        || node.st_mode & libc::S_IFMT != libc::S_IFCHR
        || node.st_ino != PTMX_INODE
        || node.st_rdev != makedev(5, 2)
    {
        return Err(Refusal::PathOccupied.into());
    }
    let master = root.open(path, flags, Links::Refuse)?;
    // The second open may have found another file.
    let opened = fstat(&master)?;
    if (opened.st_dev, opened.st_ino) != (node.st_dev, node.st_ino) {
        return Err(Refusal::PathOccupied.into());
    }
    sys::pty_unlock(master.as_fd())?;
    let terminal = sys::pty_peer(master.as_fd())?;
    Ok(Pty { master, terminal })
}

fn bind_console(root: &Root, terminal: &OwnedFd) -> Result<(), Cause> {
    let mount_point = match root.file(Path::new("/dev/console"), Links::Refuse) {
        Err(Errno::ELOOP) => return Err(Refusal::PathOccupied.into()),
        mount_point => mount_point?,
    };
    let mount = sys::open_tree(terminal.as_fd(), c"", OpenTree::Mount)?;
    Ok(sys::move_mount(mount.as_fd(), mount_point.as_fd())?)
}
