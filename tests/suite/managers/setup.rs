//! Creates what a container manager creates before it calls the runtime: sources of mounts, namespaces,
//! owners of files, and a daemon with a hook.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::fields::map;
use super::rootless::Rootless;
use super::{filter, profile};
use crate::harness::{
    Bundle, Call, Config, Container, Holder, Report, Runtime, namespace_of, on_v2, remove_cgroup,
};
use crate::terminal::{Listener, Master};

/// A bundle and everything that its configuration refers to. The fields are dropped in this order.
pub(super) struct Setup {
    pub(super) bundle: Bundle,
    pub(super) daemon: Option<Daemon>,
    user: Option<Rootless>,
    pod: Option<Holder>,
    _parent: Option<ParentCgroup>,
}

/// The name in /proc/PID/ns of a namespace type of config.json.
pub(super) fn link_of(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

impl Setup {
    /// A container of root, as a manager's daemon runs it.
    pub(super) fn new(config: Config, questions: &[String]) -> Self {
        let pod = Holder::new(&["--pid", "--fork", "--net", "--ipc", "--uts"]);
        Self::adapt(config, questions, &Runtime::new(), Some(pod), None)
    }

    /// A container of an unprivileged user who is root in a user namespace.
    pub(super) fn rootless(config: Config, questions: &[String]) -> Self {
        let user = Rootless::new();
        let runtime = user.runtime();
        Self::adapt(config, questions, &runtime, None, Some(user))
    }

    fn adapt(
        mut config: Config,
        questions: &[String],
        runtime: &Runtime,
        pod: Option<Holder>,
        user: Option<Rootless>,
    ) -> Self {
        let mut setup = Self {
            bundle: Bundle::with_runtime(runtime),
            daemon: None,
            user,
            pod,
            _parent: None,
        };
        config.set("/root/path", json!(setup.bundle.rootfs()));
        setup.join_namespaces(&mut config);
        setup.move_cgroup(&mut config);
        setup.make_sources(&mut config);
        setup.start_daemon(&mut config);
        let mut args = vec!["/probe", "report"];
        args.extend(questions.iter().map(String::as_str));
        config.set("/process/args", json!(args));
        setup.bundle = setup.bundle.with_config(config);
        setup.change_owner();
        setup
    }

    pub(super) fn config(&self) -> &Config {
        self.bundle.config()
    }

    pub(super) fn is_rootless(&self) -> bool {
        self.user.is_some()
    }

    /// The runtime's own namespace.
    pub(super) fn outside(&self, link: &str) -> String {
        match &self.user {
            Some(user) if ["user", "mnt"].contains(&link) => user.holder().namespace(link),
            _ => namespace_of("self", link),
        }
    }

    /// The id map of the runtime's user namespace.
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

    /// The namespace that the container joins.
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

    /// Gives the test a parent cgroup of its own: `/suite-1-2-docker/ID` instead of `/docker/ID`.
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
        self._parent = parent.map(ParentCgroup);
        config.set("/linux/cgroupsPath", json!(moved));
    }

    /// Creates a file or directory for each bind mount, and the layers of overlays.
    fn make_sources(&self, config: &mut Config) {
        let sources = self.bundle.path().join("sources");
        fs::create_dir(&sources).unwrap();
        if on_v2() {
            // Podman mounts systemd's named hierarchy on cgroup v1 only.
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
        let destination = mount["destination"].as_str().unwrap();
        if mount["type"] == "bind" && !is_on_host(&mount["source"]) {
            make_source(own, destination);
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
                None if option == "tmpcopyup" => {
                    make_file_to_copy_up(&self.bundle.rootfs(), destination)
                }
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
        let exec_root = format!("-exec-root={}", daemon.exec_root().display());
        config.set(&format!("{hook}/args/1"), json!(exec_root));
        self.daemon = Some(daemon);
    }

    /// Changes the owner of all files to root of the container, as a manager does for an image.
    fn change_owner(&self) {
        let config = self.bundle.config();
        let mapped = config.get("/linux/uidMappings/0/hostID").as_u64();
        let owner = self.user.as_ref().map(|_| Rootless::OWNER);
        let owner = owner.or(mapped.and_then(|id| u32::try_from(id).ok()));
        let Some(owner) = owner else { return };
        for directory in ["rootfs", "sources"] {
            chown_recursively(&self.bundle.path().join(directory), owner);
        }
    }

    /// A `create` that may be refused, and the listener for its terminal.
    pub(super) fn create_call(&self) -> (Call, Option<Listener>) {
        let has_terminal = self.config().get("/process/terminal") == &json!(true);
        let listener = has_terminal.then(|| Listener::new(&self.bundle));
        let call = match &listener {
            Some(listener) => self.bundle.call("create", &listener.flags()),
            None => self.bundle.call("create", &[]),
        };
        (call, listener)
    }

    /// Creates the container. The master of its terminal comes through a console socket.
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

/// The first component of a cgroupsPath, which is removed on drop.
struct ParentCgroup(String);

impl Drop for ParentCgroup {
    fn drop(&mut self) {
        remove_cgroup(&self.0);
    }
}

/// A created container that has not been started.
pub(super) struct Created {
    pub(super) container: Container,
    terminal: Option<Master>,
}

impl Created {
    /// Starts the container, reads the probe's report and deletes the container.
    pub(super) fn report(mut self) -> Report {
        self.container.start().assert_ok();
        let output = match &mut self.terminal {
            None => {
                self.container.wait_stopped();
                self.container.stdout()
            }
            Some(master) => {
                let output = master.expect("}\n");
                master.type_keys("\r");
                self.container.wait_stopped();
                output
            }
        };
        self.container.delete().assert_ok();
        Report::parse(&output)
    }
}

/// The questions for the probe in addition to its report: sysctls, copied files, devices and filtered
/// system calls.
pub(super) fn questions(config: &Config) -> Vec<String> {
    let sysctls = config.get("/linux/sysctl").as_object();
    let sysctls = sysctls.into_iter().flatten();
    let mut all: Vec<String> = sysctls.map(|(key, _)| format!("sysctl {key}")).collect();
    all.extend(config.items("/mounts").iter().filter_map(copied_up_file));
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

/// Devices that some configurations allow and others deny: null, kmsg and fuse.
pub(super) const NODES: [(u32, u32); 3] = [(1, 3), (1, 11), (10, 229)];

pub(super) fn node(major: u32, minor: u32) -> String {
    format!("node {major} {minor}")
}

/// For a mount with `tmpcopyup`: the question about the file that the runtime copies into it.
pub(super) fn copied_up_file(mount: &Value) -> Option<String> {
    let options = mount["options"].as_array()?;
    let destination = mount["destination"].as_str()?;
    let copied = options.contains(&json!("tmpcopyup"));
    copied.then(|| format!("read {destination}/kept"))
}

fn make_file_to_copy_up(rootfs: &Path, destination: &str) {
    let directory = rootfs.join(destination.trim_start_matches('/'));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("kept"), format!("kept in {destination}\n")).unwrap();
}

/// Whether the source is a device or cgroup of the host, which the test uses as it is.
fn is_on_host(source: &Value) -> bool {
    let source = source.as_str().unwrap();
    let own = source.starts_with("/dev/") || source.starts_with("/sys/");
    own && Path::new(source).exists()
}

fn make_source(source: &Path, destination: &str) {
    let file = destination.starts_with("/etc/") || destination == "/run/.containerenv";
    if file {
        fs::write(source, format!("content of {destination}\n")).unwrap();
    } else if destination.starts_with("/dev/") && destination != "/dev/shm" {
        // A device that the host lacks: /dev/zero stands in for it.
        let mode = Mode::from_bits_truncate(0o600);
        mknod(source, SFlag::S_IFCHR, mode, makedev(1, 5)).unwrap();
    } else {
        fs::create_dir(source).unwrap();
    }
}

/// Changes the owner of a directory and everything below it to a uid and the gid of the same number.
fn chown_recursively(path: &Path, owner: u32) {
    lchown(path, Some(owner), Some(owner)).unwrap();
    let mode = fs::symlink_metadata(path).unwrap().mode();
    if mode & libc::S_IFMT == libc::S_IFDIR {
        for entry in fs::read_dir(path).unwrap() {
            chown_recursively(&entry.unwrap().path(), owner);
        }
    }
}
