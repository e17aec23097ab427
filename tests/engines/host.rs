//! The host of a daemon. An isolated host has pid, network, mount and UTS namespaces of its own. All processes in it
//! are killed when this program ends, for whatever reason.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::environment::Daemon;

/// The script of its init process. It gives the host an empty /run and /etc/docker, subordinate ids for the user
/// `daemon`, and shared mount propagation, as systemd does. Then the shell stays as init and reaps orphans.
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

/// A host. Dropping it kills all processes in its namespaces.
pub(crate) struct Host {
    /// unshare(1), started with `--kill-child`: the init process dies with it. Without it, this is the host of this
    /// program.
    unshare: Option<Daemon>,
    /// The pid of the init process, in the namespace of this program.
    init: String,
}

impl Host {
    /// The host of this program.
    pub(crate) fn this() -> Host {
        let init = "1".to_owned();
        Host {
            unshare: None,
            init,
        }
    }

    /// Starts an isolated host with the host name `name`, and writes its log to `directory`.
    pub(crate) fn start(name: &str, directory: &Path) -> Host {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--uts"]);
        command.args(["--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-ec", SETUP, name]);
        let unshare = Daemon::start(&command, directory.join(format!("{name}.log")));
        command::wait_until("the host is set up", 20, || unshare.log() == "ready\n");
        let pid = unshare.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let init = children.trim().to_owned();
        let unshare = Some(unshare);
        Host { unshare, init }
    }

    /// A command that runs `program` on this host.
    pub(crate) fn command(&self, program: &str) -> Command {
        if self.unshare.is_none() {
            return Command::new(program);
        }
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init]);
        nsenter.args(["--net", "--mount", "--pid", "--uts", "--", program]);
        nsenter
    }

    /// Runs a shell script on this host and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        command::run(self.command("sh").args(["-ec", script])).ok()
    }

    /// The pid of its init process, whose namespaces nsenter(1) can join.
    pub(crate) fn init(&self) -> &str {
        &self.init
    }

    /// Kills all processes of an isolated host.
    pub(crate) fn kill(&mut self) {
        if let Some(unshare) = &mut self.unshare {
            // unshare(1) ignores SIGTERM while it waits for its child.
            unshare.kill();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}
