//! The virtual machine as a source of lines: it boots when the first outcome is asked for.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The program that boots it.
pub(crate) const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/boot");

/// How a test in the machine ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

pub(crate) struct Guest {
    script: String,
    running: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    said: Said,
    end: Option<String>,
}

impl Guest {
    /// `calls` are runtimes with the suite's arguments.
    pub(crate) fn new(suite: &str, calls: Vec<(&str, String)>) -> Self {
        let mut script = String::new();
        for (runtime, words) in calls {
            let call = format!("echo runtime {runtime}; RT_UNDER_TEST={runtime} {suite} {words}\n");
            script.push_str(&call);
        }
        Self {
            script,
            running: None,
            said: Said::default(),
            end: None,
        }
    }

    /// Waits until the machine has said how this test ended.
    pub(crate) fn outcome(&mut self, test: &str) -> Outcome {
        loop {
            if let Some(outcome) = self.said.outcomes.get(test) {
                return outcome.clone();
            }
            if let Some(end) = &self.end {
                return Outcome::Failed(format!("the machine ended before: {end}"));
            }
            match self.next_line() {
                Some(line) => self.said.hear(&line),
                None => self.close(),
            }
        }
    }

    fn next_line(&mut self) -> Option<String> {
        let (_, lines) = self.running.get_or_insert_with(|| boot(&self.script));
        lines.next()?.ok()
    }

    fn close(&mut self) {
        let status = self.running.take().map(|(mut child, _)| child.wait());
        self.end = Some(match status {
            Some(Ok(status)) if status.code() == Some(124) => "its time was over".to_owned(),
            Some(Ok(status)) => status.to_string(),
            other => format!("{other:?}"),
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        while self.running.is_some() {
            if self.next_line().is_none() {
                self.close();
            }
        }
    }
}

fn boot(script: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(BOOT);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["bash", "-c", script]).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("start {BOOT}: {e}"));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// What libtest-mimic has printed so far, in its pretty format.
#[derive(Default)]
struct Said {
    runtime: String,
    /// Failed, with nothing but their names yet: the messages come last.
    pending: HashMap<String, String>,
    /// Whose message the next lines belong to.
    current: Option<String>,
    outcomes: HashMap<String, Outcome>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        if let Some(runtime) = line.strip_prefix("runtime ") {
            runtime.clone_into(&mut self.runtime);
        } else if line.starts_with("test result: ") {
            let failed = self.pending.drain();
            let failed = failed
                .map(|(test, message)| (test, Outcome::Failed(message.trim_end().to_owned())));
            self.outcomes.extend(failed);
            self.current = None;
        } else if let Some((name, how)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            self.hear_end(name.trim_end(), how);
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

    fn hear_end(&mut self, name: &str, how: &str) {
        let test = format!("{}::{name}", self.runtime);
        let reason = how.strip_prefix("ignored (");
        let outcome = match (how, reason.and_then(|how| how.strip_suffix(')'))) {
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
