//! containerd, by ctr and by the CRI: one daemon for each runtime.

mod archive;
mod exec;
mod life;
mod rights;
mod run;
mod task;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use libtest_mimic::Arguments;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::call::{self, Said};
use crate::feature::{self, Feature};
use crate::ground::{self, Daemon, Directory, Runtime};
use crate::{cri, image};

/// The image of the tests.
pub(crate) const BUSYBOX: &str = "docker.io/rt/busybox:1";

/// How many daemons have been started.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

/// A feature's name and what drives it.
pub(crate) type Driven = (&'static str, fn(&Containerd));

/// What ctr can do, and what the kubelet asks for.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let ctr = [
        run::FEATURES,
        rights::FEATURES,
        task::FEATURES,
        exec::FEATURES,
        life::FEATURES,
    ]
    .concat();
    let cri = cri::features();
    let programs = ["containerd", "ctr", "containerd-shim-runc-v2", "runc"];
    let no_ctr = feature::lacking().or_else(|| ground::lacks(&programs));
    let no_cri = no_ctr.clone().or_else(cri::lacking);

    let wanted = |engine, features: &[Driven]| {
        let names: Vec<&str> = features.iter().map(|(name, _)| *name).collect();
        feature::is_wanted(arguments, engine, &names)
    };
    let with_ctr = no_ctr.is_none() && wanted("containerd", &ctr);
    let with_cri = no_cri.is_none() && wanted("cri", &cri);
    let daemons = (with_ctr || with_cri).then(|| {
        Arc::new(Runtime::BOTH.map(|runtime| {
            let mut daemon = Containerd::start(runtime, runtime.name());
            if with_cri {
                daemon.cri = Some(cri::Client::start(&daemon));
            }
            daemon
        }))
    });
    let ctr = named("containerd", ctr, daemons.as_ref(), no_ctr.as_ref());
    let cri = named("cri", cri, daemons.as_ref(), no_cri.as_ref());
    let mut features: Vec<Feature> = ctr.chain(cri).collect();
    // Its image takes a minute where it is not kept yet.
    if with_cri && feature::is_wanted(arguments, "cri", &["nginx"]) {
        let nginx = features
            .iter_mut()
            .find(|feature| feature.name == "cri::nginx");
        nginx.unwrap().lacking = image::debian_archive().err();
    }
    features
}

fn named(
    engine: &str,
    features: Vec<Driven>,
    daemons: Option<&Arc<[Containerd; 2]>>,
    lacking: Option<&String>,
) -> impl Iterator<Item = Feature> {
    features.into_iter().map(move |(name, drive)| {
        let daemons = daemons.cloned();
        Feature {
            name: format!("{engine}::{name}"),
            drive: Box::new(move |runtime| {
                let daemons = daemons.as_ref().expect("a daemon for what is wanted");
                drive(daemons.iter().find(|d| d.runtime == runtime).unwrap());
            }),
            lacking: lacking.cloned(),
        }
    })
}

