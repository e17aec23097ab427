//! What a container is on disk: a directory named by its id, which holds `state.json` and
//! sockets.

mod directory;
mod entries;
mod exec_defaults;
mod file;
mod id;
mod init_process;
mod lookup;
mod new;
mod process_stat;
mod recover;
mod root;
mod status;

pub(crate) use directory::{Container, ids, remove_leftovers};
pub(crate) use entries::{NOTIFY_DIRECTORY, NOTIFY_SOCKET, START_SOCKET};
pub(crate) use exec_defaults::ExecDefaults;
pub(crate) use file::{Config, Layers, State};
pub(crate) use id::{id_fault, valid_id};
pub(crate) use lookup::no_such_container;
pub(crate) use process_stat::{ProcessStat, boot_id};
pub(crate) use root::{check_root, check_writable_root};
pub(crate) use status::{Status, not_running};
