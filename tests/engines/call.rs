//! One command to an engine: bounded in time, with everything it said.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What an engine may take for one command on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Leaves an orphan, in a shell, and goes on when somebody has collected it.
pub(crate) const ORPHAN: &str =
    "orphan=$(sleep 0.01 >/dev/null & echo $!); while test -d /proc/$orphan; do sleep 0.05; done";

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) line: String,
    /// 128 and more for a signal, as a shell counts.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Standard output without the white space around it, of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status == 0, "{self}");
        self.stdout.trim().to_owned()
    }

    /// Both outputs, of a command that must end with `status`.
    #[track_caller]
    pub(crate) fn fails(self, status: i32) -> String {
        assert!(self.status == status, "not {status}: {self}");
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Said {
            line,
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "{line}\nended with {status}\n{stdout}{stderr}")
    }
}

/// Runs a command to its end. Its output goes to files: a daemon that it leaves
/// behind would keep a pipe open.
pub(crate) fn run(command: &mut Command) -> Said {
    run_with(command, b"")
}

/// The same with something on standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Said {
    run_for(command, input, PATIENCE)
}

/// The same for what may take longer, or not as long.
///
/// # Panics
/// After `patience`, with what was said until then. Not while another panic is on its way: a second one
/// would end all tests.
pub(crate) fn run_for(command: &mut Command, input: &[u8], patience: Duration) -> Said {
    let panicking = std::thread::panicking();
    attempt(command, input, patience).unwrap_or_else(|said| match panicking {
        true => shown_only(said),
        false => panic!("{said}"),
    })
}

/// Runs what clears up after an engine. Nobody could take a panic then, so one that has no end is only said.
pub(crate) fn run_last(command: &mut Command) -> Said {
    attempt(command, b"", PATIENCE).unwrap_or_else(shown_only)
}

fn shown_only(said: Said) -> Said {
    eprintln!("{said}");
    said
}

/// `Err` is what had no end after `patience`.
fn attempt(command: &mut Command, input: &[u8], patience: Duration) -> Result<Said, Said> {
    let line = shown(command);
    let (mut stdin, mut stdout, mut stderr) = (anonymous(), anonymous(), anonymous());
    stdin.write_all(input).unwrap();
    stdin.rewind().unwrap();
    command.stdin(Stdio::from(stdin));
    command.stdout(Stdio::from(stdout.try_clone().unwrap()));
    command.stderr(Stdio::from(stderr.try_clone().unwrap()));
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("start {line}: {error}"));
    let deadline = Instant::now() + patience;
    let mut waited_for = None;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if Instant::now() > deadline {
            waited_for = Some(end_with_all(child.id()));
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    use std::os::unix::process::ExitStatusExt;
    let status = ended.code().or(ended.signal().map(|signal| 128 + signal));
    let said = Said {
        line,
        status: status.unwrap_or(-1),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
    };
    match waited_for {
        None => Ok(said),
        Some(processes) => Err(Said {
            line: format!("{}: no end after {patience:?}\n{processes}", said.line),
            ..said
        }),
    }
}

/// Ends a process with all that it has started: what stayed could hold a lock that the next command waits for.
/// Says what they were waiting for in the kernel.
fn end_with_all(first: u32) -> String {
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
        let place = read(format!("/proc/{pid}/wchan"));
        let words = read(format!("/proc/{pid}/cmdline")).replace('\0', " ");
        format!("{pid} in {place}: {words}\n")
    };
    let said = all.iter().map(state).collect();
    // One that has ended meanwhile is no error.
    let _ = Command::new("kill").arg("-KILL").args(&all).status();
    said
}

/// Asks again until the answer is yes.
///
/// # Panics
/// After `seconds`, with what was waited for.
#[track_caller]
pub(crate) fn wait_until(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "waited {seconds} s in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Without a name: several of these programs may run at a time.
fn anonymous() -> File {
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

fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
