//! Orphaned processes of a container: `run` in the foreground is their subreaper, except with
//! `--no-subreaper`.

use std::fs;

use crate::runner::Test;

use crate::harness::{Bundle, stat, trials, wait_gone, wait_until};

pub(super) fn tests() -> Vec<Test> {
    trials![
        run_is_the_subreaper_of_orphans,
        with_no_subreaper_orphans_go_to_the_next_subreaper,
    ]
}

/// The parent of an orphaned process after its reparenting, and the runtime's pid.
fn parent_of_an_orphan(flags: &[&str]) -> (i32, i32) {
    let bundle = Bundle::new()
        .without_namespace("pid")
        .sh("sh -c 'sleep 1000 > /dev/null & echo orphan $!'; sleep 1000");
    let running = bundle.call("run", flags).start();
    wait_until("the orphan's pid", || running.stdout().ends_with('\n'));
    let output = running.stdout();
    let orphan: i32 = output
        .trim()
        .strip_prefix("orphan ")
        .unwrap()
        .parse()
        .unwrap();
    let parent = || {
        let parent: i32 = stat(orphan, 4).unwrap();
        let name = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
        (name.trim() != "sh").then_some(parent)
    };
    wait_until("the shell to end", || parent().is_some());
    let (parent, runtime) = (parent().unwrap(), running.pid());
    bundle.container().kill("KILL").assert_ok();
    assert_eq!(running.wait().code(), 137);
    wait_gone(orphan);
    (parent, runtime)
}

fn run_is_the_subreaper_of_orphans() {
    let (parent, runtime) = parent_of_an_orphan(&[]);
    assert_eq!(parent, runtime);
}

/// go-runc writes the flag with one dash. The test suite is the next subreaper.
fn with_no_subreaper_orphans_go_to_the_next_subreaper() {
    for flag in ["--no-subreaper", "-no-subreaper"] {
        let (parent, runtime) = parent_of_an_orphan(&[flag]);
        assert_eq!(parent, std::process::id().cast_signed(), "not {runtime}");
    }
}
