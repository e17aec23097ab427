//! A daemon with everything of its own, and the image in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{BUSYBOX, Task, archive};
use crate::command::{self, CommandOutput};
use crate::environment::{Daemon, Directory, Runtime};
use crate::{cgroups, cri, image};

/// How many daemons have been started.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

/// Ended, with what is in it, when it is dropped.
pub(crate) struct Containerd {
    pub(crate) runtime: Runtime,
    pub(crate) cri: Option<cri::Client>,
    /// Ends before the directory goes.
    daemon: Daemon,
    network: u8,
    name: String,
    directory: Directory,
}

impl Containerd {
    /// Starts one; `name` tells it from others of this run.
    pub(crate) fn start(runtime: Runtime, name: &str) -> Containerd {
        let directory = Directory::new(&format!("ctd-{name}"));
        let config = directory.join("config.toml");
        fs::write(&config, Self::config(runtime, directory.path())).unwrap();
        let network = NETWORKS.fetch_add(1, Ordering::Relaxed);
        cri::write_network(directory.path(), network);
        let daemon = Self::daemon(directory.path());
        let containerd = Containerd {
            runtime,
            cri: None,
            daemon,
            network,
            name: format!("rt-{}-{name}", std::process::id()),
            directory,
        };
        containerd.wait();
        let layer = image::busybox_archive(containerd.path());
        let config = json!({ "Env": ["PATH=/bin", "IMAGE=yes"], "Cmd": ["/bin/sleep", "1000000"] });
        for namespace in [containerd.namespace(), "k8s.io"] {
            containerd.import(namespace, BUSYBOX, &layer, &config);
        }
        containerd
    }

    /// The configuration of docs/containerd.md, to the letter but for the names. What comes
    /// before keeps the daemon to itself; OOM scores and AppArmor are not for every machine.
    fn config(runtime: Runtime, directory: &Path) -> String {
        let (name, path) = (runtime.name(), runtime.path().display().to_string());
        let page = include_str!("../../../docs/containerd.md");
        let documented = page
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let documented = documented.expect("a configuration in the page");
        let documented = documented.replace("/usr/local/bin/rt", &path);
        let documented = documented.replace("runtimes.rt", &format!("runtimes.{name}"));
        let documented = documented.replace("\"rt\"", &format!("\"{name}\""));
        let own = Self::own_config(directory);
        documented.replacen("version = 2\n", &format!("version = 2\n{own}"), 1)
    }

    fn own_config(directory: &Path) -> String {
        let directory = directory.display();
        format!(
            r#"root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{directory}/sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{directory}/cni"
"#
        )
    }

    /// With a mount namespace whose mounts may be shared with containers.
    fn daemon(directory: &Path) -> Daemon {
        let script = "mount --make-rshared / && exec containerd --config $0";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(directory.join("config.toml"));
        Daemon::start(&command, directory.join("log"))
    }

    /// Until it answers.
    fn wait(&self) {
        for _ in 0..300 {
            if self.socket().exists() && self.ctr(&["version"]).status == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("containerd does not answer: {}", self.daemon.log());
    }

    /// Ends the daemon, at once if it is to be a surprise. What runs in it goes on.
    pub(crate) fn stop(&mut self, at_once: bool) {
        if !at_once {
            let _ = kill(
                Pid::from_raw(self.daemon.pid().cast_signed()),
                Signal::SIGTERM,
            );
            command::wait_until("containerd ends", 20, || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", self.daemon.pid()));
                stat.is_ok_and(|stat| stat.contains(") Z "))
            });
        }
        self.daemon.kill();
    }

