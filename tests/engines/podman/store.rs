//! Where Podman keeps what it makes with one runtime, and how it is called there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::{self, CommandOutput};
use crate::environment::{Directory, Runtime, find};
use crate::image;
use crate::terminal::Terminal;
use crate::user::{ContainersIds, User};

pub(crate) const IMAGE: &str = "localhost/busybox";

/// Whose Podman it is.
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

/// Podman with one runtime, in directories of its own.
pub(crate) struct Podman {
    pub(crate) mode: Mode,
    pub(crate) runtime: Runtime,
    program: PathBuf,
    user: Option<User>,
    _ids: Option<ContainersIds>,
    /// Whether the name server of its networks has been started.
    pub(super) named: OnceLock<()>,
    directory: Directory,
}

impl Podman {
    /// A store with the image of busybox in it. The `purpose` is part of its directory's name.
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
        // A user need not get to where cargo builds; and Podman knows a runtime by its name.
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
            named: OnceLock::new(),
            directory,
        };
        let archive = image::busybox_archive(podman.path());
        let archive = archive.to_str().unwrap();
        let change = ["-c", "CMD [\"/bin/sh\"]", "-c", "ENV PATH=/bin"];
        podman.ok(&[&["import", "-q"], &change[..], &[archive, IMAGE]].concat());
        podman
    }

    /// `podman WORDS`, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.program("podman", args)
    }

    /// Podman or Buildah with this store. The options before the verb are the same as far as both have them.
    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Command {
        let at = |name: &str| self.directory.join(name);
        let path = find(program).unwrap();
        let mut command = match &self.user {
            Some(user) => user.command(&path),
            None => Command::new(path),
        };
        command.env("HOME", at("home"));
        if self.mode == Mode::Rootless {
            command.env("XDG_RUNTIME_DIR", at("xdg"));
        }
        command.env("TMPDIR", at("tmp"));
        command.env("CONTAINERS_CONF", at("containers.conf"));
        command.current_dir(at("home"));
        command.arg("--root").arg(at("root"));
        command.arg("--runroot").arg(at("run"));
        command.args(["--storage-driver", "overlay"]);
        if program == "podman" {
            command.arg("--tmpdir").arg(at("tmp"));
            command.arg("--runtime").arg(&self.program);
        }
        command.args(args);
        command
    }

    /// The runtime as the store has it.
    pub(crate) fn runtime_path(&self) -> &str {
        self.program.to_str().unwrap()
    }

    pub(crate) fn call(&self, args: &[&str]) -> CommandOutput {
        command::run(&mut self.command(args))
    }

    pub(crate) fn call_with(&self, args: &[&str], input: &str) -> CommandOutput {
        command::run_with(&mut self.command(args), input.as_bytes())
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.call(args).ok()
    }

    /// `podman run --rm` of a script.
    pub(crate) fn run(&self, options: &[&str], script: &str) -> CommandOutput {
        let run = [&["run", "--rm"], options, &[IMAGE, "sh", "-c", script]];
        self.call(&run.concat())
    }

    /// What a script says that must succeed.
    #[track_caller]
    pub(crate) fn says(&self, options: &[&str], script: &str) -> String {
        self.run(options, script).ok()
    }

    /// A container with a script that goes on.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &[&str], script: &str) -> Container<'_> {
        let run = [&["run", "-d", "--name", name], options];
        self.ok(&[&run.concat()[..], &[IMAGE, "sh", "-c", script]].concat());
        Container {
            podman: self,
            name: name.to_owned(),
        }
    }

    /// A container that the caller has made, to be removed with what this gives.
    pub(crate) fn named(&self, name: &str) -> Container<'_> {
        let name = name.to_owned();
        Container { podman: self, name }
    }

    /// The same on a terminal of 77 columns and 33 rows.
    pub(crate) fn on_terminal(&self, args: &[&str]) -> Terminal {
        terminal(self.command(args))
    }

    /// A new directory for one feature, that the store's user owns.
    pub(crate) fn files(&self, feature: &str) -> PathBuf {
        let path = self.directory.join("files").join(feature);
        let _ = fs::remove_dir_all(&path); // Of the feature's first time.
        fs::create_dir(&path).unwrap();
        self.chown(&path);
        path
    }

    /// Gives a file to the store's user.
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

    /// Apart with one runtime from the other: `10.FIRST.NUMBER.0/24`.
    pub(crate) fn subnet(&self, number: u8) -> String {
        let mode = u8::from(self.mode == Mode::Rootless) * 2;
        format!("10.{}.{number}.0/24", 210 + mode + self.runtime as u8)
    }

    /// The name of a network that no other store has: root's name servers and addresses are kept by it, in one
    /// place for all stores.
    pub(crate) fn network(&self, name: &str) -> String {
        let store = self.path().file_name().unwrap_or_default();
        format!("{name}-{}", store.display())
    }

    /// A port of this machine that no other store takes.
    pub(crate) fn port(&self, number: u16) -> u16 {
        let mode = u16::from(self.mode == Mode::Rootless) * 2;
        24000 + (mode + self.runtime as u16) * 100 + number
    }
}

impl Podman {
    /// What the runtime keeps and the engines forgot: Podman that of a conmon killed, Buildah that of a
    /// run interrupted.
    fn end_forgotten(&self) {
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
            None => self.end_forgotten(),
        }
    }
}

/// Waits, in a shell, for the size that [`terminal`] gives: an engine may set it after the start.
pub(crate) const SIZED: &str =
    "until [ \"$(stty size 2>/dev/null)\" = '33 77' ]; do sleep 0.02; done";

/// A command on a terminal of 77 columns and 33 rows, which it has before the command starts.
pub(crate) fn terminal(inner: Command) -> Terminal {
    let mut sized = Command::new("sh");
    let script = format!("{SIZED}; exec \"$@\"");
    sized.args(["-c", &script, "sh"]);
    sized.arg(inner.get_program()).args(inner.get_args());
    let variables = inner.get_envs();
    sized.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    sized.env("TERM", "xterm");
    let mut terminal = Terminal::start(&sized);
    terminal.resize(77, 33);
    terminal
}

/// A container that goes when it is dropped.
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

    /// What a script says in there that must succeed.
    #[track_caller]
    pub(crate) fn says(&self, options: &[&str], script: &str) -> String {
        self.exec(options, script).ok()
    }

    /// Both outputs so far.
    pub(crate) fn logs(&self) -> String {
        let output = self.podman.call(&["logs", &self.name]);
        format!("{}{}", output.stdout, output.stderr)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        command::wait_until(text, 30, || self.logs().contains(text));
    }

    /// `podman inspect` of a container, by a Go template.
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

/// The lists go by the name of the runtime's file. Without the limits Podman asks for more than this
/// machine's hard ones; the locks in shared memory would be one set for all stores.
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
