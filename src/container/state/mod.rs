//! What a container is on disk: a directory named by its id, which holds `state.json` and
//! sockets.

mod directory;
mod entries;
mod exec_defaults;
mod file;
mod init_process;
mod process_stat;
mod recover;
mod status;

pub(crate) use directory::{
    Container, check_root, check_writable_root, ids, no_such_container, remove_leftovers, valid_id,
};
pub(crate) use entries::{NOTIFY_DIRECTORY, NOTIFY_SOCKET, START_SOCKET};
pub(crate) use exec_defaults::ExecDefaults;
pub(crate) use file::{Config, State};
pub(crate) use process_stat::{ProcessStat, boot_id};
pub(crate) use status::Status;
