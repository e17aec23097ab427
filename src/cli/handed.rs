//! What the caller's environment hands to a container: the sockets of socket
//! activation, and the ear of a service manager.

use std::env;
use std::ffi::OsString;

use anyhow::{Context, Result};
use nix::unistd::getpid;

/// How many descriptors from 3 on are sockets that a service manager has opened
/// for this process, by the rule of sd_listen_fds(3): `LISTEN_FDS` counts if
/// `LISTEN_PID` is this process.
///
/// # Errors
/// A count that is no number, meant for this process.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is asked"
)]
pub(super) fn activated() -> Result<u32> {
    let Ok(count) = env::var("LISTEN_FDS") else {
        return Ok(0);
    };
    let ours = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(getpid().as_raw()));
    match ours && !count.is_empty() {
        true => count
            .parse()
            .with_context(|| format!("LISTEN_FDS: {count:?}")),
        false => Ok(0),
    }
}

/// Where a service manager waits to hear that its service is ready (sd_notify(3)).
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is asked"
)]
pub(super) fn notify_socket() -> Option<OsString> {
    env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}
