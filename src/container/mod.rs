//! A container's life, from its creation to its deletion.
//!
//! Each verb of the command line has a file here. Two pairs of files hold the order of
//! events: `create.rs` (the runtime) with `init.rs` (the container's first process), and
//! `exec.rs` (the runtime) with `exec_process.rs` (a process that joins a container).
//! Everything else serves them:
//!
//! - `state/`: what a container is on disk, and how its status follows from that;
//! - `foreground/`: a command that stays until its process ends, and relays a terminal;
//! - `ipc/`: the sockets and files over which `rt` talks to other processes.

mod check;
mod checkpoint;
mod child;
mod create;
mod delete;
mod diff;
mod events;
mod exec;
mod exec_process;
mod foreground;
mod hooks;
mod init;
mod ipc;
mod kill;
mod list;
mod oci_state;
mod pause;
mod ps;
mod seccomp_agent;
mod signals;
mod start;
mod state;
mod teardown;
mod traffic;
mod update;

pub(crate) use check::Check;
pub(crate) use checkpoint::{CheckpointRequest, CriuRequest, checkpoint};
pub(crate) use create::{Attachment, Request, RestoreRequest, create, restore, run};
pub(crate) use delete::delete;
pub(crate) use diff::{Change, DiffOutput, diff};
pub(crate) use events::{Event, Observed};
pub(crate) use exec::{ExecRequest, ProcessDescription, exec};
pub(crate) use kill::{KillTarget, kill};
pub(crate) use list::{Report, list, state, status};
pub(crate) use pause::{pause, resume};
pub(crate) use ps::processes;
pub(crate) use start::start;
pub(crate) use state::{Status, check_writable_root, id_fault, not_running, valid_id};
pub(crate) use traffic::Counters;
pub(crate) use update::update;
