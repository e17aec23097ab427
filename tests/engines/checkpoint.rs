//! What the tests of checkpoint and restore have in common: whether CRIU works here, and a container that counts.

use std::process::Command;
use std::sync::OnceLock;

use crate::command;
use crate::environment;
use crate::versions;

/// Counts on standard output. It makes no system call that a restore could interrupt, such as nanosleep(2).
pub(crate) const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; \
                                j=0; while [ $j -lt 5000 ]; do j=$((j+1)); done; done";

/// The same, in a file that stays open.
pub(crate) const COUNT_IN_A_FILE: &str = "exec >>/tmp/log; i=0; while :; do i=$((i+1)); echo $i; \
                                          j=0; while [ $j -lt 5000 ]; do j=$((j+1)); done; done";

/// Why a test cannot run here, if it is one of checkpoint and restore.
pub(crate) fn skip_reason(name: &str) -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let (engine, test) = name.split_once("::")?;
    if !test.starts_with("checkpoint") {
        return None;
    }
    let reason = REASON.get_or_init(|| environment::missing_program(&["criu"]).or_else(unusable));
    let before = || test.contains("pre_checkpoint").then(untracked).flatten();
    let of_engine = || match (engine, test) {
        ("cri", _) => unimplemented(),
        ("docker", "checkpoint_network" | "checkpoint_without_network") => without_network(),
        _ => None,
    };
    reason.clone().or_else(before).or_else(of_engine)
}

/// CRIU depends on details of the kernel: a version older than the kernel often does not work.
fn unusable() -> Option<String> {
    let check = command::run(Command::new("criu").arg("check"));
    let works = check.stdout.contains("Looks good");
    (!works).then(|| "the installed CRIU does not work with this kernel".to_owned())
}

fn unimplemented() -> Option<String> {
    let version = versions::of("cri");
    let is_old = version.contains(" 1.");
    is_old.then(|| "containerd 1 does not implement CheckpointContainer".to_owned())
}

fn without_network() -> Option<String> {
    let is_it = versions::of("docker").starts_with("Docker version 28.");
    let reason = "Docker 28 restores no network namespace, with any runtime: it looks for that of process 0 \
                  (bind-mount /proc/0/ns/net: no such file or directory)";
    is_it.then(|| reason.to_owned())
}

fn untracked() -> Option<String> {
    let args = ["check", "--feature", "mem_dirty_track"];
    let check = command::run(Command::new("criu").args(args));
    let reason = "this kernel cannot track memory for CRIU (CONFIG_MEM_SOFT_DIRTY)";
    (check.status != 0).then(|| reason.to_owned())
}

/// Whether a restored process has no_new_privs again: since CRIU 3.19. With an older CRIU `rt` refuses to restore it, and
/// runc restores a process that may gain privileges.
pub(crate) fn restores_no_new_privs() -> bool {
    let version = command::run(Command::new("criu").arg("--version")).ok();
    let number = version.lines().next().unwrap_or_default();
    let number = number.trim_start_matches("Version: ");
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next(), parts.next()) >= (Some(3), Some(19))
}

/// The numbers of the whole lines.
#[track_caller]
fn numbers(text: &str) -> Vec<usize> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let number = |line: &str| {
        line.trim()
            .parse()
            .unwrap_or_else(|e| panic!("{line:?}: {e}"))
    };
    whole.lines().map(number).collect()
}

/// The last number of a container that has counted without a gap from 1 on, or 0.
#[track_caller]
pub(crate) fn count(text: &str) -> usize {
    let numbers = numbers(text);
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected);
    numbers.len()
}

/// The number at which a container that had counted further went on again.
#[track_caller]
pub(crate) fn second_start(text: &str) -> Option<usize> {
    let numbers = numbers(text);
    let mut pairs = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1);
    let second = pairs.next().map(|pair| pair[1]);
    assert_eq!(pairs.next(), None);
    second
}

/// Waits until a container that has counted without a gap counts on.
#[track_caller]
pub(crate) fn wait_for_more(text: impl Fn() -> String) -> usize {
    let before = count(&text());
    let mut after = before;
    command::wait_until("the container counts on", 30, || {
        after = count(&text());
        after > before + 2
    });
    after
}
