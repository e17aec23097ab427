//! The runtime, or CRIU, is killed at one system call after another.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Counter, reset_options_of_cgroup_v2};
use crate::harness::{
    Bundle, Call, HostState, is_the_matrix, killed_everywhere, needs_strace, only_rt, places_in,
    trials, wait_until,
};
use crate::programs;
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        rt_is_killed_while_it_writes,
        rt_is_killed_while_it_restores,
        criu_is_killed_while_it_writes,
        criu_is_killed_while_it_restores,
    ]
}

/// How many system calls are tried.
const PLACES: usize = 10;
/// How many of CRIU's are tried in the whole matrix. It makes thousands.
const PLACES_OF_CRIU: usize = 200;

/// How the name of a place begins at which CRIU is killed.
const CRIU: &str = "CRIU";

/// Counts in a file of a tmpfs, so images of any moment can be restored at any other.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/number; done";

/// A counter, and a directory with a program `criu` that calls the installed one.
struct Victim {
    counter: Counter,
    programs: PathBuf,
    before: HostState,
}

impl Victim {
    fn new() -> Victim {
        needs_strace();
        let mut counter = Counter::new(Bundle::new());
        counter.bundle = counter.bundle.sh(COUNT);
        let programs = counter.bundle.runtime().home().join("programs");
        fs::create_dir(&programs).unwrap();
        let before = HostState::of(&counter.bundle);
        let victim = Victim {
            counter,
            programs,
            before,
        };
        victim.write_criu("");
        victim
    }

    fn of_killed_runtime() -> Victim {
        let victim = Victim::new();
        reset_options_of_cgroup_v2();
        let before = HostState::of(&victim.counter.bundle);
        Victim { before, ..victim }
    }

