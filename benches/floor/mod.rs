//! The floor: a process that makes the same container as `rt run`, and nothing else. Everything
//! it does is fixed, so it parses no configuration, checks nothing, keeps no state and leases no
//! address. What it takes is the time of the kernel, and the least that `rt` can take.
//!
//! It leaves out the filter for devices of cgroup v2, so it is a little too fast there.

mod calls;
mod cgroups;
mod files;
mod network;
mod process;
mod root;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, SIGCHLD};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use calls::{bytes_of, call};
use cgroups::Cgroups;
use network::Connection;
use root::Sources;

/// The first argument of a process that is the floor.
pub(crate) const FLAG: &str = "--floor";

const NAMESPACES: i32 = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The size of `struct clone_args`.
const CLONE_ARGUMENTS_SIZE: i32 = 88;

/// Where the container is made.
pub(crate) struct Place<'a> {
    pub(crate) root: &'a Path,
    pub(crate) bridge: Option<&'a str>,
    /// A directory of cgroup v2.
    pub(crate) unified: Option<&'a Path>,
    /// The directories of cgroup v1, in the order in which they are made.
    pub(crate) hierarchies: &'a [PathBuf],
}

/// The arguments of the process that runs `program` as the container's.
pub(crate) fn arguments(place: &Place, program: &[&str]) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut arguments = vec![
        FLAG.to_owned(),
        path(place.root),
        place.bridge.unwrap_or_default().to_owned(),
        place.unified.map(path).unwrap_or_default(),
    ];
    arguments.extend(place.hierarchies.iter().map(|directory| path(directory)));
    arguments.push("--".to_owned());
    arguments.extend(program.iter().map(|word| (*word).to_owned()));
    arguments
}

/// Runs a container to its end. `arguments` are those of [`arguments`], after the flag.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let (place, program) =
        arguments.split_at(arguments.iter().position(|word| word == "--").unwrap());
    let [root, bridge, unified, hierarchies @ ..] = place else {
        panic!("{FLAG} needs a place");
    };
    let unified = (!unified.is_empty()).then_some(Path::new(unified));
    let cgroups = Cgroups::make(unified, hierarchies.iter().map(PathBuf::from).collect());
    let sources = Sources::open(Path::new(root), &cgroups.hierarchies, unified);
    let (own, others) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    let pid = clone(&cgroups);
    if pid == 0 {
        wait_for_go(&others);
        process::become_container(&sources, !bridge.is_empty(), &program[1..]);
    }
    let pid = Pid::from_raw(pid);
    cgroups.add(pid);
    let connection = (!bridge.is_empty()).then(|| Connection::make(pid, bridge));
    send(own.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL).unwrap();
    let status = waitpid(pid, None).unwrap();
    cgroups.remove();
    if let Some(connection) = connection {
        connection.remove();
    }
    ExitCode::from(u8::from(status != WaitStatus::Exited(pid, 0)))
}

/// Clones a process in new namespaces, and returns its pid, or 0 in it.
fn clone(cgroups: &Cgroups) -> i32 {
    let mut flags = NAMESPACES as u64;
    let mut cgroup = 0;
    if let Some((_, directory)) = &cgroups.unified {
        flags |= CLONE_INTO_CGROUP;
        cgroup = directory.as_raw_fd() as u64;
    }
    // `struct clone_args`.
    let members = bytes_of([flags, 0, 0, 0, SIGCHLD as u64, 0, 0, 0, 0, 0, cgroup]);
    let members = members.as_slice().into();
    call(libc::SYS_clone3, [members, CLONE_ARGUMENTS_SIZE.into()]).unwrap()
}

fn wait_for_go(socket: &OwnedFd) {
    let mut go = [0];
    recv(socket.as_raw_fd(), &mut go, MsgFlags::empty()).unwrap();
}
