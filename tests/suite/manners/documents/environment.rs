//! Runs the examples of a page in their order, as a reader would type them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::decisions::{Decision, decide};
use super::examples::{Block, Page};
use crate::harness::{Bundle, Call, HostState, Runtime, fill_rootfs, wait_until};
use crate::terminal::{LED, Session};

/// Prompts like a shell and ends at `exit`. Without input it stays.
const SERVICE: &str = "printf '# '; while read -r line; do test \"$line\" != exit || exit 0; done; \
                       exec sleep 1000000";

/// `docker create` and `docker export` of an image that is a root file system of the tests.
const DOCKER: &str =
    "case $1 in create) echo busybox ;; export) tar -C ROOTFS -c . ;; *) exit 1 ;; esac";

/// A directory with a bundle, and the programs that the examples call.
///
/// The container of the examples is called `web`. Here it has the bundle's id instead, because tests in other
/// processes run the same examples.
struct Environment {
    bundle: Bundle,
    /// What a command runs through if it is not root's.
    user: Vec<String>,
    /// Where the next command runs.
    directory: PathBuf,
    /// `rt run`, in a terminal of its own.
    foreground: Option<Session>,
    /// Whether an example has killed the container in the foreground.
    is_killed: bool,
}

/// A user without subordinate ids, and the command through which the user's commands run.
const USER: u32 = 4321;
const SETPRIV: [&str; 4] = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups"];

/// Runs the examples of a page as root. Each must end with 0, and nothing may remain.
pub(super) fn run_as_root(page: &Page) {
    run(page, || Environment::new(&Runtime::new(), Vec::new()));
}

/// The same as an ordinary user.
pub(super) fn run_as_user(page: &Page) {
    run(page, || {
        let runtime = Runtime::new();
        let home = format!("XDG_RUNTIME_DIR={}", runtime.home().display());
        let user = [&SETPRIV[..], &["env", &home]].concat();
        let runtime = runtime.of_caller(USER, &user);
        Environment::new(&runtime, user.into_iter().map(str::to_owned).collect())
    });
}

fn run(page: &Page, environment: impl FnOnce() -> Environment) {
    let mut lines = page.iter().flat_map(|block| &block.lines);
    if !lines.any(|line| is_run(line)) {
        return;
    }
    let mut environment = environment();
    let before = HostState::of(&environment.bundle);
    for block in page {
        environment.run_block(block);
    }
    environment.make_absent();
    before.assert_unchanged(&environment.bundle);
}

fn is_run(line: &str) -> bool {
    decide(line) == Decision::Run
}

impl Environment {
    fn new(runtime: &Runtime, user: Vec<String>) -> Self {
        let bundle = Bundle::with_runtime(runtime).folder("srv").sh(SERVICE);
        let bundle = bundle
            .writable()
            .set("/annotations/rt.rootfs.overlay", json!("ephemeral"));
        let environment = Self {
            directory: bundle.path().join("work"),
            bundle,
            user,
            foreground: None,
            is_killed: false,
        };
        let service = environment.service();
        fs::create_dir_all(&service).expect("make the service's directory");
        let mut config = environment.bundle.config().clone();
        config.set("/root/path", json!(environment.bundle.rootfs()));
        let config_file = Path::new(&service).join("config.json");
        let written = fs::write(config_file, config.0.to_string());
        written.expect("write the service's configuration");
        environment.write_programs();
        if !environment.user.is_empty() {
            let given = chown(environment.top(), Some(USER), Some(USER));
            given.expect("give the working directory to the user");
        }
        environment
    }

    /// The bundle of a container that runs until it is killed.
    fn service(&self) -> String {
        let path = self.top().join("bundles").join(self.bundle.id());
        path.display().to_string()
    }

    /// The directory in which the first command of each block runs.
    fn top(&self) -> PathBuf {
        self.bundle.path().join("work")
    }

    fn programs(&self) -> PathBuf {
        self.bundle.path().join("programs")
    }

    fn write_programs(&self) {
        let program = self.bundle.runtime().program().display().to_string();
        let rt = if self.user.is_empty() {
            let root = self.bundle.runtime().root().display().to_string();
            format!("exec {program} --root {root} \"$@\"")
        } else {
            format!("exec {program} \"$@\"")
        };
        let docker = DOCKER.replace("ROOTFS", &self.bundle.rootfs().display().to_string());
        fs::create_dir_all(self.programs()).expect("make a directory for the programs");
        for (name, script) in [
            ("rt", rt),
            ("docker", docker),
            ("sudo", "exec \"$@\"".to_owned()),
        ] {
            let path = self.programs().join(name);
            let written = fs::write(&path, format!("#!/bin/sh\n{script}\n"));
            written.unwrap_or_else(|e| panic!("write {name}: {e}"));
            let mode = fs::set_permissions(&path, fs::Permissions::from_mode(0o755));
            mode.unwrap_or_else(|e| panic!("chmod {name}: {e}"));
        }
    }

    fn run_block(&mut self, block: &Block) {
        self.directory = self.top();
        let lines = || block.lines.iter().filter(|line| is_run(line));
        if let Some(first) = lines().next() {
            self.prepare(first);
        }
        for line in lines() {
            naming(&format!("{}: {line}", block.place), || self.run_line(line));
        }
    }

