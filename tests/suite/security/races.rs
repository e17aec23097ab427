//! An attacker who shares a volume with the container and keeps exchanging a directory for a link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::runner::Test;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Directory, HostState, is_the_matrix, mountinfo, only_rt, tree, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        cve_2021_30465_a_mount_is_made_inside_or_fails,
        cve_2024_45310_no_mount_point_is_created_outside,
        dev_swapped_for_a_link_changes_nothing_on_the_host,
        proc_swapped_for_a_link_is_masked_or_an_error,
        proc_swapped_for_a_link_while_hooks_run_is_masked_or_an_error,
        proc_replaced_by_a_link_is_an_error,
        sys_replaced_by_a_link_is_an_error,
    ]
}

/// The whole matrix has four times as many.
const ROUNDS: usize = 50;

/// Exchanges two paths until dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn new(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let exchange = move || {
            while !seen.load(Ordering::Relaxed) {
                let _ = renameat2(
                    AT_FDCWD,
                    &one,
                    AT_FDCWD,
                    &other,
                    RenameFlags::RENAME_EXCHANGE,
                );
            }
        };
        Self {
            stop,
            thread: Some(std::thread::spawn(exchange)),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A volume with `directory` and with `link`, which leads to the host's directory.
fn volume(host: &Path) -> Directory {
    let volume = Directory::new();
    fs::create_dir_all(volume.join("directory")).unwrap();
    symlink(host, volume.join("link")).unwrap();
    volume
}

/// Runs the bundle during the exchange. The host's directory and mount table must not change.
fn race(bundle: &Bundle, host: &Directory, swapper: Swapper) {
    let (files, mounts) = (tree(host.path()), mountinfo());
    let mut started = 0;
    let rounds = if is_the_matrix() { 4 * ROUNDS } else { ROUNDS };
    for round in 0..rounds {
        let outcome = bundle.run();
        started += usize::from(outcome.code() == 0);
        assert!(
            !outcome.stdout.contains("host-marker"),
            "round {round}\n{outcome}"
        );
        assert_eq!(tree(host.path()), files, "round {round}");
        assert_eq!(mountinfo(), mounts, "round {round}");
    }
    drop(swapper);
    assert!(
        started > 0,
        "no container has started, so the test proves nothing"
    );
}

fn host() -> Directory {
    let host = Directory::new();
    fs::write(host.join("host-marker"), "").unwrap();
    host
}

/// A bind mount on `/vol/directory/b`, where `directory` is a link to the host half of the time.
fn cve_2021_30465_a_mount_is_made_inside_or_fails() {
    only_rt("Debian's runc leaves empty mount points behind (CVE-2024-45310)");
    let host = host();
    let volume = volume(host.path());
    let secret = Directory::new();
    fs::create_dir(volume.join("directory/b")).unwrap();
    let bundle = Bundle::new()
        .folder("vol")
        .bind(volume.path(), "/vol", &["rbind"])
        .bind(secret.path(), "/vol/directory/b", &["rbind"])
        .sh("ls /vol/directory /vol/link; true");
    let swapper = Swapper::new(volume.join("directory"), volume.join("link"));
    race(&bundle, &host, swapper);
}

/// The mount point must be created in the volume, never at the target of the link.
fn cve_2024_45310_no_mount_point_is_created_outside() {
    only_rt("Debian's runc is vulnerable");
    let host = host();
    let volume = volume(host.path());
    let tmpfs = |place: &str| -> Value {
        json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" })
    };
    let bundle = Bundle::new()
        .folder("vol")
        .bind(volume.path(), "/vol", &["rbind"])
        .mount(tmpfs("/vol/directory/y/z"))
        .args(&["/bin/true"]);
    let swapper = Swapper::new(volume.join("directory"), volume.join("link"));
    race(&bundle, &host, swapper);
}

/// The rootfs itself is on the volume.
fn dev_swapped_for_a_link_changes_nothing_on_the_host() {
    only_rt("Debian's runc creates its links at the target of the link");
    let host = host();
    let bundle = Bundle::new().args(&["/bin/true"]);
    let rootfs = bundle.rootfs();
    symlink(host.path(), rootfs.join("dev.link")).unwrap();
    let before = HostState::of(&bundle);
    let swapper = Swapper::new(rootfs.join("dev"), rootfs.join("dev.link"));
    race(&bundle, &host, swapper);
    assert_eq!(before.mounts(), mountinfo());
}

/// A root whose /proc is exchanged for a link. Its program checks procfs under both names: one file
/// must not be writable, and one must not be readable.
fn with_swapped_proc(bundle: Bundle) -> (Bundle, Swapper) {
    let look = "for place in /proc /proc.link; do /probe device $place/sys/kernel/core_pattern w; \
                /probe stat $place/keys; done";
    let bundle = bundle.folder("elsewhere").sh(look);
    let rootfs = bundle.rootfs();
    symlink("/elsewhere", rootfs.join("proc.link")).unwrap();
    let swapper = Swapper::new(rootfs.join("proc"), rootfs.join("proc.link"));
    (bundle, swapper)
}

#[track_caller]
fn assert_masked_or_refused(bundle: &Bundle, rounds: usize) {
    let mut started = 0;
    for round in 0..rounds {
        let outcome = bundle.run();
        started += usize::from(outcome.code() == 0);
        let output = &outcome.stdout;
        let writable = output.lines().any(|line| line == "ok");
        let readable = output.contains("\"type\":\"file\"");
        assert!(!writable && !readable, "round {round}\n{outcome}");
        if outcome.code() != 0 {
            outcome.one_line();
        }
    }
    assert!(
        started > 0,
        "no container has started, so the test proves nothing"
    );
}

fn proc_swapped_for_a_link_is_masked_or_an_error() {
    only_rt("Debian's runtimes have other races");
    let (bundle, _swapper) = with_swapped_proc(Bundle::new());
    assert_masked_or_refused(&bundle, 50);
}

fn proc_swapped_for_a_link_while_hooks_run_is_masked_or_an_error() {
    only_rt("Debian's runtimes have other races");
    let hooks = json!({ "createRuntime": [{ "path": "/bin/true" }] });
    let (bundle, _swapper) = with_swapped_proc(Bundle::new().set("/hooks", hooks));
    assert_masked_or_refused(&bundle, 25);
}

/// A hook renames the directory, with the mount on it, and puts a link in its place.
#[track_caller]
fn assert_replaced_is_refused(name: &str, link: &str) {
    let bundle = Bundle::new().folder("elsewhere");
    let rootfs = bundle.rootfs();
    let (place, moved) = (rootfs.join(name), rootfs.join("moved"));
    let script = format!(
        "mv {} {} && ln -s {link} {}",
        place.display(),
        moved.display(),
        place.display()
    );
    let hook = json!({
        "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"],
    });
    let bundle = bundle
        .set("/hooks", json!({ "createRuntime": [hook] }))
        .args(&["/bin/true"]);
    let outcome = bundle.run().assert_refused("mounts[");
    let line = outcome.one_line();
    assert!(
        line.ends_with(&format!(" on /{name}: another process has replaced it")),
        "{line}"
    );
}

fn proc_replaced_by_a_link_is_an_error() {
    only_rt("Debian's runtimes mask the target of the link");
    assert_replaced_is_refused("proc", "/elsewhere");
    assert_replaced_is_refused("proc", "/moved");
}

fn sys_replaced_by_a_link_is_an_error() {
    only_rt("Debian's runtimes mask the target of the link");
    assert_replaced_is_refused("sys", "/elsewhere");
}
