//! The environment variables by which a service manager such as systemd passes sockets:
//! `LISTEN_FDS` and `LISTEN_PID` (sd_listen_fds(3)), `NOTIFY_SOCKET` (sd_notify(3)); and those that
//! say where it is reached itself.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::unistd::getpid;

use crate::cgroups::BusEnvironment;

/// Number of descriptors, from 3 on, that are sockets for this process. As
/// sd_listen_fds(3) defines it, `LISTEN_FDS` is valid only if `LISTEN_PID` is this process.
///
/// # Errors
/// When `LISTEN_FDS` is for this process and is not a number.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment is read in src/cli only"
)]
pub(super) fn listen_fds() -> Result<u32> {
    let Ok(count) = env::var("LISTEN_FDS") else {
        return Ok(0);
    };
    let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(getpid().as_raw()));
    if for_us && !count.is_empty() {
        count
            .parse()
            .with_context(|| format!("LISTEN_FDS: {count:?}"))
    } else {
        Ok(0)
    }
}

/// Address of the socket on which the service manager expects `READY=1`.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment is read in src/cli only"
)]
pub(super) fn notify_socket() -> Option<OsString> {
    env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

/// The addresses of D-Bus at which to look for systemd.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment is read in src/cli only"
)]
pub(super) fn buses() -> BusEnvironment {
    let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
    BusEnvironment {
        system: text("DBUS_SYSTEM_BUS_ADDRESS"),
        session: text("DBUS_SESSION_BUS_ADDRESS"),
        runtime_directory: text("XDG_RUNTIME_DIR").map(PathBuf::from),
    }
}

/// The directories in which programs of the host are looked for.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment is read in src/cli only"
)]
pub(super) fn search_path() -> Option<OsString> {
    env::var_os("PATH")
}
