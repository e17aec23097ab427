//! One command to an engine: bounded in time, with everything it said.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What an engine may take for one command on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

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
/// After `patience`, with what was said until then.
pub(crate) fn run_for(command: &mut Command, input: &[u8], patience: Duration) -> Said {
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
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{line}: no end after {patience:?}\n{}{}",
                text(&mut stdout),
                text(&mut stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    use std::os::unix::process::ExitStatusExt;
    let status = ended.code().or(ended.signal().map(|signal| 128 + signal));
    Said {
        line,
        status: status.unwrap_or(-1),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
    }
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