    /// Brings the container into the state that the first command of a block needs, and makes a bundle of the
    /// working directory.
    fn prepare(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "rt") else {
            return;
        };
        let arguments = &words[at + 1..];
        let verb = arguments.first().copied().unwrap_or_default();
        match verb {
            "run" | "create" | "spec" => self.make_absent(),
            "start" => {
                self.make_absent();
                self.call("create", &["-b", &self.service()]);
            }
            "delete" => self.make_stopped(),
            "list" if self.status().is_none() => self.make_stopped(),
            "resume" => {
                self.make_running();
                self.call("pause", &[]);
            }
            _ if arguments.contains(&"web") => self.make_running(),
            _ => {}
        }
        self.write_bundle(verb != "spec");
    }

    fn write_bundle(&self, with_config: bool) {
        let rootfs = self.directory.join("rootfs");
        if !rootfs.exists() {
            fill_rootfs(&rootfs);
        }
        // No block before this one may have made it.
        let _ = fs::remove_file(self.directory.join("config.json"));
        if with_config {
            self.command(&[], "rt spec").run().assert_ok();
        }
    }

    fn make_absent(&mut self) {
        self.end_foreground();
        self.remove();
    }

    fn make_running(&mut self) {
        if self.status().as_deref() != Some("running") {
            self.make_absent();
            self.call("run", &["--detach", "-b", &self.service()]);
        }
    }

    fn make_stopped(&mut self) {
        self.make_absent();
        self.make_running();
        let kill = ["kill", self.bundle.id(), "KILL"];
        self.bundle.runtime().call(&kill).run().assert_ok();
        self.wait_stopped();
    }

    /// Waits until the container has stopped, or is deleted because it has stopped.
    fn wait_stopped(&self) {
        let is_stopped = || self.status().is_none_or(|status| status == "stopped");
        wait_until("the container to stop", is_stopped);
    }

    fn run_line(&mut self, line: &str) {
        let line = with_id(line, self.bundle.id());
        let words: Vec<&str> = line.split_whitespace().collect();
        let has = |any: &[&str]| words.iter().any(|word| any.contains(word));
        match words[..] {
            ["cd", directory] => self.directory.push(directory),
            ["rt", "run", ..] if !has(&["-d", "--detach"]) => {
                self.end_foreground();
                self.foreground = Some(self.prompt(&line));
                self.is_killed = false;
            }
            ["rt", "exec", ..] if has(&["-t", "--tty"]) => {
                let mut session = self.prompt(&line);
                session.terminal.type_keys("exit\r");
                session.assert_end(0);
            }
            _ => drop(self.command(&[], &line).run().assert_ok()),
        }
        let kills = has(&["kill"]) && has(&["KILL", "9"]);
        if kills {
            // A reader types the next line when the kernel has long ended the process.
            self.wait_stopped();
        }
        self.is_killed |= kills || has(&["delete"]);
    }

    /// Runs a command in a terminal until it prompts.
    fn prompt(&self, line: &str) -> Session {
        let call = self.command(&LED, line);
        let mut session = Session::of(call, None);
        session.terminal.expect("# ");
        session
    }

    /// Ends the container in the foreground, unless an example has killed it.
    fn end_foreground(&mut self) {
        let Some(mut session) = self.foreground.take() else {
            return;
        };
        if self.is_killed {
            session.assert_end(137);
        } else {
            session.terminal.type_keys("exit\r");
            session.assert_end(0);
        }
    }

    fn remove(&self) {
        self.call("delete", &["--force"]);
    }

    /// `rt VERB FLAGS ID` must succeed.
    fn call(&self, verb: &str, flags: &[&str]) {
        let arguments = [&[verb], flags, &[self.bundle.id()]].concat();
        self.bundle.runtime().call(&arguments).run().assert_ok();
    }

    fn status(&self) -> Option<String> {
        let runtime = self.bundle.runtime();
        let outcome = runtime.call(&["state", self.bundle.id()]).run();
        let state: Value = serde_json::from_str(&outcome.stdout).ok()?;
        state["status"].as_str().map(str::to_owned)
    }

    /// A command line in the working directory, with the programs of the examples. It runs through `before`.
    fn command(&self, before: &[&str], line: &str) -> Call {
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs().display()
        );
        let user: Vec<&str> = self.user.iter().map(String::as_str).collect();
        let words = [&["env"], before, &user, &["sh", "-c", line]].concat();
        let call = self.bundle.runtime().call_as_is(words);
        call.with(|command| command.current_dir(&self.directory).env("PATH", path))
    }
}

/// The command line with the id in place of the word `web`, also in paths.
fn with_id(line: &str, id: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let mut found = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("web") {
        let (before, after) = (&rest[..at], &rest[at + 3..]);
        let is_word = !before.ends_with(is_part) && !after.starts_with(is_part);
        found += before;
        found += if is_word { id } else { "web" };
        rest = after;
    }
    found + rest
}

/// Names the example in the message of a failure.
fn naming(example: &str, work: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
        match payload.downcast::<String>() {
            Ok(text) => panic!("{example}: {text}"),
            Err(payload) => resume_unwind(payload),
        }
    }
}
