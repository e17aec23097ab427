//! `rt exec`: runs another process in a container that runs.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::{Globals, flag, id, option, options, path_option, pidfd_socket, preserved, target};
use crate::bundle::{self, Changes};
use crate::cgroups::Below;
use crate::container::{self, Joining, Wanted};

pub(super) fn define(command: Command) -> Command {
    command
        .about("Runs another process in a container that runs")
        .override_usage("rt exec [options] <container-id> <command> [arguments]")
        .arg(option("cwd", "DIR").help("Its working directory"))
        .arg(
            options("env", "NAME=VALUE")
                .short('e')
                .help("Adds to its environment"),
        )
        .arg(flag("tty").short('t').help("Gives it a terminal"))
        .arg(
            option("user", "UID[:GID]")
                .short('u')
                .help("Runs it as this user, by number"),
        )
        .arg(
            options("additional-gids", "GID")
                .short('g')
                .help("Adds a group, by number"),
        )
        .arg(
            path_option("process", "FILE")
                .short('p')
                .help("Reads all of it from this file: `process` as in config.json"),
        )
        .arg(flag("detach").short('d').help("Returns as soon as it runs"))
        .arg(path_option("pid-file", "FILE").help("Writes its process id to this file"))
        .arg(
            path_option("console-socket", "SOCKET")
                .help("Sends its terminal to whoever listens on this socket"),
        )
        .arg(pidfd_socket())
        .arg(preserved())
        .arg(option("process-label", "LABEL").help("Its label for SELinux"))
        .arg(option("apparmor", "PROFILE").help("Its profile of AppArmor"))
        .arg(flag("no-new-privs").help("It can gain no privileges by execve(2)"))
        .arg(
            options("cap", "CAPABILITY")
                .short('c')
                .help("Adds a capability: CAP_NET_RAW"),
        )
        .arg(options("cgroup", "[CONTROLLERS:]PATH").help("Puts it below the container's cgroup"))
        .arg(flag("ignore-paused").help("Lets it join a paused container, to wait with it"))
        .arg(id::argument())
        .arg(
            Arg::new("command")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("What to run"),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    let joining = joining(globals, matches).with_context(|| id.to_owned())?;
    globals.kept.close();
    container::exec(&globals.root, id, joining).with_context(|| id.to_owned())
}

fn joining(globals: &Globals, matches: &ArgMatches) -> Result<Joining> {
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    Ok(Joining {
        process: match path("process")? {
            Some(file) => Wanted::Described(described(&file)?),
            None => Wanted::Like(changes(matches)?),
        },
        below: Below::parse(&texts(matches, "cgroup"))?,
        pid_file: path("pid-file")?,
        console_socket: path("console-socket")?,
        pidfd_socket: path("pidfd-socket")?,
        detach: matches.get_flag("detach"),
        ignore_paused: matches.get_flag("ignore-paused"),
        passed: globals.passed,
    })
}

fn described(file: &Path) -> Result<Value> {
    let name = format!("--process {}", file.display());
    let opened = File::open(file).with_context(|| name.clone())?;
    bundle::value(opened, &name)
}

fn changes(matches: &ArgMatches) -> Result<Changes> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let (uid, gid) = match text("user") {
        Some(user) => user_of(&user)?,
        None => (None, None),
    };
    let gids = texts(matches, "additional-gids");
    let gids = gids.iter().map(|gid| {
        let number = gid.parse();
        number.with_context(|| format!("--additional-gids: bad gid {gid:?}"))
    });
    let args = matches.get_many::<OsString>("command").into_iter();
    let args = args.flatten().enumerate().map(|(i, word)| {
        let text = word.to_str().map(str::to_owned);
        text.with_context(|| format!("process.args[{i}]: is no UTF-8"))
    });
    let args: Vec<String> = args.collect::<Result<_>>()?;
    ensure!(!args.is_empty(), "exec args cannot be empty");
    Ok(Changes {
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

/// `UID[:GID]`; the container's own group stays where none is given.
fn user_of(text: &str) -> Result<(Option<u32>, Option<u32>)> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let uid = uid.parse();
    let uid = uid.with_context(|| format!("--user: bad uid in {text:?}"))?;
    let gid = gid.map(str::parse).transpose();
    let gid = gid.with_context(|| format!("--user: bad gid in {text:?}"))?;
    Ok((Some(uid), gid))
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    let all = matches.get_many::<String>(name);
    all.into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(user_of("7").unwrap(), (Some(7), None));
        assert_eq!(user_of("7:8").unwrap(), (Some(7), Some(8)));
        for (text, words) in [
            ("root", "--user: bad uid in \"root\""),
            ("7:wheel", "--user: bad gid in \"7:wheel\""),
            ("", "--user: bad uid in \"\""),
            ("-1", "--user: bad uid in \"-1\""),
        ] {
            assert_eq!(user_of(text).unwrap_err().to_string(), words);
        }
    }
}
