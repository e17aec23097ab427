//! `rt exec`: runs another process in a running container.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::{Globals, flag, id, option, options, path_option, pidfd_socket, preserve_fds, target};
use crate::bundle::{self, ProcessOverrides};
use crate::cgroups::SubCgroups;
use crate::container::{self, ExecRequest, ProcessDescription};

/// The system calls take -1 for "no change" (setresuid(2)).
const NO_ID: u32 = u32::MAX;

pub(super) fn define(command: Command) -> Command {
    let command = command
        .about("Run another process in a running container")
        .after_help("Example: rt exec -t web sh")
        .override_usage("rt exec [OPTIONS] <container-id> <command> [arguments]");
    define_process(command)
        .arg(
            flag("detach")
                .short('d')
                .help("Return as soon as the process runs"),
        )
        .arg(path_option("pid-file", "FILE").help("Write the pid of the process to this file"))
        .arg(
            path_option("console-socket", "SOCKET")
                .help("Send the terminal's master to this Unix socket"),
        )
        .arg(pidfd_socket())
        .arg(preserve_fds())
        .arg(
            option("process-label", "LABEL")
                .help("SELinux label of the process [default: as in config.json]"),
        )
        .arg(
            option("apparmor", "PROFILE")
                .help("AppArmor profile of the process [default: as in config.json]"),
        )
        .arg(flag("no-new-privs").help("Prevent the process from gaining privileges by execve(2)"))
        .arg(
            options("cap", "CAPABILITY")
                .short('c')
                .help("Add a capability such as CAP_NET_RAW (repeatable)"),
        )
        .arg(
            options("cgroup", "[CONTROLLERS:]PATH")
                .help("Place the process in this cgroup below the container's (repeatable)"),
        )
        .arg(
            flag("ignore-paused")
                .help("Allow a paused container; the process waits until it is resumed"),
        )
        .arg(id::argument())
        .arg(
            Arg::new("command")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("The program and its arguments"),
        )
}

/// Adds the flags that change or replace `process`.
fn define_process(command: Command) -> Command {
    command
        .arg(
            option("cwd", "DIR")
                .help("Working directory of the process [default: as in config.json]"),
        )
        .arg(
            options("env", "NAME=VALUE")
                .short('e')
                .help("Set an environment variable (repeatable)"),
        )
        .arg(
            flag("tty")
                .short('t')
                .help("Allocate a terminal for the process"),
        )
        .arg(
            option("user", "UID[:GID]")
                .short('u')
                .help("Numeric user and group of the process [default: as in config.json]"),
        )
        .arg(
            options("additional-gids", "GID")
                .short('g')
                .help("Add a numeric supplementary group (repeatable)"),
        )
        .arg(path_option("process", "FILE").short('p').help(
            "Read the process from this JSON file, in the format of `process` in config.json",
        ))
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let joining = joining(globals, matches).with_context(|| id.to_owned())?;
    globals.input_descriptors.close();
    container::exec(&globals.root, id, joining).with_context(|| id.to_owned())
}

fn joining(globals: &Globals, matches: &ArgMatches) -> Result<ExecRequest> {
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    Ok(ExecRequest {
        process: match path("process")? {
            Some(file) => ProcessDescription::Complete(read_process(&file)?),
            None => ProcessDescription::FromContainer(changes(matches)?),
        },
        below: SubCgroups::parse(&texts(matches, "cgroup"))?,
        pid_file: path("pid-file")?,
        console_socket: path("console-socket")?,
        pidfd_socket: path("pidfd-socket")?,
        detach: matches.get_flag("detach"),
        ignore_paused: matches.get_flag("ignore-paused"),
        passed: globals.passed,
    })
}

fn read_process(file: &Path) -> Result<Value> {
    let name = format!("--process {}", file.display());
    let opened = File::open(file).with_context(|| name.clone())?;
    bundle::read_json(opened, &name)
}

