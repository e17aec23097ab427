//! A container goes on where it was.

use super::Counter;
use crate::harness::{Bundle, HostState, only_in_the_matrix, skip, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_counter_goes_on_with_its_open_file,
        a_container_can_run_on,
        a_restored_container_is_like_any_other,
        a_paused_container_is_checkpointed,
        the_memory_can_be_written_before,
        twenty_rounds,
    ]
}

fn a_counter_goes_on_with_its_open_file() {
    let mut counter = Counter::new(Bundle::new());
    let before = HostState::of(&counter.bundle);
    counter.start();
    counter.round();
    let container = counter.bundle.container();
    assert_eq!(container.status(), "running");
    container.delete_force().assert_ok();
    before.assert_unchanged(&counter.bundle);
}

fn a_container_can_run_on() {
    let mut counter = Counter::new(Bundle::new());
    let container = counter.start();
    let pid = container.pid();
    counter.checkpoint(&["--leave-running"]).assert_ok();
    counter.wait_for_more();
    assert_eq!(
        (container.status(), container.pid()),
        ("running".to_owned(), pid)
    );
}

/// exec, ps, pause, resume, kill and delete.
fn a_restored_container_is_like_any_other() {
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    counter.round();
    let (runtime, id) = (counter.bundle.runtime(), counter.bundle.id());
    let seen = runtime
        .call(&["exec", id, "/bin/sh", "-c", "echo $PPID $$"])
        .run();
    let seen = seen.assert_ok().stdout;
    assert!(seen.starts_with("0 "), "{seen}");
    let container = counter.bundle.container();
    let pids = runtime
        .call(&["ps", "--format", "json", id])
        .run()
        .assert_ok();
    assert_eq!(pids.stdout.trim(), format!("[{}]", container.pid()));
    runtime.call(&["pause", id]).run().assert_ok();
    assert_eq!(container.status(), "paused");
    runtime.call(&["resume", id]).run().assert_ok();
    counter.wait_for_more();
    container.kill("KILL").assert_ok();
    container.wait_stopped();
    container.delete().assert_ok();
}

fn a_paused_container_is_checkpointed() {
    let mut counter = Counter::new(Bundle::new());
    let container = counter.start();
    container.call("pause", &[]).assert_ok();
    counter.checkpoint(&[]).assert_ok();
    counter.assert_gone();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn the_memory_can_be_written_before() {
    let mut counter = Counter::new(Bundle::new());
    let container = counter.start();
    let first = counter.checkpoint_to("first", &["--pre-dump"]);
    if first.stderr.contains("missing features") || first.stderr.contains("CONFIG_MEM_SOFT_DIRTY") {
        skip("the installed CRIU does not work with this kernel");
    }
    first.assert_ok();
    counter.wait_for_more();
    assert_eq!(container.status(), "running");
    counter
        .checkpoint(&["--parent-path", "../first"])
        .assert_ok();
    assert!(counter.images().join("parent").is_symlink());
    counter.assert_gone();
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

fn twenty_rounds() {
    only_in_the_matrix();
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    for _ in 0..20 {
        counter.round();
    }
}
