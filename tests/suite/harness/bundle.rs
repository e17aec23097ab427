//! A bundle under construction: config.json and a root file system with busybox and the probe.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use super::{Call, Config, Container, Directory, HostState, Kind, Outcome, Report, Runtime, host};

static BUNDLES: AtomicU32 = AtomicU32::new(0);

const APPLETS: [&str; 22] = [
    "sh", "cat", "ls", "sleep", "true", "false", "id", "mount", "umount", "echo", "pwd", "env",
    "kill", "mkdir", "touch", "rm", "stat", "readlink", "hostname", "ps", "test", "head",
];
const DIRECTORIES: [&str; 8] = ["bin", "proc", "sys", "dev", "tmp", "run", "etc", "root"];
const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000:worker:/home/worker:/bin/sh\n";
const GROUP: &str = "root:x:0:\nworker:x:1000:\nextra:x:2000:worker\n";

pub(crate) struct Bundle {
    directory: Directory,
    config: Config,
    runtime: Runtime,
    id: String,
}

impl Bundle {
    /// The template's config, for a runtime with a `--root` of its own.
    pub(crate) fn new() -> Self {
        Self::with_runtime(&Runtime::new())
    }

    pub(crate) fn with_runtime(runtime: &Runtime) -> Self {
        let number = BUNDLES.fetch_add(1, Ordering::Relaxed);
        let bundle = Self {
            directory: Directory::new(),
            config: Config::template(),
            runtime: runtime.clone(),
            id: format!("suite-{}-{number}", std::process::id()),
        };
        fill_rootfs(&bundle.rootfs());
        bundle
    }

    pub(crate) fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    pub(crate) fn with_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    pub(crate) fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    /// `sh -c SCRIPT` as the container's process.
    pub(crate) fn sh(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Sets the value at a JSON pointer, making its parents; `-` appends to an array.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        self.config.set(pointer, value);
        self
    }

    pub(crate) fn remove(mut self, pointer: &str) -> Self {
        self.config.remove(pointer);
        self
    }

    /// Adds a mount after the others.
    pub(crate) fn mount(self, mount: Value) -> Self {
        self.set("/mounts/-", mount)
    }

    /// Adds a bind mount with these options.
    pub(crate) fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Self {
        self.mount(json!({
            "destination": destination, "type": "bind", "source": source, "options": options,
        }))
    }

    pub(crate) fn without_mount(mut self, destination: &str) -> Self {
        self.config
            .retain("/mounts", |mount| mount["destination"] != destination);
        self
    }

    /// A new namespace of this kind, or the one at `path`.
    pub(crate) fn namespace(self, kind: &str, path: Option<&str>) -> Self {
        let entry = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self.without_namespace(kind)
            .set("/linux/namespaces/-", entry)
    }

    pub(crate) fn without_namespace(mut self, kind: &str) -> Self {
        self.config
            .retain("/linux/namespaces", |namespace| namespace["type"] != kind);
        self
    }

    pub(crate) fn hostname(self, name: &str) -> Self {
        self.set("/hostname", json!(name))
    }

    pub(crate) fn user(self, uid: u32, gid: u32) -> Self {
        self.set("/process/user", json!({ "uid": uid, "gid": gid }))
    }

    /// Gives the process all five sets the same capabilities, but no ambient ones.
    pub(crate) fn capabilities(self, names: &[&str]) -> Self {
        let sets = json!({ "bounding": names, "effective": names, "permitted": names });
        self.set("/process/capabilities", sets)
    }

    pub(crate) fn writable(self) -> Self {
        self.set("/root/readonly", json!(false))
    }

