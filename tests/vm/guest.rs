//! The virtual machine, whose output is parsed line by line.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::runner::Outcome;

/// The script that boots the virtual machine.
pub(crate) const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/boot");

/// What the virtual machine starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The script and nothing else.
    Plain,
    /// systemd, which starts the script as a service. rt is tested.
    Systemd,
    /// The same for the tests of runc.
    SystemdOfRunc,
    /// The script alone, with SELinux.
    Selinux,
}

impl Machine {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [
        Self::Plain,
        Self::Systemd,
        Self::SystemdOfRunc,
        Self::Selinux,
    ];

    /// The options of [`BOOT`].
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["-t", "5000"],
            Self::Selinux => &["-e", "-t", "2000"],
            Self::Systemd | Self::SystemdOfRunc => &["-s", "-m", "4096", "-t", "10000"],
        }
    }
}

/// A call of a test program.
pub(crate) struct Call {
    pub(crate) runtime: &'static str,
    /// The line of the shell.
    pub(crate) line: String,
}

/// The virtual machine. Dropping it waits for its end.
pub(crate) struct VirtualMachine {
    machine: Machine,
    script: String,
    /// Whether a test needs it.
    has_calls: bool,
    /// The process, and the lines of its output.
    running: Option<(Child, Receiver<String>)>,
    report: Report,
    /// Why it has ended, if it has.
    end: Option<String>,
}

impl VirtualMachine {
    pub(crate) fn new<'a>(machine: Machine, calls: impl Iterator<Item = &'a Call>) -> Self {
        let mut script = "echo kernel $(uname -r)\n".to_owned();
        let mut has_calls = false;
        for Call { runtime, line } in calls {
            let _ = writeln!(script, "echo runtime {runtime}\n{line}");
            has_calls = true;
        }
        Self {
            machine,
            script,
            has_calls,
            running: None,
            report: Report::default(),
            end: None,
        }
    }

    /// Boots the virtual machine, if a test needs it and it has not been booted before.
    pub(crate) fn boot(&mut self) {
        if self.has_calls && self.running.is_none() && self.end.is_none() {
            self.running = Some(boot(self.machine, &self.script));
        }
    }

    /// Waits for the outcome of a test. The virtual machine has been booted.
    pub(crate) fn outcome(&mut self, test: &str) -> Outcome {
        loop {
            if let Some(outcome) = self.report.outcomes.get(test) {
                return outcome.clone();
            }
            if let Some(end) = &self.end {
                return Outcome::Failed(format!(
                    "the virtual machine ended before the test: {end}"
                ));
            }
            match self.next_line() {
                Some(line) => self.report.read_line(&line),
                None => self.close(),
            }
        }
    }

    /// The release of its kernel, once it has reported it.
    pub(crate) fn kernel(&self) -> Option<&str> {
        self.report.kernel.as_deref()
    }

    fn next_line(&mut self) -> Option<String> {
        let (_, lines) = self.running.as_ref()?;
        lines.recv().ok()
    }

    fn close(&mut self) {
        let status = self.running.take().map(|(mut child, _)| child.wait());
        self.end = Some(match status {
            Some(Ok(status)) if status.code() == Some(124) => "it timed out".to_owned(),
            Some(Ok(status)) => status.to_string(),
            other => format!("{other:?}"),
        });
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        while self.running.is_some() {
            if self.next_line().is_none() {
                self.close();
            }
        }
    }
}

/// A thread takes the output, so that the virtual machine never waits for a test that is reported first.
fn boot(machine: Machine, script: &str) -> (Child, Receiver<String>) {
    let mut command = Command::new(BOOT);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(machine.options());
    command.args(["bash", "-c", script]).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("start {BOOT}: {e}"));
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    (child, lines)
}

/// The outcomes so far, parsed from the pretty format of libtest-mimic.
#[derive(Default)]
struct Report {
    kernel: Option<String>,
    runtime: String,
    /// The failed tests with their messages so far. libtest-mimic prints the messages after all tests.
    pending: HashMap<String, String>,
    /// The failed test whose message is being printed.
    current: Option<String>,
    outcomes: HashMap<String, Outcome>,
}

impl Report {
    fn read_line(&mut self, line: &str) {
        if let Some(kernel) = line.strip_prefix("kernel ") {
            self.kernel = Some(kernel.to_owned());
        } else if let Some(runtime) = line.strip_prefix("runtime ") {
            runtime.clone_into(&mut self.runtime);
        } else if line.starts_with("test result: ") {
            let failed = self.pending.drain();
            let failed = failed
                .map(|(test, message)| (test, Outcome::Failed(message.trim_end().to_owned())));
            self.outcomes.extend(failed);
            self.current = None;
        } else if let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            self.read_outcome(name.trim_end(), outcome);
        } else if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|name| name.strip_suffix(" ----"))
        {
            self.current = Some(format!("{}::{name}", self.runtime));
        } else if let Some(message) = self
            .current
            .as_ref()
            .and_then(|test| self.pending.get_mut(test))
        {
            let _ = writeln!(message, "{line}");
        }
    }

    fn read_outcome(&mut self, name: &str, outcome: &str) {
        let test = format!("{}::{name}", self.runtime);
        let reason = outcome.strip_prefix("ignored (");
        let outcome = match (outcome, reason.and_then(|reason| reason.strip_suffix(')'))) {
            ("ok", _) => Outcome::Passed,
            (_, Some(reason)) => Outcome::Skipped(reason.to_owned()),
            _ => {
                self.pending.insert(test, String::new());
                return;
            }
        };
        self.outcomes.insert(test, outcome);
    }
}