/// A daemon with everything of its own, and the image in it.
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
        let page = include_str!("../../docs/containerd.md");
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
        panic!("containerd does not answer: {}", self.daemon.said());
    }

    /// Ends the daemon, at once if it is to be a surprise. What runs in it goes on.
    pub(crate) fn stop(&mut self, at_once: bool) {
        if !at_once {
            let _ = kill(
                Pid::from_raw(self.daemon.pid().cast_signed()),
                Signal::SIGTERM,
            );
            call::wait_until("containerd ends", 20, || {
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

    /// Makes an image of one layer known in a namespace; `k8s.io` is the CRI's.
    pub(crate) fn import(&self, namespace: &str, name: &str, layer: &Path, config: &Value) {
        let directory = self.scratch(&name.replace('/', "-"));
        let archive = archive::make(&directory, name, layer, config);
        let mut import = self.command(namespace);
        call::run(import.args(["image", "import"]).arg(&archive)).ok();
        let _ = fs::remove_dir_all(&directory);
    }

    fn command(&self, namespace: &str) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("-a").arg(self.socket()).args(["-n", namespace]);
        ctr
    }

    pub(crate) fn ctr_command(&self, words: &[&str]) -> Command {
        let mut ctr = self.command(self.namespace());
        ctr.args(words);
        ctr
    }

    pub(crate) fn ctr(&self, words: &[&str]) -> Said {
        call::run(&mut self.ctr_command(words))
    }

    /// `ctr run` with this runtime and image.
    pub(crate) fn run_command(&self, id: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut run = self.ctr_command(&["run", "--runc-binary"]);
        run.arg(self.runtime.path()).args(flags);
        run.args([BUSYBOX, id]).args(args);
        run
    }

    /// Runs a container to its end, and removes it.
    pub(crate) fn run(&self, id: &str, flags: &[&str], args: &[&str]) -> Said {
        let flags = [&["--rm"], flags].concat();
        call::run(&mut self.run_command(id, &flags, args))
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
        call::run(&mut self.run_command(id, &flags, args)).ok();
        Task::of(self, id)
    }

    /// The processes of its shims.
    pub(crate) fn shims(&self, id: &str) -> Vec<Pid> {
        let socket = self.socket().display().to_string();
        let mut shims = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split('\0').collect();
            let is_shim = words[0].contains("containerd-shim");
            let fits = id.is_empty() || words.contains(&id);
            if is_shim && fits && words.contains(&socket.as_str()) {
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
            let left = call::run(self.command(namespace).args(["task", "ls", "-q"]));
            for id in left.stdout.lines() {
                call::run(self.command(namespace).args(["task", "delete", "-f", id]));
            }
        }
        for shim in self.shims("") {
            let _ = kill(shim, Signal::SIGKILL);
        }
        cri::remove_network(self.network);
        for parent in [self.name.clone(), cri::cgroup(&self.name)] {
            for hierarchy in fs::read_dir("/sys/fs/cgroup")
                .into_iter()
                .flatten()
                .flatten()
            {
                let _ = fs::remove_dir(hierarchy.path().join(&parent));
            }
        }
    }
}

/// A container of ctr's that runs, and goes when this is dropped.
pub(crate) struct Task<'a> {
    pub(crate) daemon: &'a Containerd,
    pub(crate) id: String,
}

impl<'a> Task<'a> {
    pub(crate) fn of(daemon: &'a Containerd, id: &str) -> Task<'a> {
        let id = id.to_owned();
        Task { daemon, id }
    }

    /// `ctr task exec` with flags.
    pub(crate) fn exec(&self, exec_id: &str, flags: &[&str], args: &[&str]) -> Said {
        call::run(&mut self.exec_command(exec_id, flags, args))
    }

    pub(crate) fn exec_command(&self, exec_id: &str, flags: &[&str], args: &[&str]) -> Command {
        let mut exec = self
            .daemon
            .ctr_command(&["task", "exec", "--exec-id", exec_id]);
        exec.args(flags).arg(&self.id).args(args);
        exec
    }

    /// The columns of `ctr task ls`: the process on the machine, and a word.
    pub(crate) fn listed(&self) -> Option<(u32, String)> {
        let table = self.daemon.ctr(&["task", "ls"]).ok();
        let row = table
            .lines()
            .find(|row| row.split_whitespace().next() == Some(&self.id))?;
        let mut columns = row.split_whitespace().skip(1);
        Some((columns.next()?.parse().ok()?, columns.next()?.to_owned()))
    }

    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.listed().expect("a task in the list").0
    }

    pub(crate) fn status(&self) -> String {
        self.listed().map_or_else(String::new, |(_, status)| status)
    }

    /// Deletes it, having ended with `status`.
    #[track_caller]
    pub(crate) fn deleted(&self, status: i32) {
        let said = self.daemon.ctr(&["task", "delete", &self.id]);
        let code = format!("non-zero exit code {status}\"");
        assert!(said.status == 0 && said.stderr.contains(&code), "{said:#?}");
        assert_eq!(self.listed(), None);
    }

    /// Deletes it as it runs.
    #[track_caller]
    pub(crate) fn deleted_by_force(&self) {
        self.daemon
            .ctr(&["task", "delete", "--force", &self.id])
            .ok();
        assert_eq!(self.listed(), None);
    }

    /// Waits for what `ctr task ls` says of it.
    #[track_caller]
    pub(crate) fn becomes(&self, status: &str) {
        call::wait_until(status, 20, || self.status() == status);
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.daemon.ctr(&["task", "delete", "--force", &self.id]);
        self.daemon.ctr(&["container", "delete", &self.id]);
    }
}

/// A container that does nothing.
fn sleeper<'a>(daemon: &'a Containerd, id: &str) -> Task<'a> {
    daemon.task(id, &[], &["sleep", "1000"])
}

/// A file of the cgroup of a process, by its names in versions 1 and 2.
#[track_caller]
pub(crate) fn limit(pid: u32, controller: &str, one: &str, two: &str) -> String {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = names.split(',').any(|name| name == controller);
        is_it.then(|| format!("/sys/fs/cgroup/{controller}{path}/{one}"))
    };
    let unified = || {
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}/{two}"))
    };
    let file = own.lines().find_map(of).or_else(unified).unwrap();
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    text.trim().to_owned()
}
