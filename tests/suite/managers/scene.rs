//! What a manager makes before it calls its runtime: sources, namespaces, owners, a daemon with a hook.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use super::confirm::map;
use super::daemon::Daemon;
use super::rootless::Rootless;
use super::{filter, profile};
use crate::harness::{
    Bundle, Config, Container, Holder, Report, Runtime, namespace_of, on_v2, remove_cgroup,
};
use crate::terminal::{Listener, Master};

/// A bundle with all that its configuration names. What it stands on goes after it.
pub(super) struct Scene {
    pub(super) bundle: Bundle,
    pub(super) daemon: Option<Daemon>,
    user: Option<Rootless>,
    pod: Option<Holder>,
    _parent: Option<Parent>,
}

/// A kind of config.json as /proc/PID/ns calls it.
pub(super) fn link_of(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

impl Scene {
    /// Run by root, as the manager's daemon runs.
    pub(super) fn new(config: Config, asked: &[String]) -> Self {
        let pod = Holder::new(&["--pid", "--fork", "--net", "--ipc", "--uts"]);
        Self::adapt(config, asked, &Runtime::new(), Some(pod), None)
    }

    /// Run by an unprivileged user who is root in a user namespace of his own.
    pub(super) fn rootless(config: Config, asked: &[String]) -> Self {
        let user = Rootless::new();
        let runtime = user.runtime();
        Self::adapt(config, asked, &runtime, None, Some(user))
    }

    fn adapt(
        mut config: Config,
        asked: &[String],
        runtime: &Runtime,
        pod: Option<Holder>,
        user: Option<Rootless>,
    ) -> Self {
        let mut scene = Self {
            bundle: Bundle::with_runtime(runtime),
            daemon: None,
            user,
            pod,
            _parent: None,
        };
        config.set("/root/path", json!(scene.bundle.rootfs()));
        scene.join_namespaces(&mut config);
        scene.move_cgroup(&mut config);
        scene.make_sources(&mut config);
        scene.start_daemon(&mut config);
        let mut words = vec!["/probe", "report"];
        words.extend(asked.iter().map(String::as_str));
        config.set("/process/args", json!(words));
        scene.bundle = scene.bundle.with_config(config);
        scene.give_away();
        scene
    }

    pub(super) fn config(&self) -> &Config {
        self.bundle.config()
    }

    pub(super) fn is_rootless(&self) -> bool {
        self.user.is_some()
    }

    /// The namespace that the runtime itself is in.
    pub(super) fn outside(&self, link: &str) -> String {
        match &self.user {
            Some(user) if ["user", "mnt"].contains(&link) => user.holder().namespace(link),
            _ => namespace_of("self", link),
        }
    }

    /// The map of ids that the runtime itself lives with.
    pub(super) fn outside_map(&self, name: &str) -> Vec<[u64; 3]> {
        let user = self.user.as_ref();
        let pid = user.map_or("self".to_owned(), |user| user.holder().pid().to_string());
        let text = fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        map(&json!(text.lines().collect::<Vec<_>>()))
    }

    fn holder(&self) -> &Holder {
        let holders = [self.pod.as_ref(), self.user.as_ref().map(Rootless::holder)];
        holders.into_iter().flatten().next().expect("a pod")
    }

    /// The namespace that the configuration joins.
    pub(super) fn joined(&self, link: &str) -> String {
        self.holder().namespace(link)
    }

    fn join_namespaces(&self, config: &mut Config) {
        for index in 0..config.items("/linux/namespaces").len() {
            let entry = config.items("/linux/namespaces")[index].clone();
            if !entry["path"].is_null() {
                let link = link_of(entry["type"].as_str().unwrap());
                let path = json!(self.holder().path(link));
                config.set(&format!("/linux/namespaces/{index}/path"), path);
            }
        }
    }

    /// The manager's own parent is of this test alone: `/suite-1-2-docker/ID` for `/docker/ID`.
    fn move_cgroup(&mut self, config: &mut Config) {
        let Some(path) = config.get("/linux/cgroupsPath").as_str().map(str::to_owned) else {
            return;
        };
        let id = self.bundle.id();
        let moved = match path.strip_prefix('/') {
            Some(below) => format!("/{id}-{below}"),
            None => format!("{path}-{id}"),
        };
        let parent = moved.split('/').nth(1).map(str::to_owned);
        self._parent = parent.map(Parent);
        config.set("/linux/cgroupsPath", json!(moved));
    }

    /// A file or directory of ours for each bind mount, and the layers of overlays.
    fn make_sources(&self, config: &mut Config) {
        let sources = self.bundle.path().join("sources");
        fs::create_dir(&sources).unwrap();
        if on_v2() {
            // Podman mounts systemd's own hierarchy on cgroup v1 alone.
            config.retain("/mounts", |mount| {
                mount["destination"] != "/sys/fs/cgroup/systemd"
            });
        }
        for index in 0..config.items("/mounts").len() {
            self.prepare_mount(config, index, &sources.join(index.to_string()));
        }
    }

    fn prepare_mount(&self, config: &mut Config, index: usize, own: &Path) {
        let mount = config.items("/mounts")[index].clone();
        let place = mount["destination"].as_str().unwrap();
        if mount["type"] == "bind" && !is_of_the_machine(&mount["source"]) {
            make_source(own, place);
            config.set(&format!("/mounts/{index}/source"), json!(own));
        }
        let options = mount["options"].as_array().into_iter().flatten();
        for (at, option) in options.filter_map(Value::as_str).enumerate() {
            match option.split_once('=') {
                Some((layer @ ("lowerdir" | "upperdir" | "workdir"), _)) => {
                    let directory = own.join(layer);
                    fs::create_dir_all(&directory).unwrap();
                    let option = format!("{layer}={}", directory.display());
                    config.set(&format!("/mounts/{index}/options/{at}"), json!(option));
                }
                None if option == "tmpcopyup" => keep(&self.bundle.rootfs(), place),
                _ => {}
            }
        }
    }

    fn start_daemon(&mut self, config: &mut Config) {
        if config.items("/hooks/prestart").is_empty() {
            return;
        }
        let daemon = Daemon::start(&self.bundle);
        let hook = "/hooks/prestart/0";
        config.set(&format!("{hook}/path"), json!(daemon.executable()));
        let place = format!("-exec-root={}", daemon.exec_root().display());
        config.set(&format!("{hook}/args/1"), json!(place));
        self.daemon = Some(daemon);
    }

    /// All files belong to who is root inside, as a manager unpacks an image.
    fn give_away(&self) {
        let config = self.bundle.config();
        let mapped = config.get("/linux/uidMappings/0/hostID").as_u64();
        let owner = self.user.as_ref().map(|_| Rootless::OWNER);
        let owner = owner.or(mapped.and_then(|id| u32::try_from(id).ok()));
        let Some(owner) = owner else { return };
        for directory in ["rootfs", "sources"] {
            give(&self.bundle.path().join(directory), owner);
        }
    }

    /// Creates the container; the other end of its terminal comes through a console socket.
    pub(super) fn create(&self) -> Created {
        if self.config().get("/process/terminal") == &json!(true) {
            let listener = Listener::new(&self.bundle);
            let container = self.bundle.create_with(&listener.flags());
            let terminal = Some(listener.receive().0);
            return Created {
                container,
                terminal,
            };
        }
        let container = self.bundle.create();
        Created {
            container,
            terminal: None,
        }
    }
}

/// The cgroup that a cgroupsPath starts with.
struct Parent(String);

impl Drop for Parent {
    fn drop(&mut self) {
        remove_cgroup(&self.0);
    }
}

/// Created and not yet started.
pub(super) struct Created {
    pub(super) container: Container,
    terminal: Option<Master>,
}

impl Created {
    /// Starts it, reads the report and deletes what is left.
    pub(super) fn report(mut self) -> Report {
        self.container.start().assert_ok();
        let said = match &mut self.terminal {
            None => {
                self.container.wait_stopped();
                self.container.stdout()
            }
            Some(master) => {
                let said = master.expect("}\n");
                master.type_keys("\r");
                self.container.wait_stopped();
                said
            }
        };
        self.container.delete().assert_ok();
        Report::parse(&said)
    }
}

/// What the probe is to be asked beside its report: sysctls, kept files, devices, filtered calls.
pub(super) fn questions(config: &Config) -> Vec<String> {
    let sysctls = config.get("/linux/sysctl").as_object();
    let sysctls = sysctls.into_iter().flatten();
    let mut all: Vec<String> = sysctls.map(|(key, _)| format!("sysctl {key}")).collect();
    all.extend(config.items("/mounts").iter().filter_map(kept));
    all.extend(profile::questions(config));
    let capabilities = config.items("/process/capabilities/effective");
    if capabilities.contains(&json!("CAP_MKNOD")) {
        all.extend(NODES.map(|(major, minor)| node(major, minor)));
    }
    if config.get("/linux/seccomp").is_object() {
        all.extend(filter::CALLS.iter().map(filter::Call::question));
    }
    if config.get("/process/terminal") == &json!(true) {
        all.push("enter".to_owned());
    }
    all
}

/// Devices that some allow and some deny: null, kmsg, fuse.
pub(super) const NODES: [(u32, u32); 3] = [(1, 3), (1, 11), (10, 229)];

pub(super) fn node(major: u32, minor: u32) -> String {
    format!("node {major} {minor}")
}

/// For a mount with `tmpcopyup`: the file below it that must still be there.
pub(super) fn kept(mount: &Value) -> Option<String> {
    let options = mount["options"].as_array()?;
    let place = mount["destination"].as_str()?;
    let copied = options.contains(&json!("tmpcopyup"));
    copied.then(|| format!("read {place}/kept"))
}

fn keep(rootfs: &Path, place: &str) {
    let directory = rootfs.join(place.trim_start_matches('/'));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("kept"), format!("kept in {place}\n")).unwrap();
}

/// Devices and cgroups are the machine's own.
fn is_of_the_machine(source: &Value) -> bool {
    let source = source.as_str().unwrap();
    let own = source.starts_with("/dev/") || source.starts_with("/sys/");
    own && Path::new(source).exists()
}

fn make_source(source: &Path, place: &str) {
    let file = place.starts_with("/etc/") || place == "/run/.containerenv";
    if file {
        fs::write(source, format!("content of {place}\n")).unwrap();
    } else if place.starts_with("/dev/") && place != "/dev/shm" {
        // A device that this machine lacks: another zero.
        let mode = Mode::from_bits_truncate(0o600);
        mknod(source, SFlag::S_IFCHR, mode, makedev(1, 5)).unwrap();
    } else {
        fs::create_dir(source).unwrap();
    }
}

/// Gives a directory with all below it to a user and the group of the same number.
fn give(path: &Path, owner: u32) {
    lchown(path, Some(owner), Some(owner)).unwrap();
    let mode = fs::symlink_metadata(path).unwrap().mode();
    if mode & libc::S_IFMT == libc::S_IFDIR {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), owner);
        }
    }
}
