//! Compares the namespaces of a restored process with the plan, and writes the sysctls that CRIU does not restore.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::setns;
use nix::sys::stat::{fstat, stat};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;

use super::sysctl::Sysctl;
use super::{Kind, Namespaces, Place};
use crate::sys::{self, Ended, Forked};
use crate::trusted_proc::Proc;

impl Namespaces {
    /// # Errors
    /// When `process`, a path below /proc, shares a namespace with the host that config.json does not share.
    pub(crate) fn compare(&self, process: &str, proc: &Proc) -> Result<()> {
        for kind in Kind::all() {
            let is_of_host = match self.place(kind) {
                Place::Shared => continue,
                Place::New => false,
                Place::Joined { path, .. } => is_own(kind, path, proc)?,
            };
            ensure!(
                is_of_host || !shares(kind, process, proc)?,
                "linux.namespaces: the images have no {kind} namespace of their own"
            );
        }
        Ok(())
    }

    /// # Errors
    /// When the container's process `pid` has a namespace that config.json shares with the host, or other ids than
    /// config.json maps.
    pub(crate) fn compare_init(&self, pid: Pid, proc: &Proc) -> Result<()> {
        for kind in Kind::all() {
            // CRIU always makes a new time namespace.
            let is_made = kind == Kind::Time || *self.place(kind) != Place::Shared;
            ensure!(
                is_made || shares(kind, &pid.to_string(), proc)?,
                "linux.namespaces: the images have a {kind} namespace, and config.json has none"
            );
        }
        let Some(maps) = self.new_maps() else {
            return Ok(());
        };
        for (name, map) in [("uid", &maps.uids), ("gid", &maps.gids)] {
            let text = proc.read(&format!("{pid}/{name}_map")).context("/proc")?;
            let numbers = |text: &str| -> Vec<Vec<u64>> {
                let lines = text.lines().map(|line| {
                    let numbers = line.split_whitespace();
                    numbers.filter_map(|number| number.parse().ok()).collect()
                });
                lines.collect()
            };
            ensure!(
                numbers(&text) == numbers(&map.lines()),
                "linux.{name}Mappings: the images have others"
            );
        }
        Ok(())
    }

    /// Writes those values of `linux.sysctl` to the new namespaces of the process `pid` that CRIU does not restore.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(crate) fn write_lost_sysctls(
        &self,
        pid: Pid,
        empty_network: bool,
        proc: &Proc,
    ) -> Result<()> {
        let is_new = |one: &&Sysctl| *self.place(one.kind) == Place::New;
        let new = self.sysctls.iter().filter(is_new);
        let lost: Vec<&Sysctl> = new.filter(|one| one.is_lost(empty_network)).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let flags = lost.iter().map(|one| one.kind.flag()).collect();
        let process = sys::pidfd_open(pid).context("pidfd_open")?;
        let Forked::Parent { pid, .. } = sys::fork().context("linux.sysctl")? else {
            let write = |one: &&Sysctl| proc.write(&one.file, one.value.as_bytes());
            let written = setns(process, flags).and_then(|()| lost.iter().try_for_each(write));
            sys::exit(written.err().map_or(0, |errno| errno as i32))
        };
        match sys::wait(Some(pid), WaitPidFlag::empty()).context("linux.sysctl")? {
            Some((_, Ended::Exited(0))) => Ok(()),
            Some((_, Ended::Exited(errno))) => {
                Err(Errno::from_raw(errno.into())).context("linux.sysctl")
            }
            _ => bail!("linux.sysctl: the process that writes them has ended"),
        }
    }
}

/// Whether `process`, a path below /proc, is in the same namespace as this process.
fn shares(kind: Kind, process: &str, proc: &Proc) -> Result<bool> {
    let of = |process: &str| proc.link_text(&format!("{process}/ns/{}", kind.file()));
    Ok(of("self").context("/proc")? == of(process).context("/proc")?)
}

/// Whether the namespace at `path` is the one of this process.
fn is_own(kind: Kind, path: &Path, proc: &Proc) -> Result<bool> {
    let own = proc.link(&format!("self/ns/{}", kind.file()), OFlag::O_PATH);
    let (own, other) = (fstat(own.context("/proc")?)?, stat(path)?);
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}
