//! The systemd that manages a container's cgroups: that of the host, or that of a user.

use std::path::{Path, PathBuf};

use anyhow::{Error, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::bus::address::of_path;
use super::bus::connection::Connection;
use crate::host::{Caller, CgroupLayout, Host};

/// The environment variables that name buses.
#[derive(Clone, Debug, Default)]
pub(crate) struct BusEnvironment {
    /// `DBUS_SYSTEM_BUS_ADDRESS`
    pub(crate) system: Option<String>,
    /// `DBUS_SESSION_BUS_ADDRESS`
    pub(crate) session: Option<String>,
    /// `XDG_RUNTIME_DIR`
    pub(crate) runtime_directory: Option<PathBuf>,
}

/// Where systemd is reached. Later commands reach the same one, whatever their environment is, so
/// state.json holds this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cgroups) struct Manager {
    /// It is the manager of a user, who owns the container.
    pub(in crate::cgroups) user: bool,
    /// Addresses of D-Bus, in the order in which to try them.
    addresses: Vec<String>,
}

impl Manager {
    /// # Errors
    /// As [`Connection::open`].
    pub(super) fn connect(&self) -> Result<Connection> {
        Connection::open(&self.addresses)
    }

    /// A manager that nothing is asked of.
    #[cfg(test)]
    pub(in crate::cgroups) fn of_test(user: bool) -> Manager {
        Manager {
            user,
            addresses: Vec::new(),
        }
    }

    fn of_host(environment: &BusEnvironment) -> Manager {
        let addresses = match &environment.system {
            Some(address) => vec![address.clone()],
            // Without a bus between, a call is faster, and a busy bus delays nothing.
            None => vec![PRIVATE.to_owned(), SYSTEM_BUS.to_owned()],
        };
        Manager {
            user: false,
            addresses,
        }
    }

    fn of_user(environment: &BusEnvironment) -> Manager {
        let in_directory = |directory: &PathBuf| {
            let path = |name: &str| of_path(&directory.join(name).to_string_lossy());
            [path("systemd/private"), path("bus")]
        };
        let directory = environment.runtime_directory.as_ref();
        let mut addresses: Vec<String> = environment.session.iter().cloned().collect();
        addresses.extend(directory.map(in_directory).into_iter().flatten());
        Manager {
            user: true,
            addresses,
        }
    }

    /// The manager of the host for its root, the manager of the user for any other caller. Root of
    /// a user namespace is such a user, unless a systemd of the same root runs there.
    fn find(environment: &BusEnvironment, caller: &Caller) -> Manager {
        let is_in_namespace = caller.uid == 0 && !caller.initial_user_namespace;
        let has_own = || {
            let private = Connection::open(&[PRIVATE.to_owned()]);
            private.is_ok_and(|connection| connection.peer_uid() == Ok(0))
        };
        if caller.is_host_root() || (is_in_namespace && has_own()) {
            Manager::of_host(environment)
        } else {
            Manager::of_user(environment)
        }
    }
}

const PRIVATE: &str = "unix:path=/run/systemd/private";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// What the driver has to know of systemd, asked before anything is planned.
#[derive(Debug)]
pub(crate) struct Systemd {
    pub(in crate::cgroups) manager: Manager,
    /// An error says why it cannot be used.
    pub(in crate::cgroups) found: Result<Facts>,
}

/// What systemd says of itself.
#[derive(Debug)]
pub(in crate::cgroups) struct Facts {
    /// 0 when it is not known.
    pub(in crate::cgroups) version: u32,
    /// The cgroup of the manager, relative to the mount point.
    pub(in crate::cgroups) cgroup: PathBuf,
}

impl Systemd {
    /// Asks systemd. Nothing is changed.
    pub(crate) fn probe(environment: &BusEnvironment, host: &Host) -> Systemd {
        let manager = Manager::find(environment, &host.caller);
        let is_v1 = matches!(host.cgroups, CgroupLayout::V1 { .. });
        let found = if manager.user && is_v1 {
            Err(anyhow!(NO_USER_ON_V1))
        } else {
            ask(&manager).map_err(|error| explain(&error, manager.user))
        };
        Systemd { manager, found }
    }

    /// Its version, 0 if that is not known, and whether it is the manager of a user.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn into_version(self) -> Result<(u32, bool)> {
        Ok((self.found?.version, self.manager.user))
    }
}

const NO_USER_ON_V1: &str = "systemd delegates no cgroup of version 1 to a user; boot the host with \
                             systemd.unified_cgroup_hierarchy=1, or leave out the limits";

fn ask(manager: &Manager) -> Result<Facts> {
    let mut connection = manager.connect()?;
    let version = connection.property("Version")?;
    let cgroup = if manager.user {
        connection.property("ControlGroup")?
    } else {
        String::new()
    };
    let cgroup = Path::new(&cgroup);
    Ok(Facts {
        version: parse_version(&version),
        cgroup: cgroup.strip_prefix("/").unwrap_or(cgroup).to_owned(),
    })
}

fn explain(error: &Error, user: bool) -> Error {
    let remedy = if user {
        "a user needs a session with a systemd of its own: install dbus-user-session and log in, \
         or loginctl enable-linger USER, and set XDG_RUNTIME_DIR"
    } else {
        "is systemd PID 1 of this host? --cgroup-manager cgroupfs works without it"
    };
    let error = crate::log::format_error(error);
    anyhow!("systemd: {error}; {remedy}")
}

/// `252.39-1~deb12u2`, `v245.4` or `"252"`.
pub(super) fn parse_version(text: &str) -> u32 {
    let text = text.trim_start_matches(['"', 'v']);
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().unwrap_or(0)
}

impl Manager {
    /// The error for a call about a unit, with what shows why systemd refused it.
    pub(super) fn error(&self, call: &str, unit: &str, reason: &str) -> Error {
        let user = if self.user { " --user" } else { "" };
        anyhow!(
            "systemd: {call} {unit}: {reason}; systemctl{user} status {unit} and journalctl{user} -u {unit} show more"
        )
    }

    /// Adds the same to an error of the connection.
    pub(super) fn failed<T>(&self, result: Result<T>, call: &str, unit: &str) -> Result<T> {
        result.map_err(|error| self.error(call, unit, &crate::log::format_error(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number() {
        for (text, expected) in [
            ("252.39-1~deb12u2", 252),
            ("v245.4-1.fc32", 245),
            ("\"239\"", 239),
            ("257~rc1", 257),
            ("main", 0),
            ("", 0),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bus_that_is_named_is_asked_first() {
        let environment = BusEnvironment {
            system: None,
            session: Some("unix:path=/s".to_owned()),
            runtime_directory: Some("/run/user/5".into()),
        };
        let caller = |uid| Caller {
            uid,
            gid: 0,
            initial_user_namespace: true,
        };
        assert_eq!(
            Manager::find(&environment, &caller(5)).addresses,
            [
                "unix:path=/s",
                "unix:path=/run/user/5/systemd/private",
                "unix:path=/run/user/5/bus"
            ]
        );
        let of_host = Manager::find(&environment, &caller(0));
        assert_eq!(of_host.addresses, [PRIVATE, SYSTEM_BUS]);
    }
}
