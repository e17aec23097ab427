//! A containerd daemon with its own directories, network and images.

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

/// The number of daemons started so far, which numbers their networks.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

/// A daemon. Dropping it ends the daemon and its containers.
pub(crate) struct Containerd {
    pub(crate) runtime: Runtime,
    pub(crate) cri: Option<cri::Client>,
    /// The process, unless the daemon is the installed service. Declared before `directory`, so that it is dropped
    /// first.
    daemon: Option<Daemon>,
    network: u8,
    name: String,
    directory: Directory,
    is_installed: bool,
}

impl Containerd {
    /// Starts a daemon. `name` is unique in this run.
    pub(crate) fn start(runtime: Runtime, name: &str) -> Containerd {
        let directory = Directory::new(&format!("ctd-{name}"));
        let config = directory.join("config.toml");
        fs::write(&config, Self::config(runtime, directory.path())).unwrap();
        let network = NETWORKS.fetch_add(1, Ordering::Relaxed);
        cri::write_network(directory.path(), network);
        let daemon = Self::start_process(directory.path());
        let containerd = Containerd {
            runtime,
            cri: None,
            daemon: Some(daemon),
            network,
            name: format!("rt-{}-{name}", std::process::id()),
            directory,
            is_installed: false,
        };
        containerd.wait();
        containerd.import_busybox(&[containerd.namespace(), "k8s.io"]);
        containerd
    }

    /// The installed service, which runs.
    pub(crate) fn installed(runtime: Runtime) -> Containerd {
        let directory = Directory::new("ctd");
        std::os::unix::fs::symlink("/run/containerd/containerd.sock", directory.join("sock"))
            .unwrap();
        let containerd = Containerd {
            runtime,
            cri: None,
            daemon: None,
            network: 0,
            name: "rt".to_owned(),
            directory,
            is_installed: true,
        };
        containerd.import_busybox(&[containerd.namespace(), "k8s.io"]);
        containerd
    }

    fn import_busybox(&self, namespaces: &[&str]) {
        let layer = image::busybox_archive(self.path());
        let config = json!({ "Env": ["PATH=/bin", "IMAGE=yes"], "Cmd": ["/bin/sleep", "1000000"] });
        for namespace in namespaces {
            self.import(namespace, BUSYBOX, &layer, &config);
        }
    }

    /// The configuration that docs/containerd.md documents, with the runtime's name and path replaced. The settings
    /// before it isolate the daemon from others, and turn off what not every host supports: lower OOM scores and
    /// AppArmor.
    fn config(runtime: Runtime, directory: &Path) -> String {
        Self::documented_config(runtime, &Self::own_config(directory))
    }

    /// The configuration that docs/containerd.md documents, with settings before its tables.
    pub(crate) fn documented_config(runtime: Runtime, settings: &str) -> String {
        let (name, path) = (runtime.name(), runtime.path().display().to_string());
        let documentation = include_str!("../../../docs/containerd.md");
        let documented = documentation
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let documented = documented.expect("no configuration in the documentation");
        let documented = documented.replace("/usr/local/bin/rt", &path);
        let documented = documented.replace("runtimes.rt", &format!("runtimes.{name}"));
        let documented = documented.replace("\"rt\"", &format!("\"{name}\""));
        documented.replacen("version = 2\n", &format!("version = 2\n{settings}"), 1)
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

    /// Starts the process in a mount namespace with shared propagation, which bidirectional mounts need.
    fn start_process(directory: &Path) -> Daemon {
        let script = "mount --make-rshared / && exec containerd --config $0";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(directory.join("config.toml"));
        Daemon::start(&command, directory.join("log"))
    }

    /// Waits until the daemon answers.
    fn wait(&self) {
        for _ in 0..300 {
            if self.socket().exists() && self.ctr(&["version"]).status == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        panic!("containerd does not answer: {log}");
    }

    /// Ends the daemon with SIGTERM, or with SIGKILL if `kill_daemon`. Its containers keep running.
    pub(crate) fn stop(&mut self, kill_daemon: bool) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        if !kill_daemon {
            let pid = daemon.pid();
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
            command::wait_until("containerd ends", 20, || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.is_ok_and(|stat| stat.contains(") Z "))
            });
        }
        daemon.kill();
    }

