//! `rt diff`: what a container has changed in the layers below it.
//!
//! A child process looks at the container (`view.rs`) and reads its files. No process of the
//! container can see the child, which stays in the pid namespace of `rt`. Where they share it,
//! the child is not dumpable, so they cannot read its memory or take its descriptors.

mod view;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Pid, pipe2};

use super::state::Container;
use crate::layer::{self, Archive, Kind};
use crate::log;
use crate::sys::{self, Ended, Forked};
use view::View;

/// One change: its kind, and the path from the root.
pub(crate) type Change = (Kind, Vec<u8>);

/// What happens with the changes.
pub(crate) enum DiffOutput {
    /// They are printed, sorted by path.
    List(fn(&[Change]) -> Result<()>),
    /// They are written to this file, as a layer of an image.
    Layer(File),
}

/// Finds what the container `id` has changed.
///
/// # Errors
/// When the container has no overlay, or had one that ended with it, or when a file cannot be
/// read or cannot be in a layer.
pub(crate) fn diff(root: &Path, id: &str, output: DiffOutput) -> Result<()> {
    // Processes in the container may not read this memory through /proc (CVE-2016-9962).
    prctl::set_dumpable(false).context("become non-dumpable")?;
    let (container, state) = Container::find(root, id)?;
    let view = View::plan(&container, &state)?;
    drop(container);
    in_child(|| {
        let (before, after) = view.open()?;
        write(before, after, output)
    })
}

fn write(before: OwnedFd, after: OwnedFd, output: DiffOutput) -> Result<()> {
    // Each level of a path needs a descriptor.
    let (this, nofile) = (Pid::from_raw(0), libc::RLIMIT_NOFILE);
    let (_, hard) = sys::prlimit(this, nofile, None).context("RLIMIT_NOFILE")?;
    sys::prlimit(this, nofile, Some((hard, hard))).context("RLIMIT_NOFILE")?;
    match output {
        DiffOutput::List(print) => {
            let mut changes: Vec<Change> = Vec::new();
            layer::compare(before, after, &mut |entry| {
                changes.push((entry.kind, entry.path.to_owned()));
                Ok(())
            })?;
            changes.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
            print(&changes)
        }
        DiffOutput::Layer(file) => {
            let mut archive = Archive::new(file);
            layer::compare(before, after, &mut |entry| archive.append(entry))?;
            archive.finish()
        }
    }
}

/// Runs `act` in a child, which may enter namespaces, and waits for its end. The child ends with
/// this process.
fn in_child(act: impl FnOnce() -> Result<()>) -> Result<()> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    let pid = match sys::fork().context("fork")? {
        Forked::Parent { pid, .. } => pid,
        Forked::Child => {
            drop(reader);
            let Err(error) = end_with_parent().and_then(|()| act()) else {
                sys::exit(0)
            };
            // When this write fails too, the parent reports the exit status.
            let _ = File::from(writer).write_all(log::format_error(&error).as_bytes());
            sys::exit(1)
        }
    };
    drop(writer);
    let mut text = String::new();
    let read = File::from(reader).read_to_string(&mut text);
    match sys::wait(Some(pid), WaitPidFlag::empty()).context("wait")? {
        Some((_, Ended::Exited(0))) => Ok(()),
        Some((_, Ended::Signaled(signal))) => bail!("ended by signal {signal}"),
        _ => {
            read.context("pipe")?;
            Err(anyhow!(text))
        }
    }
}

fn end_with_parent() -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl")
}
