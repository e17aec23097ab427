//! A Docker daemon and its client. The daemon has an isolated host, or is the installed service of this one.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::command::{self, CommandOutput};
use crate::environment::{Daemon, Directory, Runtime};
use crate::host::Host;
use crate::image;

/// Debian's client. PATH may have another one first.
pub(crate) const CLIENT: &str = "/usr/bin/docker";

/// The name of the busybox image.
pub(crate) const BUSYBOX: &str = "busybox";

/// A daemon with its containers. Dropping it removes them all.
pub(crate) struct Dockerd {
    pub(crate) runtime: Runtime,
    pub(crate) host: Host,
    /// The daemon's command line.
    options: Vec<String>,
    /// The parent cgroup of its containers, if the daemon is not the installed one.
    cgroup: Option<String>,
    /// The process, while it runs. All runs write to one log file.
    daemon: Mutex<Option<Daemon>>,
    /// The last field, so that it is dropped after everything that uses it.
    pub(crate) directory: Directory,
}

impl Dockerd {
    /// Starts a daemon without waiting for it. `name` is unique among the daemons of one runtime.
    pub(crate) fn start(name: &str, runtime: Runtime, options: &[&str]) -> Dockerd {
        let name = format!("{name}-{}", runtime.name());
        let directory = Directory::new(&name);
        let host = Host::start(&name, directory.path());
        let cgroup = format!("/rt-engines-{name}.{}", std::process::id());
        let mut all = basic_options(&directory, runtime, &cgroup);
        all.extend(options.iter().map(|&option| option.to_owned()));
        let daemon = Mutex::new(None);
        let dockerd = Dockerd {
            runtime,
            host,
            options: all,
            cgroup: Some(cgroup),
            daemon,
            directory,
        };
        // BuildKit always runs `runc` from PATH, whatever the daemon's runtime is.
        let programs = dockerd.directory.join("bin");
        fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(runtime.path(), programs.join("runc")).unwrap();
        dockerd.start_daemon();
        dockerd
    }

    /// The installed service, which runs.
    pub(crate) fn installed(runtime: Runtime) -> Dockerd {
        let directory = Directory::new("docker");
        std::os::unix::fs::symlink("/run/docker.sock", directory.join("sock")).unwrap();
        Dockerd {
            runtime,
            host: Host::this(),
            options: Vec::new(),
            cgroup: None,
            daemon: Mutex::new(None),
            directory,
        }
    }

