//! The four verbs on the real machine, as root: every tree of version 1, and
//! the one of version 2 that may stand beside them.

mod limits;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, geteuid, pause};

use super::*;
use crate::sys::{self, Cloned};
use crate::trusted_proc::Proc;

/// The real trees to test on; none when that takes rights that are not there.
fn machines() -> Vec<Host> {
    if !geteuid().is_root() {
        return vec![];
    }
    let probed = Host::probe(&Proc::open().unwrap()).unwrap();
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    let beside = hybrid.then(|| v2("/sys/fs/cgroup/unified", "/"));
    std::iter::once(probed).chain(beside).collect()
}

fn is_v1(host: &Host) -> bool {
    matches!(host.cgroups, CgroupLayout::V1 { .. })
}

/// A path of its own for each test, below a parent that no other test has.
fn path(test: &str) -> String {
    format!("/rt-test-{}-{test}", std::process::id())
}

fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

/// A process outside, which waits for a line and then goes on.
#[allow(
    clippy::disallowed_methods,
    reason = "no container to run the shell in"
)]
fn shell(script: &str) -> Child {
    Command::new("/bin/sh")
        .args(["-c", &format!("read line; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Brings `child` into the cgroups, wherever it was born, and lets it go on.
fn enter(wired: &mut Wired, cgroups: &Cgroups, child: &mut Child) {
    wired.admit(pid(child)).unwrap();
    if wired.clone_into().is_some() {
        fs::write(
            cgroups.paths()[""].join("cgroup.procs"),
            child.id().to_string(),
        )
        .unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

fn existing(cgroups: &Cgroups, wired: &Wired) -> Existing {
    Existing::new(cgroups.paths(), wired.created().to_vec())
}

fn is_left(cgroups: &Cgroups) -> bool {
    cgroups.paths().values().any(|path| path.exists())
}

#[test]
fn a_process_lives_and_dies_in_its_cgroups() {
    for host in machines() {
        let cgroups = plan(&format!("{}/a/b", path("life")), "{}", &host).unwrap();
        let mut wired = cgroups.wire().unwrap();
        let existing = existing(&cgroups, &wired);
        assert_eq!(existing.processes().unwrap(), []);
        let mut child = shell("sleep 1000 & wait");
        enter(&mut wired, &cgroups, &mut child);
        assert!(existing.processes().unwrap().contains(&pid(&child)));
        assert!(!existing.frozen());
        let busy = chain(
            &plan(&format!("{}/a/b", path("life")), "{}", &host)
                .unwrap()
                .wire()
                .err()
                .unwrap(),
        );
        assert!(
            busy.starts_with("linux.cgroupsPath: container's cgroup is not empty: "),
            "{busy}"
        );
        existing.kill(libc::SIGKILL).unwrap();
        // Nobody waited for them to be gone: that is for remove to do.
        existing.remove().unwrap();
        child.wait().unwrap();
        assert!(!is_left(&cgroups));
        assert!(
            !cgroups
                .paths()
                .values()
                .any(|path| path.parent().unwrap().exists())
        );
        assert_eq!(existing.processes().unwrap(), []);
        existing.kill(libc::SIGKILL).unwrap();
        existing.remove().unwrap();
    }
}

#[test]
fn removal_names_who_stays() {
    for host in machines() {
        let cgroups = plan(&path("stays"), "{}", &host).unwrap();
        let mut wired = cgroups.wire().unwrap();
        let mut child = shell("sleep 1000");
        enter(&mut wired, &cgroups, &mut child);
        let before = Instant::now();
        let error = wired.undo().unwrap_err();
        assert!(before.elapsed() >= std::time::Duration::from_secs(2));
        assert_eq!(error.root_cause().downcast_ref(), Some(&Errno::EBUSY));
        let pids = existing(&cgroups, &wired).processes().unwrap();
        let message = chain(&error);
        assert!(
            pids.iter()
                .any(|pid| message.contains(&format!("process {pid} is in it"))),
            "{message}"
        );
        existing(&cgroups, &wired).kill(libc::SIGKILL).unwrap();
        wired.undo().unwrap();
        child.wait().unwrap();
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn nobody_escapes_by_forking() {
    for host in machines() {
        let cgroups = plan(&path("fork"), "{}", &host).unwrap();
        let mut wired = cgroups.wire().unwrap();
        let existing = existing(&cgroups, &wired);
        let mut child = shell("f() { sleep 0.01 & }; while :; do f; f; f; f; wait; done");
        enter(&mut wired, &cgroups, &mut child);
        std::thread::sleep(std::time::Duration::from_millis(200));
        existing.kill(libc::SIGKILL).unwrap();
        existing.remove().unwrap();
        child.wait().unwrap();
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn a_process_is_born_in_its_cgroup() {
    for host in machines().iter().filter(|host| !is_v1(host)) {
        let cgroups = plan(&path("birth"), "{}", host).unwrap();
        let wired = cgroups.wire().unwrap();
        let child = match sys::clone3(CloneFlags::empty(), wired.clone_into()).unwrap() {
            Cloned::Runtime { pid, .. } => pid,
            Cloned::Init => loop {
                pause();
            },
        };
        assert_eq!(existing(&cgroups, &wired).processes().unwrap(), [child]);
        existing(&cgroups, &wired).kill(libc::SIGTERM).unwrap();
        waitpid(child, None).unwrap();
        wired.undo().unwrap();
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn an_empty_cgroup_is_used_and_not_ours() {
    for host in machines() {
        let cgroups = plan(&path("empty"), "{}", &host).unwrap();
        let first = cgroups.wire().unwrap();
        let second = cgroups.wire().unwrap();
        assert_eq!(second.created(), [] as [PathBuf; 0]);
        second.undo().unwrap();
        assert!(is_left(&cgroups));
        // Frozen, it would hold the container still for ever.
        for (name, file, value) in [
            ("", "cgroup.freeze", "1"),
            ("freezer", "freezer.state", "FROZEN"),
        ] {
            if let Some(path) = cgroups.paths().get(name) {
                fs::write(path.join(file), value).unwrap();
            }
        }
        assert!(existing(&cgroups, &first).frozen());
        let error = chain(&cgroups.wire().err().unwrap());
        assert_eq!(
            error,
            "linux.cgroupsPath: container's cgroup unexpectedly frozen"
        );
        first.undo().unwrap();
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn what_the_container_made_below_goes_too() {
    for host in machines() {
        let cgroups = plan(&path("below"), "{}", &host).unwrap();
        let wired = cgroups.wire().unwrap();
        // Deeper than the longest path and than the usual limit on descriptors.
        let leaf = cgroups.paths().into_values().next().unwrap();
        let mut at = crate::cgroups::directory::Directory::open(&leaf).unwrap();
        let name = "d".repeat(100);
        for _ in 0..1100 {
            if at.make(Path::new(&name)).is_err() {
                break;
            }
            at.make(Path::new("sibling")).unwrap();
            at = at.below(Path::new(&name)).unwrap();
        }
        drop(at);
        wired.undo().unwrap();
        assert!(!is_left(&cgroups));
    }
}

#[test]
fn containers_with_a_common_parent_do_not_disturb_each_other() {
    for host in machines() {
        let parent = path("race");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (parent, host) = (&parent, &host);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let cgroups = plan(&format!("{parent}/x/{thread}"), "{}", host).unwrap();
                        cgroups.wire().unwrap().undo().unwrap();
                        assert!(!is_left(&cgroups));
                    }
                });
            }
        });
        // Whoever made a parent may have gone before the last to use it.
        let left = plan(&format!("{parent}/x/0"), "{}", &host).unwrap().paths();
        for path in left
            .values()
            .flat_map(|path| path.ancestors().skip(1).take(2))
        {
            // Most have gone with the last to use them.
            let _ = fs::remove_dir(path);
        }
    }
}

/// A descriptor must not outlive the exec of a container's process.
#[test]
fn descriptors_are_close_on_exec() {
    for host in machines().iter().filter(|host| !is_v1(host)) {
        let wired = plan(&path("cloexec"), "{}", host).unwrap().wire().unwrap();
        let flags =
            nix::fcntl::fcntl(wired.clone_into().unwrap(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        wired.undo().unwrap();
    }
}
