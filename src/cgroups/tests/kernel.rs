//! Creating, killing and removing cgroups on the real host, as root: in all v1 hierarchies, and
//! in the v2 hierarchy that may be beside them.

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

/// The host and, where v2 is mounted beside v1, the same host as one with v2 alone. Empty
/// without root.
fn hosts() -> Vec<Host> {
    if !geteuid().is_root() {
        return vec![];
    }
    let probed = Host::probe(&Proc::open().unwrap()).unwrap();
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    let as_v2 = hybrid.then(|| v2("/sys/fs/cgroup/unified", "/"));
    std::iter::once(probed).chain(as_v2).collect()
}

fn is_v1(host: &Host) -> bool {
    matches!(host.cgroups, CgroupLayout::V1 { .. })
}

/// A path that no other test uses.
fn path(test: &str) -> String {
    format!("/rt-test-{}-{test}", std::process::id())
}

fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

/// A process in the cgroups of the test, which reads a line and then runs `script`.
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

/// Moves `child` into the cgroups, also where a first process would be created in them, and
/// sends it its line.
fn enter(created: &mut CreatedCgroups, cgroups: &Cgroups, child: &mut Child) {
    created.add_process(pid(child)).unwrap();
    if created.clone_into().is_some() {
        fs::write(
            cgroups.paths()[""].join("cgroup.procs"),
            child.id().to_string(),
        )
        .unwrap();
    }
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

fn existing(cgroups: &Cgroups, created: &CreatedCgroups) -> ExistingCgroups {
    ExistingCgroups::new(cgroups.paths(), created.created().to_vec())
}

fn exists(cgroups: &Cgroups) -> bool {
    cgroups.paths().values().any(|path| path.exists())
}

#[test]
fn a_process_is_listed_in_its_cgroups_and_killed() {
    for host in hosts() {
        let cgroups = plan(&format!("{}/a/b", path("listed")), "{}", &host).unwrap();
        let mut created = cgroups.wire().unwrap();
        let existing = existing(&cgroups, &created);
        assert_eq!(existing.processes().unwrap(), []);
        let mut child = shell("sleep 1000 & wait");
        enter(&mut created, &cgroups, &mut child);
        assert!(existing.processes().unwrap().contains(&pid(&child)));
        assert!(!existing.is_paused());
        let busy = chain(
            &plan(&format!("{}/a/b", path("listed")), "{}", &host)
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
        // The processes may not be gone yet. `remove` waits for them.
        existing.remove().unwrap();
        child.wait().unwrap();
        assert!(!exists(&cgroups));
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
fn removal_names_a_process_that_stays() {
    for host in hosts() {
        let cgroups = plan(&path("stays"), "{}", &host).unwrap();
        let mut created = cgroups.wire().unwrap();
        let mut child = shell("sleep 1000");
        enter(&mut created, &cgroups, &mut child);
        let before = Instant::now();
        let error = created.undo().unwrap_err();
        assert!(before.elapsed() >= std::time::Duration::from_secs(2));
        assert_eq!(error.root_cause().downcast_ref(), Some(&Errno::EBUSY));
        let pids = existing(&cgroups, &created).processes().unwrap();
        let message = chain(&error);
        assert!(
            pids.iter()
                .any(|pid| message.contains(&format!("process {pid} ("))
                    && message.contains(" in it")),
            "{message}"
        );
        existing(&cgroups, &created).kill(libc::SIGKILL).unwrap();
        created.undo().unwrap();
        child.wait().unwrap();
        assert!(!exists(&cgroups));
    }
}

#[test]
fn without_v2_removal_waits_for_the_end_of_the_processes() {
    for host in hosts().iter().filter(|host| is_v1(host)) {
        let cgroups = plan(&path("ends"), "{}", host).unwrap();
        let mut created = cgroups.wire().unwrap();
        let mut child = shell("sleep 1000 & sleep 1000 & wait");
        enter(&mut created, &cgroups, &mut child);
        let all = existing(&cgroups, &created);
        let mut paths = cgroups.paths();
        let unified = paths.remove("");
        let is_v1 = |path: &PathBuf| unified.as_ref() != Some(path);
        let own = created.created().iter().filter(|path| is_v1(path));
        let v1 = ExistingCgroups::new(paths, own.cloned().collect());
        all.kill(libc::SIGKILL).unwrap();
        v1.remove().unwrap();
        assert!(!v1.exists());
        all.remove().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn no_process_escapes_sigkill_by_forking() {
    for host in hosts() {
        let cgroups = plan(&path("fork"), "{}", &host).unwrap();
        let mut created = cgroups.wire().unwrap();
        let existing = existing(&cgroups, &created);
        let mut child = shell("f() { sleep 0.01 & }; while :; do f; f; f; f; wait; done");
        enter(&mut created, &cgroups, &mut child);
        std::thread::sleep(std::time::Duration::from_millis(200));
        existing.kill(libc::SIGKILL).unwrap();
        existing.remove().unwrap();
        child.wait().unwrap();
        assert!(!exists(&cgroups));
    }
}

#[test]
fn a_process_is_created_in_its_cgroup() {
    for host in hosts().iter().filter(|host| !is_v1(host)) {
        let cgroups = plan(&path("clone"), "{}", host).unwrap();
        let created = cgroups.wire().unwrap();
        let child = match sys::clone3(CloneFlags::empty(), created.clone_into()).unwrap() {
            Cloned::Parent { pid, .. } => pid,
            Cloned::Child => loop {
                pause();
            },
        };
        assert_eq!(existing(&cgroups, &created).processes().unwrap(), [child]);
        existing(&cgroups, &created).kill(libc::SIGTERM).unwrap();
        waitpid(child, None).unwrap();
        created.undo().unwrap();
        assert!(!exists(&cgroups));
    }
}

#[test]
fn an_existing_empty_cgroup_is_used_and_not_removed() {
    for host in hosts() {
        let cgroups = plan(&path("empty"), "{}", &host).unwrap();
        let first = cgroups.wire().unwrap();
        let second = cgroups.wire().unwrap();
        assert_eq!(second.created(), [] as [PathBuf; 0]);
        second.undo().unwrap();
        assert!(exists(&cgroups));
        // A container in a frozen cgroup would never run.
        for (name, file, value) in [
            ("", "cgroup.freeze", "1"),
            ("freezer", "freezer.state", "FROZEN"),
        ] {
            if let Some(path) = cgroups.paths().get(name) {
                fs::write(path.join(file), value).unwrap();
            }
        }
        assert!(existing(&cgroups, &first).is_paused());
        let error = chain(&cgroups.wire().err().unwrap());
        assert_eq!(
            error,
            "linux.cgroupsPath: container's cgroup unexpectedly frozen"
        );
        first.undo().unwrap();
        assert!(!exists(&cgroups));
    }
}

#[test]
fn cgroups_that_the_container_made_are_removed() {
    for host in hosts() {
        let cgroups = plan(&path("below"), "{}", &host).unwrap();
        let created = cgroups.wire().unwrap();
        // Longer than PATH_MAX, and deeper than the usual limit on descriptors.
        let cgroup = cgroups.paths().into_values().next().unwrap();
        let mut current = crate::cgroups::directory::Directory::open(&cgroup).unwrap();
        let name = "d".repeat(100);
        for _ in 0..1100 {
            if current.make(Path::new(&name)).is_err() {
                break;
            }
            current.make(Path::new("sibling")).unwrap();
            current = current.below(Path::new(&name)).unwrap();
        }
        drop(current);
        created.undo().unwrap();
        assert!(!exists(&cgroups));
    }
}

#[test]
fn containers_with_a_common_parent_do_not_disturb_each_other() {
    for host in hosts() {
        let parent = path("race");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (parent, host) = (&parent, &host);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let cgroups = plan(&format!("{parent}/x/{thread}"), "{}", host).unwrap();
                        cgroups.wire().unwrap().undo().unwrap();
                        assert!(!exists(&cgroups));
                    }
                });
            }
        });
        // A runtime removes the parents that it made, but not when another container still uses
        // them. So they may remain.
        let remaining = plan(&format!("{parent}/x/0"), "{}", &host).unwrap().paths();
        for path in remaining
            .values()
            .flat_map(|path| path.ancestors().skip(1).take(2))
        {
            // Another test may still use a common parent, or have removed it.
            let _ = fs::remove_dir(path);
        }
    }
}

/// A container must not inherit a descriptor of the host.
#[test]
fn descriptors_are_close_on_exec() {
    for host in hosts().iter().filter(|host| !is_v1(host)) {
        let created = plan(&path("cloexec"), "{}", host).unwrap().wire().unwrap();
        let flags = nix::fcntl::fcntl(created.clone_into().unwrap(), nix::fcntl::FcntlArg::F_GETFD)
            .unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        created.undo().unwrap();
    }
}
