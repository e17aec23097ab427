//! `rt ps`: the processes of a container, in the output of the host's ps(1) or as JSON.

mod selection;

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
        Some("table") => table(&ps_options(matches), &pids).with_context(|| id.to_owned())?,
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

/// What ps prints about the processes `pids`.
///
/// # Errors
/// When ps refuses the options, or they select processes of the host and its output has no
/// column PID.
fn table(options: &[OsString], pids: &[Pid]) -> Result<String> {
    if let Some(selecting) = selection::select(options, pids) {
        let output = run_ps(&selecting)?;
        if !is_busybox(&output) {
            return text(output);
        }
        // BusyBox's ps selects nothing and always lists all processes.
    }
    filter(&text(run_ps(options)?)?, pids)
}

/// A call of ps that has ended.
struct Ended {
    program: &'static str,
    output: process::Output,
}

#[allow(
    clippy::disallowed_methods,
    reason = "ps is a program of the host with a fixed absolute path"
)]
fn run_ps(options: &[OsString]) -> Result<Ended> {
    // If SIGCHLD is ignored, the kernel reaps ps before `output` can wait for it.
    sys::default_signal(libc::SIGCHLD)?;
    let found = PROGRAMS.iter().find(|path| Path::new(path).exists());
    let program = found.with_context(|| format!("neither {} exists", PROGRAMS.join(" nor ")))?;
    let mut command = process::Command::new(program);
    // The caller's variables could change what the dynamic loader does or which columns ps prints.
    command.env_clear().env("LC_ALL", "C.UTF-8");
    command.args(options).stdin(process::Stdio::null());
    let output = command.output().context(*program)?;
    Ok(Ended { program, output })
}

/// Whether BusyBox has refused the options.
fn is_busybox(Ended { output, .. }: &Ended) -> bool {
    !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("BusyBox")
}

/// The standard output of ps.
///
/// # Errors
/// When ps has failed. Without a message, it has only found no process.
fn text(Ended { program, output }: Ended) -> Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() || output.status.code() == Some(1) && stderr.is_empty(),
        "{program}: {}: {}",
        output.status,
        stderr.lines().next().unwrap_or_default()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The header of `output`, and its lines for `pids`.
fn filter(output: &str, pids: &[Pid]) -> Result<String> {
    let mut lines = output.lines();
    let header = lines.next().unwrap_or_default();
    let titles = fields(header);
    let column = titles.iter().position(|(title, _)| *title == "PID");
    let column = column.context("couldn't find PID field in ps output; add the column pid")?;
    let (_, end) = titles[column];
    let mut text = format!("{header}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        if pids.contains(&pid_of(line, column, end)?) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// The pid in a line: the number that ends below the title PID. Fields before it may contain
/// spaces. If a wide field has shifted the line, the number in that column of words.
fn pid_of(line: &str, column: usize, end: usize) -> Result<Pid> {
    let fields = fields(line);
    let below = fields.iter().find(|(_, field_end)| *field_end == end);
    let below = below.and_then(|(field, _)| field.parse().ok());
    let pid = below.map_or_else(
        || {
            let (field, _) = fields.get(column).copied().unwrap_or_default();
            let pid = field.parse();
            pid.with_context(|| format!("unable to parse pid {field:?} in ps output"))
        },
        Ok,
    );
    Ok(Pid::from_raw(pid?))
}

/// The words of a line, and the number of characters up to the end of each.
fn fields(line: &str) -> Vec<(&str, usize)> {
    let mut start = 0;
    let words = line.split(char::is_whitespace).map(|word| {
        let end = start + word.chars().count();
        start = end + 1;
        (word, end)
    });
    words.filter(|(word, _)| !word.is_empty()).collect()
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
        assert_eq!(filter(output, &pids()).unwrap(), expected);
    }

    #[test]
    fn fields_before_the_pid_may_contain_spaces() {
        let output = "COMMAND   PID\ntwo words   7\n7 bits      8\n\u{e9} e        70\n";
        let expected = "COMMAND   PID\ntwo words   7\n\u{e9} e        70\n";
        assert_eq!(filter(output, &pids()).unwrap(), expected);
        let shifted = "   VSZ   PID\n1234567     7\n   123     8\n";
        let expected = "   VSZ   PID\n1234567     7\n";
        assert_eq!(filter(shifted, &pids()).unwrap(), expected);
    }

    #[test]
    fn output_without_a_column_of_pids_is_an_error() {
        let text = |output| filter(output, &pids()).unwrap_err().to_string();
        let missing = "couldn't find PID field in ps output; add the column pid";
        assert_eq!(text("COMMAND\nsh\n"), missing);
        assert_eq!(text(""), missing);
        let shifted = text("COMMAND PID\nmore than two words 7\n");
        assert_eq!(shifted, "unable to parse pid \"than\" in ps output");
    }

    #[test]
    fn json_is_what_go_writes() {
        assert_eq!(json(&pids()), "[7,70]\n");
        assert_eq!(json(&[]), "null\n");
    }
}
