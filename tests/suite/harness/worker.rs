//! Runs tests in processes beside each other.
//!
//! A test compares the host before and after, by the processes that descend from its own process and by
//! names that contain its process id. Threads of one process would see each other's containers, so each
//! thread of libtest-mimic hands its tests to a process of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::registry::{Body, perform};
use crate::runner::Outcome;

/// The argument that makes a process of the suite a worker.
const WORKER: &str = "--worker";

/// Every test by its name.
static TESTS: Mutex<BTreeMap<String, Body>> = Mutex::new(BTreeMap::new());

thread_local! {
    static OWN: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Makes a test known to the workers.
pub(crate) fn register(name: &str, body: Body) {
    TESTS.lock().unwrap().insert(name.to_owned(), body);
}

/// The names of all tests.
#[allow(dead_code, reason = "only the conformance tests call it")]
pub(crate) fn names() -> BTreeSet<String> {
    TESTS.lock().unwrap().keys().cloned().collect()
}

pub(crate) fn is_worker() -> bool {
    env::args().nth(1).as_deref() == Some(WORKER)
}

/// A process that runs one test after the other.
struct Worker {
    process: Child,
    socket: BufReader<UnixStream>,
}

impl Worker {
    fn start() -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let process = Command::new(env::current_exe()?)
            .arg(WORKER)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let socket = BufReader::new(ours);
        Ok(Self { process, socket })
    }

    /// `None` when the worker has ended instead of an answer.
    fn run(&mut self, name: &str) -> Option<Outcome> {
        writeln!(self.socket.get_mut(), "{name}").ok()?;
        let mut line = String::new();
        self.socket.read_line(&mut line).ok()?;
        let [kind, text]: [String; 2] = serde_json::from_str(&line).ok()?;
        Some(match kind.as_str() {
            "passed" => Outcome::Passed,
            "skipped" => Outcome::Skipped(text),
            _ => Outcome::Failed(text),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs a test in the worker of this thread. A worker that dies is replaced for the next test.
pub(crate) fn run(name: &str) -> Outcome {
    OWN.with_borrow_mut(|own| {
        let worker = match own.take() {
            Some(worker) => Ok(worker),
            None => Worker::start(),
        };
        let mut worker = match worker {
            Ok(worker) => worker,
            Err(error) => return Outcome::Failed(format!("start a worker: {error}")),
        };
        let Some(outcome) = worker.run(name) else {
            return Outcome::Failed("the test ended its process".to_owned());
        };
        *own = Some(worker);
        outcome
    })
}

/// What a worker does: it reads names from its standard input, a socket, and answers there. The
/// programs that its tests start get neither.
pub(crate) fn work() -> ExitCode {
    let copied = std::io::stdin().as_fd().try_clone_to_owned();
    let socket = UnixStream::from(copied.expect("copy the socket"));
    let null = std::fs::File::open("/dev/null").expect("open /dev/null");
    nix::unistd::dup2_stdin(&null).expect("replace standard input");
    drop(null);
    let mut answers = socket.try_clone().expect("copy the socket");
    for name in BufReader::new(socket).lines() {
        let Ok(name) = name else {
            break;
        };
        let body = TESTS.lock().unwrap().get(&name).cloned();
        let outcome = match body {
            Some(body) => perform(&name, &body),
            None => Outcome::Failed(format!("no test is called {name}")),
        };
        let (kind, text) = match outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Skipped(reason) => ("skipped", reason),
            Outcome::Failed(message) => ("failed", message),
        };
        let answer: Value = json!([kind, text]);
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
