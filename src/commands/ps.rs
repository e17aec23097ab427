//! `rt ps`: the processes of a container, in the output of the host's ps(1) or as JSON.

use std::ffi::OsString;
use std::path::Path;
use std::process;

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use nix::unistd::Pid;

use super::{Globals, choices, id, print};
use crate::container;
use crate::sys;

/// The paths of the host's ps. The caller's PATH is not used, since it may lead into an image
/// (CVE-2022-1227).
const PROGRAMS: [&str; 2] = ["/usr/bin/ps", "/bin/ps"];

pub(super) fn define(command: Command) -> Command {
    command
        .about("List the processes of a container")
        .after_help("Example: rt ps web -o pid,rss,comm")
        .arg(choices::format())
        .arg(id::argument())
        .arg(
            Arg::new("options")
                .value_name("ps options")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("Options for ps(1) [default: -ef]"),
        )
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let pids = container::processes(&globals.root, id).with_context(|| id.to_owned())?;
    let text = match matches.get_one::<String>("format").map(String::as_str) {
        Some("table") => {
            let output = run_ps(&ps_options(matches)).with_context(|| id.to_owned())?;
            table(&output, &pids).with_context(|| id.to_owned())?
        }
        Some("json") => json(&pids),
        other => return Err(choices::unknown_format(other.unwrap_or_default())),
    };
    print(&text)?;
    Ok(0)
}

/// The options for ps. containerd passes all of them in one argument, which is empty if it has
/// no options.
fn ps_options(matches: &ArgMatches) -> Vec<OsString> {
    let options = matches.get_many::<OsString>("options");
    let options: Vec<OsString> = options.into_iter().flatten().cloned().collect();
    let options = match options.as_slice() {
        [option] => match option.to_str() {
            Some(text) => text.split_whitespace().map(OsString::from).collect(),
            None => options,
        },
        _ => options,
    };
    if options.is_empty() {
        vec![OsString::from("-ef")]
    } else {
        options
    }
}

/// The output of ps for all processes of the host.
#[allow(
    clippy::disallowed_methods,
    reason = "ps is a program of the host with a fixed absolute path"
)]
fn run_ps(options: &[OsString]) -> Result<String> {
    // If SIGCHLD is ignored, the kernel reaps ps before `output` can wait for it.
    sys::default_signal(libc::SIGCHLD)?;
    let found = PROGRAMS.iter().find(|path| Path::new(path).exists());
    let program = found.with_context(|| format!("neither {} exists", PROGRAMS.join(" nor ")))?;
    let mut command = process::Command::new(program);
    // The caller's variables could change what the dynamic loader does or which columns ps prints.
    command.env_clear().env("LC_ALL", "C.UTF-8");
    command.args(options).stdin(process::Stdio::null());
    let output = command.output().context(*program)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        stderr.lines().next().unwrap_or_default()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header of `output`, and its lines for `pids`.
fn table(output: &str, pids: &[Pid]) -> Result<String> {
    let mut lines = output.lines();
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

/// The pids as a JSON array. Go encodes a nil slice as null, and clients of runc expect that.
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
    fn lines_of_other_processes_are_left_out() {
        let output = "USER   PID CMD\nroot     7 a 8\nroot     8 b 7\n\nroot    70 c\n";
        let expected = "USER   PID CMD\nroot     7 a 8\nroot    70 c\n";
        assert_eq!(table(output, &pids()).unwrap(), expected);
    }

    #[test]
    fn output_without_a_column_of_pids_is_an_error() {
        let text = |output| table(output, &pids()).unwrap_err().to_string();
        assert_eq!(
            text("COMMAND\nsh\n"),
            "couldn't find PID field in ps output"
        );
        assert_eq!(text(""), "couldn't find PID field in ps output");
        let shifted = text("COMMAND PID\ntwo words 7\n");
        assert_eq!(shifted, "unable to parse pid \"words\" in ps output");
    }

    #[test]
    fn json_is_what_go_writes() {
        assert_eq!(json(&pids()), "[7,70]\n");
        assert_eq!(json(&[]), "null\n");
    }
}
