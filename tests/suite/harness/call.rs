//! One call of the runtime: its limit of time, its output and its exit status.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{Report, host};

/// Every command ends within this time, also under strace.
const LIMIT: Duration = Duration::from_secs(60);

/// A command about to run. Its output goes to files: a container that outlives
/// the command keeps them open, and a pipe would never end.
pub(crate) struct Call {
    command: Command,
    output: PathBuf,
}

impl Call {
    pub(crate) fn new(mut command: Command, output: PathBuf) -> Self {
        command.stdin(Stdio::null());
        command.stdout(create(&output.with_extension("out")));
        command.stderr(create(&output.with_extension("err")));
        Self { command, output }
    }

    /// Changes the command before it starts: environment, descriptors, working directory.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        change(&mut self.command);
        self
    }

    /// Puts `word` in place of those that start with `start`. Before `with`.
    pub(crate) fn with_word(self, start: &str, word: &str) -> Self {
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args().map(|old| {
            let replaced = old.to_string_lossy().starts_with(start);
            if replaced { word.as_ref() } else { old }
        }));
        Self::new(command, self.output)
    }

    /// Puts arguments behind the last one that is `word`. Before `with`.
    pub(crate) fn after_word(self, word: &str, arguments: &[&str]) -> Self {
        let mut all: Vec<OsString> = self.command.get_args().map(OsString::from).collect();
        let place = all.iter().rposition(|old| old == word);
        let place = place.unwrap_or_else(|| panic!("no {word} in {:?}", self.command)) + 1;
        all.splice(place..place, arguments.iter().map(OsString::from));
        let mut command = Command::new(self.command.get_program());
        command.args(all);
        Self::new(command, self.output)
    }

    /// The file that takes stdout; beside it lies the one for stderr.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Runs to the end without asserting anything, for cleaning up while a test already fails.
    pub(crate) fn finish(self) -> Option<Outcome> {
        catch_unwind(AssertUnwindSafe(|| self.run())).ok()
    }

    /// Runs to the end, which must be good, and reads the probe's report.
    #[track_caller]
    pub(crate) fn assert_report(self) -> Report {
        Report::parse(&self.run().assert_ok().stdout)
    }

    pub(crate) fn start(mut self) -> Running {
        let shown = format!("{:?}", self.command);
        let child = self
            .command
            .spawn()
            .unwrap_or_else(|e| panic!("start {shown}: {e}"));
        Running {
            child,
            shown,
            output: self.output,
            finished: false,
        }
    }
}

fn create(path: &Path) -> fs::File {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    file.unwrap_or_else(|e| panic!("create {}: {e}", path.display()))
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    shown: String,
    output: PathBuf,
    finished: bool,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn stdout(&self) -> String {
        read(&self.output.with_extension("out"))
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.output.with_extension("err"))
    }

    /// Waits until `text` is on the standard output of the command, or of its container.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        host::wait_until(&format!("{text:?} on stdout of {}", self.shown), || {
            self.stdout().contains(text)
        });
        self.stdout()
    }

    pub(crate) fn wait(mut self) -> Outcome {
        if !host::ends_within(self.pid(), LIMIT) {
            panic!(
                "{}: still running after {LIMIT:?}; {}",
                self.shown,
                self.stderr()
            );
        }
        let status = self.child.wait();
        let status = status.unwrap_or_else(|e| panic!("wait for {}: {e}", self.shown));
        self.finished = true;
        Outcome {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            shown: self.shown.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a command ended and what it said.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    shown: String,
}

impl Outcome {
    /// The same with the errors that were written elsewhere.
    pub(crate) fn with_stderr(self, stderr: String) -> Self {
        Self { stderr, ..self }
    }

    /// The exit status; a death by signal counts as in a shell.
    pub(crate) fn code(&self) -> i32 {
        let by_signal = || self.status.signal().map_or(-1, |signal| 128 + signal);
        self.status.code().unwrap_or_else(by_signal)
    }

    #[track_caller]
    pub(crate) fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit status\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn assert_ok(self) -> Self {
        self.assert_code(0)
    }

    /// The command failed on its own accord and its error contains `text`.
    #[track_caller]
    pub(crate) fn assert_refused(self, text: &str) -> Self {
        let code = self.status.code();
        assert!(
            code.is_some_and(|code| code != 0),
            "refused expected\n{self}"
        );
        // logrus writes quotes in its quotes.
        let said = self.stderr.replace("\\\"", "\"");
        assert!(
            self.stderr.contains(text) || said.contains(text),
            "no {text:?} in the error\n{self}"
        );
        self
    }

    /// stderr is exactly one line, which is returned.
    #[track_caller]
    pub(crate) fn one_line(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one line on stderr\n{self}");
        lines[0]
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
            shown,
        } = self;
        let stdout: String = stdout.chars().take(600).collect();
        write!(
            f,
            "  command: {shown}\n  status:  {status}\n  stdout:  {stdout}\n  stderr:  {stderr}"
        )
    }
}
