//! `rt ps`: the processes of a container, as the machine's ps(1) shows them, or as JSON.

use std::ffi::OsString;
use std::path::Path;
use std::process;

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use nix::unistd::Pid;

use super::{Globals, id, option, print};
use crate::container;
use crate::sys;

/// The machine's own, wherever PATH leads: the caller's may lead into an image
/// (CVE-2022-1227).
const PROGRAMS: [&str; 2] = ["/usr/bin/ps", "/bin/ps"];

pub(super) fn define(command: Command) -> Command {
    command
        .about("Lists the processes of a container")
        .arg(
            option("format", "FORMAT")
                .short('f')
                .default_value("table")
                .help("table or json"),
        )
        .arg(id::argument())
        .arg(
            Arg::new("options")
                .value_name("ps options")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("What ps is to show [default: -ef]"),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::of(matches)?;
    let pids = container::processes(&globals.root, id).with_context(|| id.to_owned())?;
    let text = match matches.get_one::<String>("format").map(String::as_str) {
        Some("table") => {
            let shown = shown(&options(matches)).with_context(|| id.to_owned())?;
            table(&shown, &pids).with_context(|| id.to_owned())?
        }
        Some("json") => json(&pids),
        _ => bail!("invalid format option"),
    };
    print(&text)?;
    Ok(0)
}

/// What ps is asked. containerd passes all options in one word, empty for none.
fn options(matches: &ArgMatches) -> Vec<OsString> {
    let words = matches.get_many::<OsString>("options");
    let words: Vec<OsString> = words.into_iter().flatten().cloned().collect();
    let words = match words.as_slice() {
        [word] => match word.to_str() {
            Some(text) => text.split_whitespace().map(OsString::from).collect(),
            None => words,
        },
        _ => words,
    };
    if words.is_empty() {
        vec![OsString::from("-ef")]
    } else {
        words
    }
}

/// What ps says of the whole machine.
#[allow(
    clippy::disallowed_methods,
    reason = "a program of the machine, by its absolute path: ps is what is asked for"
)]
fn shown(options: &[OsString]) -> Result<String> {
    // A caller that ignores it would leave nobody to wait for.
    sys::default_signal(libc::SIGCHLD)?;
    let found = PROGRAMS.iter().find(|path| Path::new(path).exists());
    let program =
        found.with_context(|| format!("no {} on this machine", PROGRAMS.join(", no ")))?;
    let mut command = process::Command::new(program);
    // Nothing of the caller's, which may steer the loader or hide columns.
    command.env_clear().env("LC_ALL", "C.UTF-8");
    command.args(options).stdin(process::Stdio::null());
    let output = command.output().context(*program)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        said.lines().next().unwrap_or_default()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header of `shown`, and its lines about `pids`.
fn table(shown: &str, pids: &[Pid]) -> Result<String> {
    let mut lines = shown.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.context("couldn't find PID field in ps output")?;
    let mut text = format!("{header}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid = field.parse::<i32>();
        let pid = pid.with_context(|| format!("unable to parse pid {field:?} in ps output"))?;
        if pids.contains(&Pid::from_raw(pid)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// To Go an empty list is null, and that is what readers know.
fn json(pids: &[Pid]) -> String {
    if pids.is_empty() {
        return "null\n".to_owned();
    }
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    format!("[{}]\n", pids.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pids() -> Vec<Pid> {
        [7, 70].map(Pid::from_raw).to_vec()
    }

    #[test]
    fn lines_of_others_are_left_out() {
        let shown = "USER   PID CMD\nroot     7 a 8\nroot     8 b 7\n\nroot    70 c\n";
        let expected = "USER   PID CMD\nroot     7 a 8\nroot    70 c\n";
        assert_eq!(table(shown, &pids()).unwrap(), expected);
    }

    #[test]
    fn a_column_that_is_no_pid_is_an_error() {
        let text = |shown| table(shown, &pids()).unwrap_err().to_string();
        assert_eq!(
            text("COMMAND\nsh\n"),
            "couldn't find PID field in ps output"
        );
        assert_eq!(text(""), "couldn't find PID field in ps output");
        let shifted = text("COMMAND PID\ntwo words 7\n");
        assert_eq!(shifted, "unable to parse pid \"words\" in ps output");
    }

    #[test]
    fn json_is_that_of_go() {
        assert_eq!(json(&pids()), "[7,70]\n");
        assert_eq!(json(&[]), "null\n");
    }
}
