//! `run` in the foreground of a terminal, with the test at keyboard and screen.

use std::fs::File;

use super::pty::{Master, Settings, take_terminal};
use crate::harness::{Bundle, Call, Outcome};

/// Leads the session and outlives the runtime: the end of a session resets its terminal.
const LEADER: &str = "\"$@\"; printf '\\nended %d;\\n' $? >&2; read -r end";

/// What a call has to go through to be at the keyboard.
pub(crate) const LED: [&str; 4] = ["sh", "-c", LEADER, "sh"];

pub(crate) struct Session {
    pub(crate) terminal: Master,
    before: Settings,
    leader: Box<dyn FnOnce() -> Outcome>,
}

impl Session {
    /// A terminal of 24 rows with 80 columns.
    pub(crate) fn start(bundle: &Bundle) -> Self {
        Self::start_with_stdout(bundle, None)
    }

    /// The same, with stdout in a file when one is given.
    pub(crate) fn start_with_stdout(bundle: &Bundle, stdout: Option<File>) -> Self {
        Self::of(bundle.call_through(&LED, "run", &[]), stdout)
    }

    /// Any call that goes through [`LED`].
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

    /// The settings of the terminal have been changed.
    #[track_caller]
    pub(crate) fn assert_raw(&self) {
        let now = self.terminal.settings();
        assert!(!now.echoes() && !now.makes_signals(), "not raw: {now:?}");
    }

    /// The runtime ends with this status and leaves the terminal as it was. Returns what was shown.
    #[track_caller]
    pub(crate) fn assert_end(mut self, status: i32) -> String {
        let seen = self.terminal.expect(&format!("\nended {status};"));
        self.close();
        seen
    }

    /// The runtime ends, well or not, and leaves the terminal as it was. Returns what was shown.
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

    /// The emulator goes away: the kernel sends SIGHUP to the session's leader and the runtime.
    #[track_caller]
    pub(crate) fn hang_up(self) {
        drop(self.terminal);
        (self.leader)().assert_code(129);
    }
}
