//! A Docker daemon on a machine of its own, and what one says to it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::call::{self, Said};
use crate::ground::{Daemon, Directory, Runtime};
use crate::image;
use crate::machine::Machine;

/// Debian's. Another client may be first in PATH.
pub(crate) const CLIENT: &str = "/usr/bin/docker";

/// The image of busybox.
pub(crate) const BUSYBOX: &str = "busybox";

pub(crate) struct Dockerd {
    pub(crate) runtime: Runtime,
    pub(crate) machine: Machine,
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
        let machine = Machine::start(&name, directory.path());
        let cgroup = format!("/rt-engines-{name}.{}", std::process::id());
        let mut all = basic_options(&directory, runtime, &cgroup);
        all.extend(options.iter().map(|&option| option.to_owned()));
        let daemon = Mutex::new(None);
        let dockerd = Dockerd {
            runtime,
            machine,
            options: all,
            cgroup,
            daemon,
            directory,
        };
        // BuildKit runs what is called `runc`, whatever the daemon's runtime is.
        let programs = dockerd.directory.join("bin");
        fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(runtime.path(), programs.join("runc")).unwrap();
        dockerd.begin();
        dockerd
    }

    /// Starts the daemon's process.
    pub(crate) fn begin(&self) {
        let path = format!(
            "PATH={}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.directory.join("bin").display()
        );
        let mut command = self.machine.command("env");
        command.args([&path, "dockerd"]).args(&self.options);
        command.current_dir(self.directory.path());
        let daemon = Daemon::start(&command, self.directory.join("log"));
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    /// Waits until it answers.
    pub(crate) fn wait(&self) {
        let is_up = || call::run(self.client().arg("version")).status == 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_up() {
            assert!(Instant::now() < deadline, "no daemon: {}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits, and gives it the image of busybox.
    pub(crate) fn provide(&self) {
        self.wait();
        let archive = image::busybox_archive(self.directory.path());
        self.import(&archive, BUSYBOX, "CMD [\"/bin/sh\"]");
    }

    pub(crate) fn import(&self, archive: &std::path::Path, name: &str, change: &str) {
        let mut import = self.client();
        import.args(["import", "-c", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        import.args(["-c", change]).arg(archive).arg(name);
        call::run(&mut import).ok();
    }

    /// Ends the daemon and starts it again; containers are its own matter.
    pub(crate) fn restart(&self, meanwhile: impl FnOnce()) {
        self.end();
        meanwhile();
        self.begin();
        self.wait();
    }

    /// Asks the daemon to end, and waits for it.
    fn end(&self) {
        let daemon = self.daemon.lock().unwrap().take();
        if let Some(daemon) = daemon {
            let pid = fs::read_to_string(self.directory.join("pid")).unwrap_or_default();
            call::run(self.machine.command("kill").args(["-TERM", &pid]));
            daemon.wait();
        }
    }

    /// All that runs on its machine ends at once.
    pub(crate) fn crash(&self) {
        // But the first process.
        let _ = call::run(self.machine.command("kill").args(["-KILL", "-1"]));
        *self.daemon.lock().unwrap() = None;
    }

    /// What the daemon has said so far.
    pub(crate) fn said(&self) -> String {
        let daemon = self.daemon.lock().unwrap();
        daemon.as_ref().map(Daemon::said).unwrap_or_default()
    }

    /// The socket, for other clients.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    /// The client, without a verb.
    pub(crate) fn client(&self) -> Command {
        let mut client = Command::new(CLIENT);
        client.env("DOCKER_CONFIG", self.directory.join("client"));
        client.args(["-H", &self.host()]);
        client
    }

    /// `docker` and its words.
    pub(crate) fn docker(&self, words: &[&str]) -> Said {
        call::run(self.client().args(words))
    }

    /// `docker run --rm OPTIONS busybox COMMAND`.
    pub(crate) fn run(&self, options: &str, command: &[&str]) -> Said {
        let mut client = self.client();
        client
            .args(["run", "--rm"])
            .args(options.split_whitespace());
        call::run(client.arg(BUSYBOX).args(command))
    }

    /// What a shell in a container with these options says to a script, which must succeed.
    #[track_caller]
    pub(crate) fn sh(&self, options: &str, script: &str) -> String {
        self.run(options, &["sh", "-c", script]).ok()
    }

    /// `docker WORDS sh -c SCRIPT` on a terminal of 33 rows and 99 columns.
    pub(crate) fn on_terminal(&self, words: &str, script: &str) -> Said {
        let mut typescript = Command::new("script");
        let host = self.host();
        let line =
            format!("stty rows 33 cols 99; exec {CLIENT} -H {host} {words} sh -c \"$SCRIPT\"");
        typescript
            .env("SCRIPT", script)
            .args(["-qec", &line, "/dev/null"]);
        call::run(&mut typescript)
    }

    /// `docker run -d --name NAME OPTIONS busybox COMMAND`: removed when it is dropped.
    #[track_caller]
    pub(crate) fn keep(&self, name: &str, options: &str, command: &[&str]) -> Container<'_> {
        self.keep_of(BUSYBOX, name, options, command)
    }

    /// The same of another image.
    #[track_caller]
    pub(crate) fn keep_of(
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
        call::run(client.arg(image).args(command)).ok();
        container
    }

    /// One that sleeps.
    #[track_caller]
    pub(crate) fn sleeper(&self, name: &str, options: &str) -> Container<'_> {
        self.keep(name, options, &["sleep", "1000"])
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
        let all = call::run_last(self.client().args(["ps", "-aq"])).stdout;
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            call::run_last(self.client().args(["rm", "-f", "-v"]).args(all));
        }
        self.machine.end();
        // A runtime may have left some below it, and the daemon leaves the parent itself.
        let top = format!("/sys/fs/cgroup{0} /sys/fs/cgroup/*{0}", self.cgroup);
        let clear = format!("find {top} -depth -type d -exec rmdir {{}} +");
        call::run_last(Command::new("sh").args(["-c", &clear]));
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
    pub(crate) fn call(&self, verb: &str, words: &[&str]) -> Said {
        let mut client = self.dockerd.client();
        client.args(verb.split_whitespace());
        call::run(client.arg(&self.name).args(words))
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
        let said = self.call("logs", &[]);
        assert_eq!(said.status, 0, "{said:?}");
        (said.stdout + &said.stderr).trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn waits_for_logs(&self, text: &str) {
        let what = format!("{} says {text}", self.name);
        call::wait_until(&what, 30, || self.logs().contains(text));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.dockerd.docker(&["rm", "-f", "-v", &self.name]);
    }
}
