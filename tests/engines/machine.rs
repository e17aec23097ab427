//! A machine of its own for a daemon: processes, network, mounts and host name. Whatever the
//! daemon starts ends with it, however this program ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::call;
use crate::ground::Daemon;

/// What it does first. Its /run is empty, no file of /etc/docker is read or written, and the
/// user `daemon` has ids to give away. Mounts are shared, as systemd has them. Its first process, this shell, collects what is left behind.
const SETUP: &str = r#"
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    mkdir -p /etc/docker
    mount -t tmpfs tmpfs /etc/docker
    echo daemon:3000000:65536 > /run/ids
    touch /etc/subuid /etc/subgid
    mount --bind /run/ids /etc/subuid
    mount --bind /run/ids /etc/subgid
    ip link set lo up
    hostname "$0"
    echo ready
    while :; do sleep 1000 & wait; done
"#;

pub(crate) struct Machine {
    /// unshare(1), with which the machine's first process dies.
    holder: Daemon,
    /// The first process, as it is numbered here.
    init: String,
}

impl Machine {
    /// Starts one with this host name, and a log beside it in `directory`.
    pub(crate) fn start(name: &str, directory: &Path) -> Machine {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--pid", "--uts"]);
        unshare.args(["--fork", "--kill-child", "--mount-proc"]);
        unshare.args(["sh", "-ec", SETUP, name]);
        let holder = Daemon::start(&unshare, directory.join(format!("{name}.log")));
        call::wait_until("the machine is set up", 20, || holder.said() == "ready\n");
        let pid = holder.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let init = children.trim().to_owned();
        Machine { holder, init }
    }

    /// A program, in the machine.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init]);
        nsenter.args(["--net", "--mount", "--pid", "--uts", "--", program]);
        nsenter
    }

    /// What a shell in the machine says to a script, which must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        call::run(self.command("sh").args(["-ec", script])).ok()
    }

    /// Its first process, by which its namespaces are found.
    pub(crate) fn init(&self) -> &str {
        &self.init
    }

    /// All that runs on it ends at once.
    pub(crate) fn end(&mut self) {
        // unshare(1) does not let itself be asked.
        self.holder.kill();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
    }
}