    /// Starts the daemon again.
    pub(crate) fn restart(&mut self) {
        self.daemon = Self::daemon(self.directory.path());
        self.wait();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for one feature, empty.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.join("scratch").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// The namespace of what ctr makes, which is the parent of its cgroups too.
    pub(crate) fn namespace(&self) -> &str {
        &self.name
    }

    /// Where the runtime keeps what ctr makes.
    pub(crate) fn runtime_root(&self) -> PathBuf {
        Path::new("/run/containerd/runc").join(&self.name)
    }

    /// The socket of a shim, which one that is killed leaves behind.
    pub(crate) fn shim_socket(&self, id: &str) -> PathBuf {
        let tasks = self.directory.join("state/io.containerd.runtime.v2.task");
        let address = tasks.join(&self.name).join(id).join("address");
        let address = fs::read_to_string(address).unwrap();
        address.strip_prefix("unix://").unwrap().into()
    }

    /// The containers that the runtime knows of.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut list = Command::new(self.runtime.path());
        list.arg("--root")
            .arg(self.runtime_root())
            .args(["list", "-q"]);
        command::run(&mut list)
            .ok()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Makes an image of one layer known in a namespace; `k8s.io` is the CRI's.
    pub(crate) fn import(&self, namespace: &str, name: &str, layer: &Path, config: &Value) {
        let directory = self.scratch(&name.replace('/', "-"));
        let archive = archive::make(&directory, name, layer, config);
        let mut import = self.command(namespace);
        command::run(import.args(["image", "import"]).arg(&archive)).ok();
        let _ = fs::remove_dir_all(&directory);
    }

    fn command(&self, namespace: &str) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("-a").arg(self.socket()).args(["-n", namespace]);
        ctr
    }

    pub(crate) fn ctr_command(&self, args: &[&str]) -> Command {
        let mut ctr = self.command(self.namespace());
        ctr.args(args);
        ctr
    }

    pub(crate) fn ctr(&self, args: &[&str]) -> CommandOutput {
        command::run(&mut self.ctr_command(args))
    }

    /// `ctr run` with this runtime and image.
    pub(crate) fn run_command(&self, id: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut run = self.ctr_command(&["run", "--runc-binary"]);
        run.arg(self.runtime.path()).args(flags);
        run.args([BUSYBOX, id]).args(args);
        run
    }

    /// Runs a container to its end, and removes it. It lingers: ctr loses now and then what
    /// a process writes that ends before ctr has begun to read, with any runtime.
    pub(crate) fn run(&self, id: &str, flags: &[&str], args: &[&str]) -> CommandOutput {
        const LINGER: &str = r#""$@"; status=$?; sleep 0.3; exit $status"#;
        let flags = [&["--rm"], flags].concat();
        let args = [&["sh", "-c", LINGER, "sh"], args].concat();
        command::run(&mut self.run_command(id, &flags, &args))
    }

    /// Standard output of a shell script in a container, which must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, id: &str, flags: &[&str], script: &str) -> String {
        self.run(id, flags, &["sh", "-c", script]).ok()
    }

    /// A container that goes on.
    #[track_caller]
    pub(crate) fn task(&self, id: &str, flags: &[&str], args: &[&str]) -> Task<'_> {
        let flags = [&["--detach"], flags].concat();
        command::run(&mut self.run_command(id, &flags, args)).ok();
        Task::of(self, id)
    }

    /// The processes of its shims.
    pub(crate) fn shims(&self, id: &str) -> Vec<Pid> {
        let socket = self.socket().display().to_string();
        let mut shims = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let args: Vec<&str> = line.split('\0').collect();
            let is_shim = args[0].contains("containerd-shim");
            let fits = id.is_empty() || args.contains(&id);
            if is_shim && fits && args.contains(&socket.as_str()) {
                let pid = process.file_name().to_string_lossy().parse();
                shims.extend(pid.ok().map(Pid::from_raw));
            }
        }
        shims
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // What features that have failed may have left.
        for namespace in [self.namespace(), "k8s.io"] {
            let left = command::run_cleanup(self.command(namespace).args(["task", "ls", "-q"]));
            for id in left.stdout.lines() {
                command::run_cleanup(self.command(namespace).args(["task", "delete", "-f", id]));
            }
        }
        for shim in self.shims("") {
            let _ = kill(shim, Signal::SIGKILL);
        }
        cri::remove_network(self.network);
        for parent in [self.namespace(), &cri::cgroup(self.namespace())] {
            cgroups::remove(parent);
        }
        let _ = fs::remove_dir(self.runtime_root());
    }
}
