//! Running one command: with a time limit, and with its output captured.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::installed;

/// The time limit of one command, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A shell script that leaves an orphan behind and waits until init has reaped it.
pub(crate) const ORPHAN: &str =
    "orphan=$(sleep 0.01 >/dev/null & echo $!); while test -d /proc/$orphan; do sleep 0.05; done";

/// The result of a command that has ended.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// The command line.
    pub(crate) line: String,
    /// The exit status, or 128 plus the number of the signal that ended it, as in a shell.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// Standard output, trimmed. Panics unless the command has succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status == 0, "{self}");
        self.stdout.trim().to_owned()
    }

    /// Standard output and standard error. Panics unless the command has ended with `status`.
    #[track_caller]
    pub(crate) fn fails(self, status: i32) -> String {
        assert!(self.status == status, "not {status}: {self}");
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Display for CommandOutput {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CommandOutput {
            line,
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{line}\nended with {status}\n{stdout}{stderr}")
    }
}

/// Runs a command to its end. The output goes to files, because a daemon that the command starts would keep a
/// pipe open.
pub(crate) fn run(command: &mut Command) -> CommandOutput {
    run_with(command, b"")
}

/// Runs a command with `input` on standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> CommandOutput {
    run_for(command, input, TIMEOUT)
}

/// Runs a command with a time limit of its own.
///
/// # Panics
/// When the command has not ended after `timeout`; the message has the output so far. While the thread is
/// already panicking the message is only printed: a second panic would abort the test program.
pub(crate) fn run_for(command: &mut Command, input: &[u8], timeout: Duration) -> CommandOutput {
    let panicking = std::thread::panicking();
    attempt(command, input, timeout).unwrap_or_else(|output| {
        if panicking {
            print_only(output)
        } else {
            panic!("{output}")
        }
    })
}

/// Runs a command that cleans up after an engine. A time-out is only printed: a panic in `drop` could abort the
/// test program.
pub(crate) fn run_cleanup(command: &mut Command) -> CommandOutput {
    attempt(command, b"", TIMEOUT).unwrap_or_else(print_only)
}

fn print_only(output: CommandOutput) -> CommandOutput {
    eprintln!("{output}");
    output
}

/// Runs a command. `Err` has the output of a command that had to be killed after `timeout`.
fn attempt(
    command: &mut Command,
    input: &[u8],
    timeout: Duration,
) -> Result<CommandOutput, CommandOutput> {
    let line = command_line(command);
    let (mut stdin, mut stdout, mut stderr) =
        (temporary_file(), temporary_file(), temporary_file());
    stdin.write_all(input).unwrap();
    stdin.rewind().unwrap();
    command.stdin(Stdio::from(stdin));
    command.stdout(Stdio::from(stdout.try_clone().unwrap()));
    command.stderr(Stdio::from(stderr.try_clone().unwrap()));
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("start {line}: {error}"));
    let timeout = timeout * patience();
    let deadline = Instant::now() + timeout;
    let mut killed = None;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if Instant::now() > deadline {
            killed = Some(kill_tree(child.id()));
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    use std::os::unix::process::ExitStatusExt;
    let status = ended.code().or(ended.signal().map(|signal| 128 + signal));
    let output = CommandOutput {
        line,
        status: status.unwrap_or(-1),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
    };
    match killed {
        None => Ok(output),
        Some(processes) => Err(CommandOutput {
            line: format!("{}: no end after {timeout:?}\n{processes}", output.line),
            ..output
        }),
    }
}

/// Kills a process and its descendants, which could hold a lock that the next command waits for. Returns where
/// in the kernel each of them was waiting (`wchan`).
fn kill_tree(first: u32) -> String {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let mut all = vec![first.to_string()];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let children = threads.map(|thread| read(format!("{}/children", thread.path().display())));
        let children: Vec<String> = children.collect();
        let children = children.iter().flat_map(|list| list.split_whitespace());
        all.extend(children.map(str::to_owned));
        next += 1;
    }
    let state = |pid: &String| {
        let wchan = read(format!("/proc/{pid}/wchan"));
        let args = read(format!("/proc/{pid}/cmdline")).replace('\0', " ");
        format!("{pid} in {wchan}: {args}\n")
    };
    let output = all.iter().map(state).collect();
    // It is no error if a process has ended meanwhile.
    let _ = Command::new("kill").arg("-KILL").args(&all).status();
    output
}

/// The factor of all time limits: the virtual machine is about ten times slower.
pub(crate) fn patience() -> u32 {
    if installed::is_asked_for() { 8 } else { 1 }
}

/// Polls a condition until it holds.
///
/// # Panics
/// When the condition `what` does not hold after `seconds`.
#[track_caller]
pub(crate) fn wait_until(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let seconds = seconds * u64::from(patience());
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < deadline, "not after {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A temporary file without a name, so that concurrent test programs cannot collide.
fn temporary_file() -> File {
    let mut options = File::options();
    options.read(true).write(true);
    options.custom_flags(nix::libc::O_TMPFILE);
    options.open(std::env::temp_dir()).unwrap()
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn command_line(command: &Command) -> String {
    let args = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let args: Vec<_> = args.map(OsStr::to_string_lossy).collect();
    args.join(" ")
}
