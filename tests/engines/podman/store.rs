//! A Podman store with its own directories, for one runtime and one mode.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::{self, CommandOutput};
use crate::environment::{Directory, Runtime};
use crate::image;
use crate::programs::find;
use crate::terminal::Terminal;
use crate::user::{ContainersIds, User};

pub(crate) const IMAGE: &str = "localhost/busybox";

/// Whether Podman runs as root or as an unprivileged user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Root,
    Rootless,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Root => "podman",
            Mode::Rootless => "podman-rootless",
        }
    }
}

/// Podman with one runtime and its own directories. Dropping it removes all containers.
pub(crate) struct Podman {
    pub(crate) mode: Mode,
    pub(crate) runtime: Runtime,
    program: PathBuf,
    user: Option<User>,
    _ids: Option<ContainersIds>,
    /// Set once the name server of its networks runs.
    pub(super) name_server: OnceLock<()>,
    /// Whether it is the installed Podman with its default directories and configuration.
    is_installed: bool,
    directory: Directory,
}

impl Podman {
    /// Creates a store with the busybox image. `purpose` is part of its directory's name.
    pub(crate) fn new(mode: Mode, runtime: Runtime, purpose: &str) -> Podman {
        let name = match mode {
            Mode::Root => format!("podman{purpose}-{}", runtime.name()),
            Mode::Rootless => format!("poduser{purpose}-{}", runtime.name()),
        };
        let directory = Directory::new(&name);
        let user = (mode == Mode::Rootless).then(|| User::new(&name));
        for name in [
            "home", "xdg", "tmp", "root", "run", "bin", "files", "networks",
        ] {
            let path = directory.join(name);
            fs::create_dir(&path).unwrap();
            let mode = if name == "xdg" { 0o700 } else { 0o755 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            if let Some(user) = &user {
                user.chown(&path);
            }
        }
        // Copy the runtime: an unprivileged user may have no access to cargo's target directory. Podman identifies
        // a runtime by its file name, so keep the name.
        let program = directory.join("bin").join(runtime.name());
        fs::copy(runtime.path(), &program).unwrap();
        fs::write(
            directory.join("containers.conf"),
            configuration(directory.path()),
        )
        .unwrap();
        let podman = Podman {
            mode,
            runtime,
            program,
            user,
            _ids: (mode == Mode::Root).then(ContainersIds::new),
            name_server: OnceLock::new(),
            is_installed: false,
            directory,
        };
        podman.import();
        podman
    }

    /// The installed Podman, of root or of a user in a session, which uses `program` as its runtime.
    pub(crate) fn installed(mode: Mode, runtime: Runtime, program: &Path) -> Podman {
        let directory = Directory::new(mode.name());
        let user = (mode == Mode::Rootless).then(|| User::with_session("tester"));
        fs::create_dir_all(directory.join("files")).unwrap();
        let podman = Podman {
            mode,
            runtime,
            program: program.to_owned(),
            user,
            _ids: None,
            name_server: OnceLock::new(),
            is_installed: true,
            directory,
        };
        podman.import();
        podman
    }

    /// Imports the busybox image.
    fn import(&self) {
        let archive = image::busybox_archive(self.path());
        let archive = archive.to_str().unwrap();
        let change = ["-c", "CMD [\"/bin/sh\"]", "-c", "ENV PATH=/bin"];
        self.ok(&[&["import", "-q"], &change[..], &[archive, IMAGE]].concat());
    }

    /// The command `podman ARGS`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.program("podman", args)
    }

