//! A command behind a real terminal, as a person has it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::unistd::ttyname;

use crate::command;

/// What anything awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The person's side.
pub(crate) struct Terminal {
    child: Child,
    master: std::fs::File,
    /// The other side, as a file.
    name: PathBuf,
    output: String,
}

impl Terminal {
    /// Starts a command on a new terminal of 80 by 24.
    pub(crate) fn start(command: &Command) -> Terminal {
        let pty = openpty(None, None).unwrap();
        let name = ttyname(&pty.slave).unwrap();
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]);
        session.arg(command.get_program()).args(command.get_args());
        let envs = command.get_envs();
        session.envs(envs.filter_map(|(name, value)| Some((name, value?))));
        let slave = || pty.slave.try_clone().unwrap();
        session.stdin(slave()).stdout(slave()).stderr(slave());
        let child = session
            .spawn()
            .unwrap_or_else(|e| panic!("{session:?}: {e}"));
        let mut terminal = Terminal {
            child,
            master: pty.master.into(),
            name,
            output: String::new(),
        };
        terminal.resize(80, 24);
        terminal
    }

    /// Types.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Makes the window larger or smaller.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(&self.name);
        stty.args(["cols", &columns.to_string(), "rows", &rows.to_string()]);
        command::run(&mut stty).ok();
    }

    /// Makes the window larger or smaller until the screen has shown something: a client looks at
    /// the size once before it listens for changes, and may miss the first.
    #[track_caller]
    pub(crate) fn resize_until(&mut self, columns: u16, rows: u16, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output.contains(text) {
            self.resize(columns - 1, rows);
            self.resize(columns, rows);
            let pause = Instant::now() + Duration::from_millis(300);
            while Instant::now() < pause && !self.output.contains(text) {
                let more = Instant::now() < deadline && self.listen();
                assert!(more, "{text:?} never came: {:?}", self.output);
            }
        }
    }

    /// Waits until the screen has shown something.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output.contains(text) {
            let more = Instant::now() < deadline && self.listen();
            assert!(more, "{text:?} never came: {:?}", self.output);
        }
    }

    /// The exit status, and all that the screen has shown.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.listen() {
            assert!(Instant::now() < deadline, "no end: {:?}", self.output);
        }
        let status = self.child.wait().unwrap().code();
        (status, std::mem::take(&mut self.output))
    }

    /// False after the last has let go of the terminal.
    fn listen(&mut self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(200_u16)).unwrap() == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.output += &String::from_utf8_lossy(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
