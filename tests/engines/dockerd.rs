//! A Docker daemon on a machine of its own, and what one says to it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::command::{self, CommandOutput};
use crate::environment::{Daemon, Directory, Runtime};
use crate::host::Host;
use crate::image;

/// Debian's. Another client may be first in PATH.
pub(crate) const CLIENT: &str = "/usr/bin/docker";

/// The image of busybox.
pub(crate) const BUSYBOX: &str = "busybox";

pub(crate) struct Dockerd {
    pub(crate) runtime: Runtime,
    pub(crate) host: Host,
    /// Its command line, to start it again.
    options: Vec<String>,
    /// The parent of its containers' cgroups.
    cgroup: String,
    /// The daemon's own words, one file for all its lives.
    daemon: Mutex<Option<Daemon>>,
    /// The last to go: all others live in it.
    pub(crate) directory: Directory,
}

impl Dockerd {
    /// Starts one and does not wait for it. `name` tells it from the others of this run.
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
            cgroup,
            daemon,
            directory,
        };
        // BuildKit runs what is called `runc`, whatever the daemon's runtime is.
        let programs = dockerd.directory.join("bin");
        fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(runtime.path(), programs.join("runc")).unwrap();
        dockerd.start_daemon();
        dockerd
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

    /// Waits until it answers.
    pub(crate) fn wait(&self) {
        let is_up = || command::run(self.client().arg("version")).status == 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_up() {
            assert!(Instant::now() < deadline, "no daemon: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits, and gives it the image of busybox.
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

    /// Ends the daemon and starts it again; containers are its own matter.
    pub(crate) fn restart(&self, meanwhile: impl FnOnce()) {
        self.end();
        meanwhile();
        self.start_daemon();
        self.wait();
    }

    /// Asks the daemon to end, and waits for it.
    fn end(&self) {
        let daemon = self.daemon.lock().unwrap().take();
        if let Some(daemon) = daemon {
            let pid = fs::read_to_string(self.directory.join("pid")).unwrap_or_default();
            command::run(self.host.command("kill").args(["-TERM", &pid]));
            daemon.wait();
        }
    }

    /// All that runs on its machine ends at once.
    pub(crate) fn crash(&self) {
        // But the first process.
        let _ = command::run(self.host.command("kill").args(["-KILL", "-1"]));
        *self.daemon.lock().unwrap() = None;
    }

    /// What the daemon has said so far.
    pub(crate) fn log(&self) -> String {
        let daemon = self.daemon.lock().unwrap();
        daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// The socket, for other clients.
    pub(crate) fn socket_url(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    /// The client, without a verb.
    pub(crate) fn client(&self) -> Command {
        let mut client = Command::new(CLIENT);
        client.env("DOCKER_CONFIG", self.directory.join("client"));
        client.args(["-H", &self.socket_url()]);
        client
    }

    /// `docker` and its words.
    pub(crate) fn docker(&self, args: &[&str]) -> CommandOutput {
        command::run(self.client().args(args))
    }

    /// `docker run --rm OPTIONS busybox COMMAND`.
    pub(crate) fn run(&self, options: &str, command: &[&str]) -> CommandOutput {
        let mut client = self.client();
        client
            .args(["run", "--rm"])
            .args(options.split_whitespace());
        command::run(client.arg(BUSYBOX).args(command))
    }

    /// What a shell in a container with these options says to a script, which must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, options: &str, script: &str) -> String {
        self.run(options, &["sh", "-c", script]).ok()
    }

    /// `docker WORDS sh -c SCRIPT` on a terminal of 33 rows and 99 columns.
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

    /// `docker run -d --name NAME OPTIONS busybox COMMAND`: removed when it is dropped.
    #[track_caller]
    pub(crate) fn run_detached(
        &self,
        name: &str,
        options: &str,
        command: &[&str],
    ) -> Container<'_> {
        self.run_detached_image(BUSYBOX, name, options, command)
    }

    /// The same of another image.
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
        client.args(options.split_whitespace());
        let container = self.container(name);
        command::run(client.arg(image).args(command)).ok();
        container
    }

    /// One that sleeps.
    #[track_caller]
    pub(crate) fn sleeper(&self, name: &str, options: &str) -> Container<'_> {
        self.run_detached(name, options, &["sleep", "1000"])
    }

    /// One that was made in another way: removed when this is dropped.
    pub(crate) fn container(&self, name: &str) -> Container<'_> {
        let name = name.to_owned();
        Container {
            dockerd: self,
            name,
        }
    }

    /// A file of its own.
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
        // A runtime may have left some below it, and the daemon leaves the parent itself.
        let top = format!("/sys/fs/cgroup{0} /sys/fs/cgroup/*{0}", self.cgroup);
        let clear = format!("find {top} -depth -type d -exec rmdir {{}} +");
        command::run_cleanup(Command::new("sh").args(["-c", &clear]));
    }
}

fn basic_options(directory: &Directory, runtime: Runtime, cgroup: &str) -> Vec<String> {
    let at = |name: &str| directory.join(name).display().to_string();
    fs::write(at("daemon.json"), "{}").unwrap();
    let mut options = vec![
        format!("--config-file={}", at("daemon.json")),
        format!("--data-root={}", at("root")),
        format!("--exec-root={}", at("exec")),
        format!("--pidfile={}", at("pid")),
        format!("--host=unix://{}", at("sock")),
        format!("--default-runtime={}", runtime.name()),
        "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        "--storage-driver=overlay2".to_owned(),
        format!("--cgroup-parent={cgroup}"),
    ];
    // The name `runc` is taken.
    if runtime == Runtime::Rt {
        options.push(format!("--add-runtime=rt={}", runtime.path().display()));
    }
    options
}

/// A container with a name.
pub(crate) struct Container<'a> {
    dockerd: &'a Dockerd,
    name: String,
}

impl Container<'_> {
    /// `docker VERB.. NAME WORDS`.
    pub(crate) fn call(&self, verb: &str, args: &[&str]) -> CommandOutput {
        let mut client = self.dockerd.client();
        client.args(verb.split_whitespace());
        command::run(client.arg(&self.name).args(args))
    }

    /// What a shell in it says to a script, which must succeed.
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

    /// The status that it ended with.
    #[track_caller]
    pub(crate) fn wait(&self) -> String {
        self.call("wait", &[]).ok()
    }

    /// What it has written.
    #[track_caller]
    pub(crate) fn logs(&self) -> String {
        let output = self.call("logs", &[]);
        assert_eq!(output.status, 0, "{output:?}");
        (output.stdout + &output.stderr).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn waits_for_logs(&self, text: &str) {
        let what = format!("{} says {text}", self.name);
        command::wait_until(&what, 30, || self.logs().contains(text));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.dockerd.docker(&["rm", "-f", "-v", &self.name]);
    }
}