    /// The command `podman ARGS` or `buildah ARGS` on this store, with the global options that both have.
    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Command {
        let path_of = |name: &str| self.directory.join(name);
        let path = find(program).unwrap();
        if self.is_installed {
            let mut command = self.host_command(&path);
            command.args(args);
            return command;
        }
        let mut command = match &self.user {
            Some(user) => user.command(&path),
            None => Command::new(path),
        };
        command.env("HOME", path_of("home"));
        if self.mode == Mode::Rootless {
            command.env("XDG_RUNTIME_DIR", path_of("xdg"));
        }
        command.env("TMPDIR", path_of("tmp"));
        command.env("CONTAINERS_CONF", path_of("containers.conf"));
        // Podman 5 would warn of cgroup v1 in each output.
        command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
        command.current_dir(path_of("home"));
        command.arg("--root").arg(path_of("root"));
        command.arg("--runroot").arg(path_of("run"));
        command.args(["--storage-driver", "overlay"]);
        if program == "podman" {
            command.arg("--tmpdir").arg(path_of("tmp"));
            command.arg("--runtime").arg(&self.program);
        }
        command.args(args);
        command
    }

    /// A command of root, or in the session of the user.
    pub(crate) fn host_command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.user {
            Some(user) => user.command_in_session(program),
            None => Command::new(program),
        }
    }

    /// `--network none` for the installed Podman, unless the options select a network: iptables(8) takes most of the
    /// time of a start in the virtual machine.
    fn without_network(&self, options: &[&str]) -> &'static [&'static str] {
        let selects = |option: &&str| ["--network", "--pod", "-p"].contains(option);
        if !self.is_installed || options.iter().any(selects) {
            &[]
        } else {
            &["--network", "none"]
        }
    }

    /// The path of the store's copy of the runtime.
    pub(crate) fn runtime_path(&self) -> &str {
        self.program.to_str().unwrap()
    }

    pub(crate) fn call(&self, args: &[&str]) -> CommandOutput {
        command::run(&mut self.command(args))
    }

    pub(crate) fn call_with(&self, args: &[&str], input: &str) -> CommandOutput {
        command::run_with(&mut self.command(args), input.as_bytes())
    }

    /// Runs a command and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.call(args).ok()
    }

    /// `podman run --rm` of a script.
    pub(crate) fn run(&self, options: &[&str], script: &str) -> CommandOutput {
        let network = self.without_network(options);
        let run = [
            &["run", "--rm"],
            network,
            options,
            &[IMAGE, "sh", "-c", script],
        ];
        self.call(&run.concat())
    }

    /// `podman run --rm` of a script. Returns its output and panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, options: &[&str], script: &str) -> String {
        self.run(options, script).ok()
    }

    /// Starts a container in the background that runs a script.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &[&str], script: &str) -> Container<'_> {
        let network = self.without_network(options);
        let run = [&["run", "-d", "--name", name], network, options];
        self.ok(&[&run.concat()[..], &[IMAGE, "sh", "-c", script]].concat());
        Container {
            podman: self,
            name: name.to_owned(),
        }
    }

    /// A handle to a container that the test has created itself. Dropping it removes the container.
    pub(crate) fn container(&self, name: &str) -> Container<'_> {
        let name = name.to_owned();
        Container { podman: self, name }
    }

    /// Runs `podman ARGS` on a terminal of 77 columns and 33 rows.
    pub(crate) fn on_terminal(&self, args: &[&str]) -> Terminal {
        terminal(self.command(args))
    }

    /// Creates a directory for one test, owned by the store's user.
    pub(crate) fn files(&self, feature: &str) -> PathBuf {
        let path = self.directory.join("files").join(feature);
        let _ = fs::remove_dir_all(&path); // From a first attempt.
        fs::create_dir(&path).unwrap();
        self.chown(&path);
        path
    }

    /// Makes the store's user the owner of a file.
    pub(crate) fn chown(&self, path: &Path) {
        if let Some(user) = &self.user {
            user.chown(path);
        }
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A subnet that no other store uses, `10.STORE.NUMBER.0/24`.
    pub(crate) fn subnet(&self, number: u8) -> String {
        let mode = u8::from(self.mode == Mode::Rootless) * 2;
        format!("10.{}.{number}.0/24", 210 + mode + self.runtime as u8)
    }

    /// A network name that no other store uses: root's Podman keeps name servers and addresses by network name, in
    /// one directory for all stores.
    pub(crate) fn network(&self, name: &str) -> String {
        let store = self.path().file_name().unwrap_or_default();
        format!("{name}-{}", store.display())
    }

    /// A port of the host that no other store uses.
    pub(crate) fn port(&self, number: u16) -> u16 {
        let mode = u16::from(self.mode == Mode::Rootless) * 2;
        24000 + (mode + self.runtime as u16) * 100 + number
    }
}

