//! A systemd of the tests' own: PID 1 of namespaces, with cgroups of its own, that can change no file of the host.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::reap;
use super::{
    Bundle, Call, Directory, Kind, needs, on_overlay, on_v2, remove_cgroup, skip, wait_until,
};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Which cgroups the systemd finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// cgroup v2 alone, with the few controllers that no v1 hierarchy of the host took.
    V2,
    /// v1 with all its controllers, and v2 without any.
    Hybrid,
}

/// The systemd. It sees the bundle that it was started for.
pub(crate) struct SystemdHost {
    unshare: Child,
    pid: i32,
    cgroup: String,
    home: Directory,
    calls: Cell<u32>,
}

impl SystemdHost {
    pub(crate) fn start(layout: CgroupLayout, bundle: &Bundle) -> Self {
        needs("systemctl", "systemd");
        if layout == CgroupLayout::Hybrid && on_v2() {
            skip("this host has cgroup v2 alone");
        }
        let home = Directory::new();
        if on_overlay(home.path()) {
            skip("an overlay cannot be mounted on the overlay of the host");
        }
        bundle.write();
        fs::copy(Kind::under_test().program(), home.join("program")).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("rt-suite-systemd-{}-{number}", std::process::id());
        let name = match layout {
            CgroupLayout::V2 => "v2",
            CgroupLayout::Hybrid => "hybrid",
        };
        let log = File::create(home.join("log")).unwrap();
        let unshare = Command::new("sh")
            .args(["-c", include_str!("systemd_outer.sh"), "sh"])
            .args([include_str!("systemd_inner.sh"), name, &cgroup])
            .arg(home.join("root"))
            .args([home.path(), bundle.path(), bundle.runtime().home()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self {
            unshare,
            pid: 0,
            cgroup,
            home,
            calls: Cell::new(0),
        };
        wait_until("systemd", || {
            if let Some(status) = started.unshare.try_wait().unwrap() {
                let log = fs::read_to_string(started.home.join("log"));
                panic!("systemd: {status}: {}", log.unwrap_or_default());
            }
            started.pid = started.child();
            let socket = format!("/proc/{}/root/run/systemd/private", started.pid);
            started.pid != 0 && Path::new(&socket).exists()
        });
        started
    }

    /// The pid of systemd, once `unshare` has made it.
    fn child(&self) -> i32 {
        let own = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let first = children.split_whitespace().next();
        first.and_then(|pid| pid.parse().ok()).unwrap_or(0)
    }

    /// A command line in the namespaces of systemd.
    pub(crate) fn call(&self, command_line: &[&str]) -> Call {
        let mut command = Command::new("nsenter");
        command.args(["-a", "-t", &self.pid.to_string()]);
        command.args(command_line);
        let number = self.calls.get();
        self.calls.set(number + 1);
        Call::new(command, self.home.join(&format!("call-{number}.out")))
    }

    /// The runtime, with the systemd driver.
    pub(crate) fn runtime(&self, args: &[&str]) -> Call {
        self.runtime_through(&[], args)
    }

    /// The same through a program that starts it.
    pub(crate) fn runtime_through(&self, before: &[&str], args: &[&str]) -> Call {
        let program = self.home.join("program");
        let program = program.to_str().unwrap();
        let globals = [program, "--root", "/run/rt-suite", "--systemd-cgroup"];
        self.call(&[before, &globals, args].concat())
    }

    /// The value of a unit's property, as systemctl shows it.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.call(&["systemctl", "show", "--value", "-p", name, unit]);
        shown.run().assert_ok().stdout.trim().to_owned()
    }

    /// The text of a file of cgroups: `memory/system.slice/..`.
    pub(crate) fn cgroup_file(&self, path: &str) -> String {
        let path = format!("/proc/{}/root/sys/fs/cgroup/{path}", self.pid);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        text.trim().to_owned()
    }

    /// Units and cgroups whose names contain `text`.
    pub(crate) fn traces_of(&self, text: &str) -> String {
        let script = format!(
            "systemctl list-units --all --plain --no-legend '*{text}*'; find /sys/fs/cgroup -name '*{text}*'"
        );
        self.call(&["sh", "-c", &script]).run().assert_ok().stdout
    }
}

impl Drop for SystemdHost {
    fn drop(&mut self) {
        // With PID 1 the kernel kills all processes of its namespace.
        if self.pid > 1 {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        } else {
            let _ = self.unshare.kill();
        }
        let _ = self.unshare.wait();
        reap(self.pid);
        remove_cgroup(&self.cgroup);
    }
}
