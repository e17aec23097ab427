//! `remount`: changes a mount that an earlier entry of `mounts` has made (mount(8)).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{bail, ensure};
use nix::errno::Errno;

use super::detached::set_parameters;
use super::options::Options;
use super::parameter::Parameter;
use crate::step::Cause;
use crate::sys::{self, CloseBatch, FsConfig};

/// What is changed beside the attributes of the mount.
#[derive(Debug)]
pub(super) struct Remount {
    /// Flags of the superblock to set and to clear, by their names in fsconfig(2).
    pub(super) superblock: Vec<CString>,
    pub(super) data: Vec<Parameter>,
}

impl Remount {
    /// With `bind`, only the mount changes, and not its file system (mount(2), "Remounting an
    /// existing mount").
    pub(super) fn plan(options: Options) -> anyhow::Result<Remount> {
        if options.bind.is_some() {
            if let Some(option) = options.data.first() {
                bail!("options: {option}: with bind, remount changes no option of the file system");
            }
            return Ok(Remount {
                superblock: Vec::new(),
                data: Vec::new(),
            });
        }
        let (set, cleared) = (options.superblock.iter(), options.superblock_cleared.iter());
        let superblock = set.chain(cleared).copied().map(CString::new);
        let superblock = superblock.collect::<Result<Vec<_>, _>>()?;
        ensure!(
            !superblock.iter().any(|flag| flag.as_c_str() == c"iversion"),
            "options: iversion: it is set when a file system is mounted; give it to the earlier entry"
        );
        Ok(Remount {
            superblock,
            data: options.data,
        })
    }

    pub(super) fn changes_file_system(&self) -> bool {
        !(self.superblock.is_empty() && self.data.is_empty())
    }

    /// Init: changes the file system of the mount.
    pub(super) fn reconfigure(
        &self,
        mount: BorrowedFd,
        close_batch: &CloseBatch,
    ) -> Result<(), Cause> {
        if self.changes_file_system() {
            let picked = sys::fspick(mount)?;
            set_parameters(picked.as_fd(), &self.superblock, &self.data)?;
            sys::fsconfig(picked.as_fd(), FsConfig::Reconfigure)?;
            close_batch.add(picked);
        }
        Ok(())
    }

    /// The options of the file system, for `rt check --plan`.
    pub(super) fn options(&self) -> impl Iterator<Item = String> {
        let flags = self.superblock.iter();
        let flags = flags.map(|flag| flag.to_string_lossy().into_owned());
        flags.chain(self.data.iter().map(Parameter::to_string))
    }

    /// The option at the position that [`Cause::Parameter`] holds.
    pub(super) fn parameter(&self, position: u16) -> Option<String> {
        let position = usize::from(position);
        match self.superblock.get(position) {
            Some(flag) => Some(flag.to_string_lossy().into_owned()),
            None => Some(self.data.get(position - self.superblock.len())?.to_string()),
        }
    }

    /// A hint at why the kernel refuses it.
    pub(super) fn hint(errno: Errno) -> Option<&'static str> {
        Some(match errno {
            Errno::EINVAL => "remount changes a mount; is there one at the destination?",
            Errno::ELOOP => "a symbolic link leads to the destination",
            Errno::EPERM => {
                "a user namespace keeps ro, nosuid, nodev and noexec of the host's mounts"
            }
            _ => return None,
        })
    }
}