    /// Writes a file of the root file system.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let path = self.rootfs().join(path);
        make_parent(&path);
        fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        self
    }

    pub(crate) fn executable(self, path: &str, content: &str) -> Self {
        let bundle = self.file(path, content);
        let path = bundle.rootfs().join(path);
        let mode = fs::set_permissions(&path, Permissions::from_mode(0o755));
        mode.unwrap_or_else(|e| panic!("chmod {}: {e}", path.display()));
        bundle
    }

    /// Makes a character device of the root file system.
    pub(crate) fn device(self, path: &str, major: u64, minor: u64) -> Self {
        let path = self.rootfs().join(path);
        make_parent(&path);
        let (mode, number) = (Mode::from_bits_truncate(0o666), makedev(major, minor));
        let made = mknod(&path, SFlag::S_IFCHR, mode, number);
        made.unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        self
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        let path = self.rootfs().join(path);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        self
    }

    /// Makes a symbolic link in the root file system, in place of what was there.
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        let path = self.rootfs().join(path);
        make_parent(&path);
        drop(fs::remove_dir_all(&path));
        drop(fs::remove_file(&path));
        symlink(target, &path).unwrap_or_else(|e| panic!("link {}: {e}", path.display()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Writes config.json as it stands.
    pub(crate) fn write(&self) {
        self.write_config(&self.config);
    }

    fn write_config(&self, config: &Config) {
        let path = self.directory.join("config.json");
        let written = fs::write(&path, format!("{:#}\n", config.0));
        written.unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// `VERB FLAGS.. --bundle DIR ID`, with config.json written.
    pub(crate) fn call(&self, verb: &str, flags: &[&str]) -> Call {
        self.call_through(&[], verb, flags)
    }

    /// The same behind a program that starts the runtime: strace, taskset, setpriv.
    pub(crate) fn call_through(&self, before: &[&str], verb: &str, flags: &[&str]) -> Call {
        self.write();
        self.call_as_written(before, verb, flags)
    }

    /// With config.json as it is.
    pub(crate) fn call_as_written(&self, before: &[&str], verb: &str, flags: &[&str]) -> Call {
        let mut args = vec![verb];
        args.extend(flags);
        args.extend([
            "--bundle",
            self.path().to_str().unwrap_or_default(),
            &self.id,
        ]);
        self.runtime.call_through(before, &args)
    }

    /// `run` in the foreground.
    pub(crate) fn run(&self) -> Outcome {
        self.call("run", &[]).run()
    }

    /// `run` fails and leaves nothing behind. Ours says why in one line with all
    /// of `texts`; others have other words.
    #[track_caller]
    pub(crate) fn assert_refused(&self, texts: &[&str]) {
        let before = HostState::of(self);
        let outcome = self.run().assert_refused("");
        if Kind::under_test() == Kind::Rt {
            let line = outcome.one_line();
            for text in texts {
                assert!(line.contains(text), "no {text:?} in: {line}");
            }
        }
        before.assert_unchanged(self);
    }

    /// Runs the probe in place of the config's args and returns what it saw.
    #[track_caller]
    pub(crate) fn probe(&self) -> Report {
        self.probe_call(&[], &[]).assert_report()
    }

    /// The same with flags for `run`.
    #[track_caller]
    pub(crate) fn probe_with(&self, flags: &[&str]) -> Report {
        self.probe_call(&[], flags).assert_report()
    }

    /// The probe as a call still to be changed and run; `before` starts the runtime.
    pub(crate) fn probe_call(&self, before: &[&str], flags: &[&str]) -> Call {
        let mut config = self.config.clone();
        config.set("/process/args", json!(["/probe", "report"]));
        self.write_config(&config);
        self.call_as_written(before, "run", flags)
    }

    #[track_caller]
    pub(crate) fn create(&self) -> Container {
        self.make("create", &[])
    }

    #[track_caller]
    pub(crate) fn create_with(&self, flags: &[&str]) -> Container {
        self.make("create", flags)
    }

    #[track_caller]
    pub(crate) fn run_detached(&self) -> Container {
        self.make("run", &["--detach"])
    }

    #[track_caller]
    fn make(&self, verb: &str, flags: &[&str]) -> Container {
        let call = self.call(verb, flags);
        let output = call.output().to_owned();
        call.run().assert_ok();
        Container::new(&self.runtime, &self.id, output)
    }

    /// The container of this bundle.
    pub(crate) fn container(&self) -> Container {
        Container::new(&self.runtime, &self.id, PathBuf::new())
    }
}

impl Drop for Bundle {
    /// Ends the container and removes what a runtime that failed has left of its cgroups.
    fn drop(&mut self) {
        if self.runtime.root().join(&self.id).exists() {
            host::end_joined(&self.id);
            drop(self.runtime.call(&["delete", "--force", &self.id]).finish());
        }
        host::remove_cgroup(&self.id);
    }
}

fn make_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("make {}: {e}", parent.display()));
    }
}

/// busybox with its links, the probe, users and groups, and the usual directories.
pub(crate) fn fill_rootfs(rootfs: &Path) {
    for name in DIRECTORIES {
        let path = rootfs.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
    }
    let copy = |from: &Path, to: &str| {
        let copied = fs::copy(from, rootfs.join(to));
        copied.unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
    };
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    copy(
        busybox
            .unwrap_or_else(|| super::skip("busybox is not installed (package busybox-static)"))
            .as_ref(),
        "bin/busybox",
    );
    copy(probe(), "probe");
    for applet in APPLETS {
        let link = symlink("busybox", rootfs.join("bin").join(applet));
        link.unwrap_or_else(|e| panic!("link {applet}: {e}"));
    }
    for (name, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        fs::write(rootfs.join(name), content).unwrap_or_else(|e| panic!("write {name}: {e}"));
    }
}

/// The probe beside the runtime. `cargo test --test suite` alone does not build it: then it is built here.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_rt"))
            .parent()
            .unwrap_or(Path::new("/"));
        let probe = profile.join("examples/probe");
        if !is_fresh(&probe) {
            build_probe(profile.ends_with("release"));
        }
        probe
    })
}

/// Whether the probe is newer than each of its source files.
fn is_fresh(probe: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
    let sources = fs::read_dir(&sources).into_iter().flatten().flatten();
    modified(probe).is_some_and(|built| {
        sources
            .map(|source| modified(&source.path()))
            .all(|source| source <= Some(built))
    })
}

fn build_probe(release: bool) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", "probe"]);
    if release {
        cargo.arg("--release");
    }
    let built = cargo
        .status()
        .unwrap_or_else(|e| panic!("start cargo: {e}"));
    assert!(built.success(), "build the probe: {built}");
}