fn changes(matches: &ArgMatches) -> Result<ProcessOverrides> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let (uid, gid) = match text("user") {
        Some(user) => parse_user(&user)?,
        None => (None, None),
    };
    let gids = texts(matches, "additional-gids");
    let wanted = |example| format!("a number: --additional-gids {example}");
    let gids = gids.iter();
    let gids = gids.map(|gid| parse_id("--additional-gids", gid, wanted));
    let args = matches.get_many::<OsString>("command").into_iter();
    let args = args.flatten().enumerate().map(|(i, arg)| {
        let text = arg.to_str().map(str::to_owned);
        text.with_context(|| format!("process.args[{i}]: is not valid UTF-8"))
    });
    let args: Vec<String> = args.collect::<Result<_>>()?;
    ensure!(
        !args.is_empty(),
        "exec args cannot be empty; give a program, such as sh, after the id"
    );
    Ok(ProcessOverrides {
        args,
        terminal: matches.get_flag("tty"),
        cwd: text("cwd"),
        env: texts(matches, "env"),
        uid,
        gid,
        additional_gids: gids.collect::<Result<_>>()?,
        capabilities: texts(matches, "cap"),
        apparmor: text("apparmor"),
        selinux_label: text("process-label"),
        no_new_privileges: matches.get_flag("no-new-privs"),
    })
}

/// Parses `UID[:GID]`. Without a GID the process keeps the gid of the container's process. Names
/// are not looked up: the container's /etc/passwd belongs to the container.
fn parse_user(text: &str) -> Result<(Option<u32>, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let wanted = |start: &str, number| format!("a number, UID or UID:GID: --user {start}{number}");
    let uid: u32 = parse_id("--user", uid, |example| wanted("", example))?;
    let start = format!("{uid}:");
    let gid = gid.map(|gid| parse_id("--user", gid, |example| wanted(&start, example)));
    Ok((Some(uid), gid.transpose()?))
}

/// Parses the number of a user or group. In an error, `wanted` gets an example of a number.
fn parse_id(flag: &str, text: &str, wanted: impl Fn(u32) -> String) -> Result<u32> {
    let number = text.parse().ok().filter(|id| *id != NO_ID);
    number.with_context(|| {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let fault = match text.strip_prefix('-') {
            Some(number) if is_number(number) => "is negative",
            _ if text.is_empty() => "is empty",
            _ if is_number(text) => "is too large",
            _ if text.starts_with(|c: char| c.is_alphabetic() || c == '_') => "is a name",
            _ => "is not a number",
        };
        let example = if text == "root" { 0 } else { 1000 };
        format!("{flag}: {text:?} {fault}; want {}", wanted(example))
    })
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    let all = matches.get_many::<String>(name);
    all.into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numeric() {
        assert_eq!(parse_user("7").unwrap(), (Some(7), None));
        assert_eq!(parse_user("7:8").unwrap(), (Some(7), Some(8)));
        for (text, error) in [
            (
                "root",
                "\"root\" is a name; want a number, UID or UID:GID: --user 0",
            ),
            (
                "web",
                "\"web\" is a name; want a number, UID or UID:GID: --user 1000",
            ),
            (
                "7:wheel",
                "\"wheel\" is a name; want a number, UID or UID:GID: --user 7:1000",
            ),
            (
                "0:root",
                "\"root\" is a name; want a number, UID or UID:GID: --user 0:0",
            ),
            (
                "",
                "\"\" is empty; want a number, UID or UID:GID: --user 1000",
            ),
            (
                "7:",
                "\"\" is empty; want a number, UID or UID:GID: --user 7:1000",
            ),
            (
                "-1",
                "\"-1\" is negative; want a number, UID or UID:GID: --user 1000",
            ),
            (
                "7:8:9",
                "\"8:9\" is not a number; want a number, UID or UID:GID: --user 7:1000",
            ),
            (
                "0x1",
                "\"0x1\" is not a number; want a number, UID or UID:GID: --user 1000",
            ),
            (
                "4294967295",
                "\"4294967295\" is too large; want a number, UID or UID:GID: --user 1000",
            ),
        ] {
            assert_eq!(
                parse_user(text).unwrap_err().to_string(),
                format!("--user: {error}")
            );
        }
    }
}