    /// CRIU is started through the command `through`, except for the first time, when it is asked
    /// for its version.
    fn write_criu(&self, through: &str) {
        let (criu, file) = (programs::find("criu").unwrap(), self.programs.join("criu"));
        let asked = self.programs.join("asked");
        fs::remove_dir(&asked).unwrap_or_default();
        let script = format!(
            "#!/bin/sh\nmkdir {} 2>/dev/null && exec {criu} \"$@\"\nexec {through} {criu} \"$@\"\n",
            asked.display(),
            criu = criu.display(),
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn with_path(&self, call: Call) -> Call {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.programs.display());
        call.with(|command| command.env("PATH", path))
    }

    /// Runs the container and returns the call that writes it.
    fn checkpoint(&mut self, before: &[&str]) -> Call {
        fs::remove_dir_all(self.counter.images()).unwrap_or_default();
        let call = self.counter.bundle.call("run", &["--detach"]);
        self.counter.run_piped(call).assert_ok();
        self.assert_counts("started");
        self.with_path(self.counter.checkpoint_call(before, "images", &[]))
    }

    fn restore(&mut self, before: &[&str]) -> Call {
        let call = self.counter.restore_call(before, "images", &[]);
        let call = self.counter.piped(call);
        self.with_path(call)
    }

    fn status(&self) -> Option<String> {
        let (runtime, id) = (self.counter.bundle.runtime(), self.counter.bundle.id());
        let state = runtime.call(&["state", id]).run();
        let status = |text: &str| serde_json::from_str::<Value>(text).unwrap()["status"].clone();
        (state.code() == 0).then(|| status(&state.stdout).as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn assert_counts(&self, place: &str) {
        let pid = self.counter.bundle.container().pid();
        let number = || {
            let text = fs::read_to_string(format!("/proc/{pid}/root/dev/shm/number"));
            text.ok()?.trim().parse::<u64>().ok()
        };
        let mut first = None;
        wait_until(&format!("the counter ({place})"), || {
            let number = number();
            first = first.or(number);
            number > first
        });
    }

    #[track_caller]
    fn delete(&self, place: &str) {
        let (runtime, id) = (self.counter.bundle.runtime(), self.counter.bundle.id());
        let deleted = runtime.call(&["delete", "--force", id]).run();
        assert_eq!(deleted.code(), 0, "{place}\n{deleted}");
        let left = self.before.changes_since(&self.counter.bundle);
        assert!(left.is_empty(), "{place} leaves:\n{left}");
        let work = self.counter.bundle.runtime().home().join("work");
        for directory in [self.counter.images(), work] {
            let names = fs::read_dir(&directory).into_iter().flatten().flatten();
            let names = names.map(|entry| entry.file_name().into_string().unwrap());
            let hidden: Vec<_> = names.filter(|name| name.starts_with(".criu")).collect();
            assert!(
                hidden.is_empty(),
                "{place} leaves in {directory:?}: {hidden:?}"
            );
        }
    }

    /// Waits until CRIU and its children have ended, or one for which this holds is left.
    #[track_caller]
    fn wait_for_criu(&self, place: &str, has_stopped: impl Fn(&Path) -> bool) {
        let programs = self.programs.to_str().unwrap();
        wait_until(&format!("the end of CRIU ({place})"), || {
            let criu = |process: &Path| {
                let read = |name| fs::read(process.join(name)).unwrap_or_default();
                let has = |name, text: &str| String::from_utf8_lossy(&read(name)).contains(text);
                has("environ", programs) && has("cmdline", "\0swrk\0")
            };
            let mut criu = processes().filter(|process| criu(process)).peekable();
            criu.peek().is_none() || criu.any(|process| has_stopped(&process))
        });
    }

    fn check_checkpoint(&mut self, place: &str) {
        self.wait_for_criu(place, |_| false);
        let status = self.status();
        match status.as_deref() {
            Some("running") => self.assert_counts(place),
            other => assert_ne!(other, Some("paused"), "{place}"),
        }
        self.delete(place);
        self.write_criu("");
        let call = self.restore(&[]);
        let restored = self.counter.run_piped(call);
        if restored.code() == 0 {
            self.assert_counts(place);
            self.delete(place);
        } else {
            let line = restored.stderr;
            let is_refused = line.contains(": holds no checkpoint: ") || line.contains("(ENOENT)");
            assert!(is_refused, "{place}: {line}");
            // CRIU runs code of its own in the process, which can end when CRIU does.
            let may_have_ended = place.starts_with(CRIU) && status.as_deref() == Some("stopped");
            let is_running = status.as_deref() == Some("running");
            assert!(
                is_running || may_have_ended,
                "{place}: no images, {status:?}"
            );
        }
    }

    /// Only a container that is wholly restored runs.
    fn check_restore(&mut self, place: &str) {
        self.wait_for_criu(place, waits_for_message);
        if self.status().as_deref() == Some("running") {
            self.assert_counts(place);
        } else {
            let id = self.counter.bundle.id();
            wait_until(&format!("no process to run ({place})"), || {
                let mut own = processes().filter(|process| {
                    let cgroups = fs::read_to_string(process.join("cgroup"));
                    cgroups.is_ok_and(|cgroups| cgroups.contains(id))
                });
                own.all(|process| state_of(&process) != 'R')
            });
        }
        self.delete(place);
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let entries = entries.map(|entry| entry.path());
    entries.filter(|path| path.join("cgroup").exists())
}

/// `R` if it runs, and so on (proc_pid_stat(5)). `X` if it has ended.
fn state_of(process: &Path) -> char {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
    rest.chars().next().unwrap_or('X')
}

/// As CRIU does after the runtime was killed. What it has made waits for it.
fn waits_for_message(process: &Path) -> bool {
    let place = fs::read_to_string(process.join("wchan"));
    place.is_ok_and(|place| place.contains("wait_for_more_packets"))
}

fn rt_is_killed_while_it_writes() {
    let victim = RefCell::new(Victim::of_killed_runtime());
    let runtime = victim.borrow().counter.bundle.runtime().clone();
    let call = |strace: &[&str]| victim.borrow_mut().checkpoint(strace);
    killed_everywhere(&runtime, PLACES, call, |place| {
        victim.borrow_mut().check_checkpoint(place);
    });
}

fn rt_is_killed_while_it_restores() {
    let victim = RefCell::new(Victim::of_killed_runtime());
    victim.borrow_mut().checkpoint(&[]).run().assert_ok();
    let runtime = victim.borrow().counter.bundle.runtime().clone();
    let call = |strace: &[&str]| victim.borrow_mut().restore(strace);
    killed_everywhere(&runtime, PLACES, call, |place| {
        victim.borrow_mut().check_restore(place);
    });
}

fn criu_is_killed_while_it_writes() {
    only_rt("images that are not whole are accepted by runc");
    let mut victim = Victim::new();
    victim.each_place_of_criu(Victim::checkpoint, Victim::check_checkpoint);
}

fn criu_is_killed_while_it_restores() {
    only_rt("runc leaves what CRIU has made");
    let mut victim = Victim::new();
    victim.checkpoint(&[]).run().assert_ok();
    victim.each_place_of_criu(Victim::restore, Victim::check_restore);
}

impl Victim {
    #[track_caller]
    fn each_place_of_criu(
        &mut self,
        call: impl Fn(&mut Victim, &[&str]) -> Call,
        check: impl Fn(&mut Victim, &str),
    ) {
        let trace = self.programs.join("trace");
        self.write_criu(&format!("strace -D -o {}", trace.display()));
        call(self, &[]).run().assert_ok();
        check(self, "not killed");
        let places = if is_the_matrix() {
            PLACES_OF_CRIU
        } else {
            PLACES
        };
        for (kill, place) in places_in(&trace, places) {
            self.write_criu(&format!("strace -D -o /dev/null -e {kill}"));
            drop(call(self, &[]).run());
            check(self, &format!("{CRIU} {place}"));
        }
    }
}