    /// Starts the daemon's process.
    pub(crate) fn start_daemon(&self) {
        let path = format!(
            "PATH={}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.directory.join("bin").display()
        );
        let mut command = self.host.command("env");
        command.args([&path, "dockerd"]).args(&self.options);
        command.current_dir(self.directory.path());
        let daemon = Daemon::start(&command, self.directory.join("log"));
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    /// Waits until the daemon answers.
    pub(crate) fn wait(&self) {
        let is_up = || command::run(self.client().arg("version")).status == 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_up() {
            assert!(Instant::now() < deadline, "no daemon: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the daemon answers, and imports the busybox image.
    pub(crate) fn load_images(&self) {
        self.wait();
        let archive = image::busybox_archive(self.directory.path());
        self.import(&archive, BUSYBOX, "CMD [\"/bin/sh\"]");
    }

    pub(crate) fn import(&self, archive: &std::path::Path, name: &str, change: &str) {
        let mut import = self.client();
        import.args(["import", "-c", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        import.args(["-c", change]).arg(archive).arg(name);
        command::run(&mut import).ok();
    }

    /// Stops the daemon, calls `while_stopped`, and starts the daemon again.
    pub(crate) fn restart(&self, while_stopped: impl FnOnce()) {
        self.stop();
        while_stopped();
        self.start_daemon();
        self.wait();
    }

    /// Sends SIGTERM to the daemon and waits for its end.
    fn stop(&self) {
        let daemon = self.daemon.lock().unwrap().take();
        if let Some(daemon) = daemon {
            let pid = fs::read_to_string(self.directory.join("pid")).unwrap_or_default();
            command::run(self.host.command("kill").args(["-TERM", &pid]));
            daemon.wait();
        }
    }

    /// Kills the daemon and all other processes of its host, except the host's init process.
    pub(crate) fn crash(&self) {
        // kill(2) with pid -1 spares init.
        let _ = command::run(self.host.command("kill").args(["-KILL", "-1"]));
        *self.daemon.lock().unwrap() = None;
    }

    /// The daemon's log so far.
    pub(crate) fn log(&self) -> String {
        let daemon = self.daemon.lock().unwrap();
        daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// The URL of the daemon's socket, as in DOCKER_HOST.
    pub(crate) fn socket_url(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    /// The client without a subcommand.
    pub(crate) fn client(&self) -> Command {
        let mut client = Command::new(CLIENT);
        client.env("DOCKER_CONFIG", self.directory.join("client"));
        client.args(["-H", &self.socket_url()]);
        client
    }

    /// `docker ARGS`.
    pub(crate) fn docker(&self, args: &[&str]) -> CommandOutput {
        command::run(self.client().args(args))
    }

    /// `--network none` for the installed daemon, unless the options ask for a network: iptables(8) takes most of the
    /// time of a start in the virtual machine.
    fn without_network(&self, options: &str) -> &'static [&'static str] {
        let needs_one = ["--network", "-p "];
        if self.cgroup.is_some() || needs_one.iter().any(|option| options.contains(option)) {
            &[]
        } else {
            &["--network", "none"]
        }
    }

    /// `docker run --rm OPTIONS busybox COMMAND`.
    pub(crate) fn run(&self, options: &str, command: &[&str]) -> CommandOutput {
        let mut client = self.client();
        client
            .args(["run", "--rm"])
            .args(self.without_network(options))
            .args(options.split_whitespace());
        command::run(client.arg(BUSYBOX).args(command))
    }

    /// Runs a shell script in a container with these options and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, options: &str, script: &str) -> String {
        self.run(options, &["sh", "-c", script]).ok()
    }

    /// `docker ARGS sh -c SCRIPT` on a terminal of 33 rows and 99 columns.
    pub(crate) fn on_terminal(&self, args: &str, script: &str) -> CommandOutput {
        let mut typescript = Command::new("script");
        let socket_url = self.socket_url();
        let line =
            format!("stty rows 33 cols 99; exec {CLIENT} -H {socket_url} {args} sh -c \"$SCRIPT\"");
        typescript
            .env("SCRIPT", script)
            .args(["-qec", &line, "/dev/null"]);
        command::run(&mut typescript)
    }

    /// `docker run -d --name NAME OPTIONS busybox COMMAND`. The container is removed when the value is dropped.
    #[track_caller]
    pub(crate) fn run_detached(
        &self,
        name: &str,
        options: &str,
        command: &[&str],
    ) -> Container<'_> {
        self.run_detached_image(BUSYBOX, name, options, command)
    }

    /// The same with another image.
    #[track_caller]
    pub(crate) fn run_detached_image(
        &self,
        image: &str,
        name: &str,
        options: &str,
        command: &[&str],
    ) -> Container<'_> {
        let mut client = self.client();
        client.args(["run", "-d", "--name", name]);
        client.args(self.without_network(options));
        client.args(options.split_whitespace());
        let container = self.container(name);
        command::run(client.arg(image).args(command)).ok();
        container
    }

    /// A container that sleeps.
    #[track_caller]
    pub(crate) fn sleeper(&self, name: &str, options: &str) -> Container<'_> {
        self.run_detached(name, options, &["sleep", "1000"])
    }

    /// A handle to a container that the test has created itself. Dropping it removes the container.
    pub(crate) fn container(&self, name: &str) -> Container<'_> {
        let name = name.to_owned();
        Container {
            dockerd: self,
            name,
        }
    }

    /// The path of a file in the daemon's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let all = command::run_cleanup(self.client().args(["ps", "-aq"])).stdout;
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            command::run_cleanup(self.client().args(["rm", "-f", "-v"]).args(all));
        }
        self.host.kill();
        if let Some(cgroup) = &self.cgroup {
            // The daemon leaves its parent cgroup behind, and the runtime may have left cgroups below it.
            let top = format!("/sys/fs/cgroup{cgroup} /sys/fs/cgroup/*{cgroup}");
            let clear = format!("find {top} -depth -type d -exec rmdir {{}} +");
            command::run_cleanup(Command::new("sh").args(["-c", &clear]));
        }
    }
}

fn basic_options(directory: &Directory, runtime: Runtime, cgroup: &str) -> Vec<String> {
    let path = |name: &str| directory.join(name).display().to_string();
    fs::write(path("daemon.json"), "{}").unwrap();
    let mut options = vec![
        format!("--config-file={}", path("daemon.json")),
        format!("--data-root={}", path("root")),
        format!("--exec-root={}", path("exec")),
        format!("--pidfile={}", path("pid")),
        format!("--host=unix://{}", path("sock")),
        format!("--default-runtime={}", runtime.name()),
        "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        "--storage-driver=overlay2".to_owned(),
        // `docker checkpoint` needs it.
        "--experimental".to_owned(),
        format!("--cgroup-parent={cgroup}"),
    ];
    // dockerd reserves the name `runc`.
    if runtime == Runtime::Rt {
        options.push(format!("--add-runtime=rt={}", runtime.path().display()));
    }
    options
}

/// A container. Dropping it removes it.
pub(crate) struct Container<'a> {
    dockerd: &'a Dockerd,
    name: String,
}

impl Container<'_> {
    /// `docker VERB.. NAME ARGS`.
    pub(crate) fn call(&self, verb: &str, args: &[&str]) -> CommandOutput {
        let mut client = self.dockerd.client();
        client.args(verb.split_whitespace());
        command::run(client.arg(&self.name).args(args))
    }

    /// Runs a shell script with `docker exec` and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.call("exec", &["sh", "-c", script]).ok()
    }

    /// `docker inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        self.dockerd
            .docker(&["inspect", "-f", format, &self.name])
            .ok()
    }

    /// `docker wait`: the exit status.
    #[track_caller]
    pub(crate) fn wait(&self) -> String {
        self.call("wait", &[]).ok()
    }

    /// The container's stdout and stderr so far.
    #[track_caller]
    pub(crate) fn logs(&self) -> String {
        let output = self.call("logs", &[]);
        assert_eq!(output.status, 0, "{output:?}");
        (output.stdout + &output.stderr).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn waits_for_logs(&self, text: &str) {
        let what = format!("{} prints {text}", self.name);
        command::wait_until(&what, 30, || self.logs().contains(text));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.dockerd.docker(&["rm", "-f", "-v", &self.name]);
    }
}