impl Podman {
    /// Deletes the containers that the runtime still has but the engine has forgotten: Podman forgets those whose
    /// conmon was killed, Buildah those whose `run` was interrupted.
    fn delete_forgotten(&self) {
        let listed =
            command::run_cleanup(Command::new(&self.program).args(["list", "--format", "json"]));
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
        for container in listed.as_array().into_iter().flatten() {
            let [id, bundle] =
                ["id", "bundle"].map(|key| container[key].as_str().unwrap_or_default());
            if Path::new(bundle).starts_with(self.path()) {
                command::run_cleanup(Command::new(&self.program).args(["delete", "--force", id]));
            }
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for args in [&["pod", "rm", "-af", "-t0"][..], &["rm", "-af", "-t0"]] {
            command::run_cleanup(&mut self.command(args));
        }
        match self.user.take() {
            Some(user) => drop(user),
            None => self.delete_forgotten(),
        }
    }
}

/// A shell command that waits until the terminal has the size that [`terminal`] sets, which an engine may pass on
/// after the start of the container.
pub(crate) const WAIT_FOR_SIZE: &str =
    "until [ \"$(stty size 2>/dev/null)\" = '33 77' ]; do sleep 0.02; done";

/// Starts a command on a terminal that has 77 columns and 33 rows before the command starts.
pub(crate) fn terminal(inner: Command) -> Terminal {
    let mut shell = Command::new("sh");
    let script = format!("{WAIT_FOR_SIZE}; exec \"$@\"");
    shell.args(["-c", &script, "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args());
    let variables = inner.get_envs();
    shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    shell.env("TERM", "xterm");
    let mut terminal = Terminal::start(&shell);
    terminal.resize(77, 33);
    terminal
}

/// A container. Dropping it removes it.
pub(crate) struct Container<'a> {
    podman: &'a Podman,
    pub(crate) name: String,
}

impl Container<'_> {
    /// `podman exec` of a script.
    pub(crate) fn exec(&self, options: &[&str], script: &str) -> CommandOutput {
        let args = [&["exec"], options, &[&self.name, "sh", "-c", script]];
        self.podman.call(&args.concat())
    }

    /// `podman exec` of a script. Returns its output and panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, options: &[&str], script: &str) -> String {
        self.exec(options, script).ok()
    }

    /// The container's stdout and stderr so far.
    pub(crate) fn logs(&self) -> String {
        let output = self.podman.call(&["logs", &self.name]);
        format!("{}{}", output.stdout, output.stderr)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        command::wait_until(text, 30, || self.logs().contains(text));
    }

    /// `podman container inspect` with a Go template.
    #[track_caller]
    pub(crate) fn inspect(&self, template: &str) -> String {
        let args = ["container", "inspect", "--format", template, &self.name];
        self.podman.ok(&args)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inspect("{{.State.Pid}}").parse().unwrap()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.podman.call(&["rm", "-f", "-t0", "-i", &self.name]);
    }
}

/// The text of containers.conf. The lists of runtimes contain file names. Podman's default ulimits could exceed the
/// host's hard limits. With locks in shared memory all stores would share one set of locks.
fn configuration(directory: &Path) -> String {
    let networks = directory.join("networks");
    format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime_supports_json = ["rt", "runc"]
runtime_supports_nocgroup = ["rt"]
[network]
network_backend = "netavark"
network_config_dir = "{}"
"#,
        networks.display()
    )
}
