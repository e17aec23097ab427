//! The global flags, which come before the verb: their definitions and their values.

use std::env;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Command, ValueHint};

use super::arguments::parse_bool;
use super::service_manager;
use crate::cgroups::CgroupMode;
use crate::commands::{
    Globals, InputDescriptors, flag, meant_or_expected, option, path_option, suggest,
};
use crate::host::Caller;
use crate::log;
use crate::pathname::{self, Access};
use crate::process::Passed;

const LOG_FORMATS: [&str; 2] = ["text", "json"];
const ROOTLESS: [&str; 3] = ["true", "false", "auto"];
const CGROUP_MANAGERS: [&str; 3] = ["cgroupfs", "systemd", "disabled"];

/// Adds the global flags to the program's definition.
pub(super) fn define(command: Command) -> Command {
    let root = "State directory [default: /run/rt as root, $XDG_RUNTIME_DIR/rt as another user]";
    let log_format = "Format of the log: text or json [default: text]";
    let rootless =
        "Whether to ignore missing permissions for cgroups: true, false or auto [default: auto]";
    let manager =
        "How to manage cgroups: cgroupfs, systemd, or disabled to create none [default: cgroupfs]";
    let systemd = "Let systemd make the cgroups: the same as --cgroup-manager systemd";
    command
        .arg(
            path_option("root", "DIR")
                .value_hint(ValueHint::DirPath)
                .help(root),
        )
        .arg(path_option("log", "FILE").help("Write the log to this file"))
        .arg(suggest(
            option("log-format", "FORMAT").help(log_format),
            || LOG_FORMATS.to_vec(),
        ))
        .arg(flag("debug").help("Write debug messages to the log"))
        .arg(suggest(option("rootless", "WHEN").help(rootless), || {
            ROOTLESS.to_vec()
        }))
        .arg(suggest(
            option("cgroup-manager", "NAME").help(manager),
            || CGROUP_MANAGERS.to_vec(),
        ))
        .arg(flag("systemd-cgroup").help(systemd))
        .arg(flag("help").short('h').help("Print this help"))
        .arg(flag("version").short('v').help("Print the version"))
}

/// Reads the values of the global flags and opens the log.
///
/// # Errors
/// When a flag has an invalid value, or when the log file cannot be opened.
pub(super) fn read(matches: &ArgMatches) -> Result<Globals> {
    let format = match matches.get_one::<String>("log-format").map(String::as_str) {
        None | Some("text") => log::Format::Text,
        Some("json") => log::Format::Json,
        Some(other) => bail!(
            "invalid log-format: {other}: {}",
            meant_or_expected(other, &LOG_FORMATS)
        ),
    };
    let file = matches.get_one::<PathBuf>("log").map(PathBuf::as_path);
    log::init(file, format, matches.get_flag("debug")).map_err(|error| {
        let path = file.unwrap_or(Path::new(""));
        let error = pathname::explain(path, error, Access::Write);
        error.context(format!("--log {}", path.display()))
    })?;
    let root = matches.get_one::<PathBuf>("root");
    let (cgroups, by_systemd) = cgroup_mode(matches)?;
    Ok(Globals {
        root: match root {
            Some(root) => absolute_root(root)?,
            None => default_root()?,
        },
        root_given: root.is_some(),
        cgroups,
        by_systemd,
        buses: service_manager::buses(),
        // The caller of this function fills in both.
        passed: Passed::default(),
        input_descriptors: InputDescriptors::default(),
        notify_socket: service_manager::notify_socket(),
        path: service_manager::search_path(),
    })
}

/// `--rootless` and `--systemd-cgroup` are flags of runc, `--cgroup-manager` is one of crun. Podman
/// passes `--cgroup-manager disabled` for a container without cgroups. The second value is whether
/// systemd makes the cgroups.
fn cgroup_mode(matches: &ArgMatches) -> Result<(CgroupMode, bool)> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let mode = match text("rootless") {
        None => CgroupMode::ByPrivileges,
        Some(value) if value.eq_ignore_ascii_case("auto") => CgroupMode::ByPrivileges,
        // runc's text, which is Go's.
        Some(value) => match parse_bool(OsStr::new(value)) {
            Some(true) => CgroupMode::IfAllowed,
            Some(false) => CgroupMode::Required,
            None => bail!(
                "--rootless: parsing {value:?}: invalid syntax: {}",
                meant_or_expected(value, &ROOTLESS)
            ),
        },
    };
    match text("cgroup-manager") {
        None => Ok((mode, matches.get_flag("systemd-cgroup"))),
        Some("cgroupfs") => {
            ensure!(
                !matches.get_flag("systemd-cgroup"),
                "--systemd-cgroup: --cgroup-manager cgroupfs says otherwise; give one of them"
            );
            Ok((mode, false))
        }
        Some("systemd") => Ok((mode, true)),
        Some("disabled") => Ok((CgroupMode::Disabled, false)),
        Some(other) => bail!(
            "--cgroup-manager: unknown value {other:?}: {}",
            meant_or_expected(other, &CGROUP_MANAGERS)
        ),
    }
}

/// The absolute path, with `..` resolved lexically as runc does (Go's `filepath.Abs`).
fn absolute_root(root: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(root).context("--root")?.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    ensure!(
        clean != Path::new("/"),
        "Option --root argument should not be set to /"
    );
    Ok(clean)
}

/// `/run/rt` for root on the host, `$XDG_RUNTIME_DIR/rt` for any other user. Root in a user
/// namespace is such a user, unless `USER` is `root`. These are runc's rules.
#[allow(
    clippy::disallowed_methods,
    reason = "the environment is read in src/cli only"
)]
fn default_root() -> Result<PathBuf> {
    let system_wide = PathBuf::from("/run/rt");
    let Some(runtime_directory) =
        env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())
    else {
        return Ok(system_wide);
    };
    let caller = Caller::probe()?;
    let user_is_root = || env::var_os("USER").is_some_and(|name| name == "root");
    Ok(match caller.uid {
        0 if caller.initial_user_namespace || user_is_root() => system_wide,
        _ => PathBuf::from(runtime_directory).join("rt"),
    })
}
