//! The flags before the verb: how they are defined, and what they say.

use std::env;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Command};

use super::arguments::as_bool;
use super::not_applied;
use crate::cgroups::CgroupMode;
use crate::commands::{Globals, Kept, flag, option, path_option, refused_flag};
use crate::host::Caller;
use crate::log;
use crate::process::Passed;

/// Adds them to the program's definition.
pub(super) fn define(command: Command) -> Command {
    let root = "Where containers are kept [default: /run/rt; for a user $XDG_RUNTIME_DIR/rt]";
    let rootless = "Ignores errors about rights to cgroups: true, false or auto [default: auto]";
    let manager = "cgroupfs, or disabled for no cgroups at all [default: cgroupfs]";
    command
        .arg(path_option("root", "DIR").help(root))
        .arg(path_option("log", "FILE").help("Writes the log to this file"))
        .arg(option("log-format", "FORMAT").help("text or json [default: text]"))
        .arg(flag("debug").help("Says more in the log"))
        .arg(option("rootless", "WHEN").help(rootless))
        .arg(option("cgroup-manager", "NAME").help(manager))
        .arg(flag("help").short('h').help("Shows this"))
        .arg(flag("version").short('v').help("Shows the version"))
        .arg(refused_flag("systemd-cgroup"))
}

/// # Errors
/// At a value that none of them takes, and at a log file that cannot be opened.
pub(super) fn read(matches: &ArgMatches) -> Result<Globals> {
    let format = match matches.get_one::<String>("log-format").map(String::as_str) {
        None | Some("text") => log::Format::Text,
        Some("json") => log::Format::Json,
        Some(other) => bail!("invalid log-format: {other}"),
    };
    let file = matches.get_one::<PathBuf>("log").map(PathBuf::as_path);
    log::init(file, format, matches.get_flag("debug"))?;
    let given = matches.get_one::<PathBuf>("root");
    Ok(Globals {
        root: match given {
            Some(root) => absolute_root(root)?,
            None => default_root()?,
        },
        root_given: given.is_some(),
        cgroups: wish(matches)?,
        // Until the verb is performed.
        passed: Passed::default(),
        kept: Kept::default(),
        notify_socket: super::handed::notify_socket(),
    })
}

/// `--cgroup-manager` is crun's; Podman asks it for no cgroup at all.
fn wish(matches: &ArgMatches) -> Result<CgroupMode> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let by_rootless = match text("rootless") {
        None => CgroupMode::ByPrivileges,
        Some(word) if word.eq_ignore_ascii_case("auto") => CgroupMode::ByPrivileges,
        // In the words of runc, which are Go's.
        Some(word) => match as_bool(OsStr::new(word)) {
            Some(true) => CgroupMode::IfAllowed,
            Some(false) => CgroupMode::Required,
            None => bail!("--rootless: parsing {word:?}: invalid syntax (true, false or auto)"),
        },
    };
    match text("cgroup-manager") {
        None | Some("cgroupfs") => Ok(by_rootless),
        Some("disabled") => Ok(CgroupMode::Disabled),
        Some("systemd") => Err(not_applied("--cgroup-manager systemd")),
        Some(other) => bail!("--cgroup-manager: unknown value {other:?}: cgroupfs or disabled"),
    }
}

/// Cleaned as text, as runc does it.
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

/// Root of the machine keeps containers in one place for all. Everybody else has
/// a directory of their own, root of a user namespace too, unless it is the
/// whole world of who calls itself root there (USER), as runc decides it.
#[allow(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is asked"
)]
fn default_root() -> Result<PathBuf> {
    let of_all = PathBuf::from("/run/rt");
    let Some(users) = env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())
    else {
        return Ok(of_all);
    };
    let caller = Caller::probe()?;
    let calls_itself_root = || env::var_os("USER").is_some_and(|name| name == "root");
    Ok(match caller.uid {
        0 if caller.initial_user_namespace || calls_itself_root() => of_all,
        _ => PathBuf::from(users).join("rt"),
    })
}