    /// Starts the daemon again after [`Self::stop`].
    pub(crate) fn restart(&mut self) {
        self.daemon = Some(Self::start_process(self.directory.path()));
        self.wait();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for one test.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.join("scratch").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// The parent cgroup of a pod. The kubelet names a slice with the systemd driver.
    pub(crate) fn pod_parent(&self) -> String {
        if self.is_installed {
            "/kubepods.slice/kubepods-burstable.slice".to_owned()
        } else {
            format!("/{}", cri::cgroup(self.namespace()))
        }
    }

    /// The containerd namespace of ctr's containers, which is also the name of their parent cgroup.
    pub(crate) fn namespace(&self) -> &str {
        &self.name
    }

    /// The runtime's `--root` for ctr's containers.
    pub(crate) fn runtime_root(&self) -> PathBuf {
        Path::new("/run/containerd/runc").join(&self.name)
    }

    /// The socket of a shim. A shim that is killed leaves it behind.
    pub(crate) fn shim_socket(&self, id: &str) -> PathBuf {
        let tasks = self.directory.join("state/io.containerd.runtime.v2.task");
        let address = tasks.join(&self.name).join(id).join("address");
        let address = fs::read_to_string(address).unwrap();
        address.strip_prefix("unix://").unwrap().into()
    }

    /// The ids that the runtime lists.
    pub(crate) fn runtime_list(&self) -> Vec<String> {
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

    /// Imports an image of one layer into a namespace. The CRI uses `k8s.io`.
    pub(crate) fn import(&self, namespace: &str, name: &str, layer: &Path, config: &Value) {
        let directory = self.scratch(&name.replace('/', "-"));
        let archive = archive::make(&directory, name, layer, config);
        let mut import = self.command(namespace);
        command::run(import.args(["image", "import"]).arg(&archive)).ok();
        let _ = fs::remove_dir_all(&directory);
    }

    /// `ctr` in a namespace.
    pub(crate) fn command(&self, namespace: &str) -> Command {
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

    /// Runs a container to its end and removes it. The container sleeps for 0.3 s after the command: with any
    /// runtime, ctr may lose the output of a process that ends before ctr has started to read.
    pub(crate) fn run(&self, id: &str, flags: &[&str], args: &[&str]) -> CommandOutput {
        const LINGER: &str = r#""$@"; status=$?; sleep 0.3; exit $status"#;
        let flags = [&["--rm"], flags].concat();
        let args = [&["sh", "-c", LINGER, "sh"], args].concat();
        command::run(&mut self.run_command(id, &flags, &args))
    }

    /// Runs a shell script in a container and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, id: &str, flags: &[&str], script: &str) -> String {
        self.run(id, flags, &["sh", "-c", script]).ok()
    }

    /// Starts a container in the background.
    #[track_caller]
    pub(crate) fn task(&self, id: &str, flags: &[&str], args: &[&str]) -> Task<'_> {
        let flags = [&["--detach"], flags].concat();
        command::run(&mut self.run_command(id, &flags, args)).ok();
        Task::of(self, id)
    }

    /// The pids of the shims of a container, or of all containers if `id` is empty.
    pub(crate) fn shims(&self, id: &str) -> Vec<Pid> {
        let socket = self.socket().display().to_string();
        let mut shims = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let args: Vec<&str> = line.split('\0').collect();
            let is_shim = args[0].contains("containerd-shim");
            let matches = id.is_empty() || args.contains(&id);
            if is_shim && matches && args.contains(&socket.as_str()) {
                let pid = process.file_name().to_string_lossy().parse();
                shims.extend(pid.ok().map(Pid::from_raw));
            }
        }
        shims
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Tests that failed may have left containers.
        for namespace in [self.namespace(), "k8s.io"] {
            let left = command::run_cleanup(self.command(namespace).args(["task", "ls", "-q"]));
            for id in left.stdout.lines() {
                command::run_cleanup(self.command(namespace).args(["task", "delete", "-f", id]));
            }
        }
        if self.is_installed {
            return;
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
