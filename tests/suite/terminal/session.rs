//! `run` in the foreground of a terminal that the test controls.

use std::fs::File;

use super::pty::{Master, Settings, take_terminal};
use crate::harness::{Bundle, Call, Outcome};

/// The session leader. It outlives the runtime, because the terminal is reset when the session leader
/// exits.
const LEADER: &str = "\"$@\"; printf '\\nended %d;\\n' $? >&2; read -r end";

/// The command that has to wrap a call so that it has a session leader.
pub(crate) const LED: [&str; 4] = ["sh", "-c", LEADER, "sh"];

pub(crate) struct Session {
    pub(crate) terminal: Master,
    before: Settings,
    leader: Box<dyn FnOnce() -> Outcome>,
}

impl Session {
    /// Calls `run` on a terminal with 24 rows and 80 columns.
    pub(crate) fn start(bundle: &Bundle) -> Self {
        Self::start_with_stdout(bundle, None)
    }

    /// As [`Session::start`], with stdout as the given file.
    pub(crate) fn start_with_stdout(bundle: &Bundle, stdout: Option<File>) -> Self {
        Self::of(bundle.call_through(&LED, "run", &[]), stdout)
    }

    /// Starts a call that is wrapped in [`LED`].
    pub(crate) fn of(call: Call, stdout: Option<File>) -> Self {
        let (terminal, slave) = Master::open();
        terminal.set_size(24, 80);
        let before = terminal.settings();
        let copy = || slave.try_clone().expect("copy the slave");
        let (stdin, stderr) = (copy(), copy());
        let stdout = stdout.unwrap_or_else(copy);
        let call = call.with(|command| {
            let command = command.stdin(stdin).stdout(stdout).stderr(stderr);
            take_terminal(command)
        });
        let running = call.start();
        Self {
            terminal,
            before,
            leader: Box::new(move || running.wait()),
        }
    }

    /// Asserts that the caller's terminal is in raw mode.
    #[track_caller]
    pub(crate) fn assert_raw(&self) {
        let now = self.terminal.settings();
        assert!(!now.echoes() && !now.makes_signals(), "not raw: {now:?}");
    }

    /// Asserts that the runtime exits with `status` and restores the terminal's settings. Returns the output.
    #[track_caller]
    pub(crate) fn assert_end(mut self, status: i32) -> String {
        let seen = self.terminal.expect(&format!("\nended {status};"));
        self.close();
        seen
    }

    /// Asserts that the runtime exits with any status and restores the terminal's settings. Returns the
    /// output.
    #[track_caller]
    pub(crate) fn ended(mut self) -> String {
        self.terminal.expect("\nended ");
        let seen = self.terminal.expect(";\n");
        self.close();
        seen
    }

    #[track_caller]
    fn close(mut self) {
        assert_eq!(self.terminal.settings(), self.before, "settings");
        self.terminal.type_keys("\n");
        (self.leader)().assert_ok();
    }

    /// Closes the master: the kernel sends SIGHUP to the session leader and the runtime.
    #[track_caller]
    pub(crate) fn hang_up(self) {
        drop(self.terminal);
        (self.leader)().assert_code(129);
    }
}
