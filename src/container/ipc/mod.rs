//! How `rt` talks to other processes: to init, to `rt start`, and to the managers that asked
//! for a pidfd, a pid file or READY.

mod notify;
mod pid_file;
mod pidfd_socket;
mod start_socket;
mod sync;

pub(crate) use notify::{NotifyProxy, ServiceManager, make_notify_directory, notify_directory};
pub(crate) use pid_file::write_pid_file;
pub(crate) use pidfd_socket::{PidfdKind, PidfdSocket};
pub(crate) use start_socket::StartSocket;
pub(crate) use sync::{InitEnd, InitMessage, RuntimeEnd, UNEXPECTED_MESSAGE, log_progress, pair};
