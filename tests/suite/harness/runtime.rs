//! The runtime under test, and the cgroup file systems that it sees.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::host::on_v2;
use super::{Call, Directory, Holder};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// `RT_UNDER_TEST` names Debian's `runc` or `crun`, or the absolute path of an `rt`; unset means the one
/// that cargo has built with the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Rt,
    Runc,
    Crun,
}

impl Kind {
    pub(crate) fn under_test() -> Self {
        match env::var("RT_UNDER_TEST").as_deref() {
            Err(_) | Ok("" | "rt") => Self::Rt,
            Ok("runc") => Self::Runc,
            Ok("crun") => Self::Crun,
            Ok(path) if path.starts_with('/') => Self::Rt,
            Ok(other) => {
                panic!("RT_UNDER_TEST={other}: neither runc nor crun nor an absolute path")
            }
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Rt => own_program().unwrap_or(env!("CARGO_BIN_EXE_rt")),
            Self::Runc => "/usr/sbin/runc",
            Self::Crun => "/usr/bin/crun",
        }
    }
}

/// The `rt` that `RT_UNDER_TEST` names by its path.
fn own_program() -> Option<&'static str> {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    let named = NAMED.get_or_init(|| env::var("RT_UNDER_TEST").ok());
    named.as_deref().filter(|path| path.starts_with('/'))
}

/// Whether the `rt` under test is built as it ships.
pub(crate) fn is_release_build() -> bool {
    own_program().is_some() || !cfg!(debug_assertions)
}

/// Which cgroups the runtime finds at /sys/fs/cgroup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Those of the host.
    Host,
    /// Only cgroup2, with the few controllers that no v1 hierarchy took.
    V2,
}

/// cgroup v1 as crun wants it: a cgroup2 without controllers beside it.
const NO_V2_CONTROLLERS: &str =
    "mount --bind /dev/null /sys/fs/cgroup/unified/cgroup.controllers && exec \"$@\"";
const ONLY_V2: &str =
    "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";

/// A runtime with a `--root` of its own.
#[derive(Clone)]
pub(crate) struct Runtime {
    kind: Kind,
    view: View,
    globals: Vec<String>,
    /// The command that every call goes through. A caller other than root gives no `--root`.
    caller: Option<Vec<String>>,
    /// The start of every command line: a program that enters namespaces.
    within: Vec<String>,
    home: Rc<Directory>,
}

impl Runtime {
    pub(crate) fn new() -> Self {
        Self::of(Kind::under_test())
    }

    pub(crate) fn of(kind: Kind) -> Self {
        let home = Rc::new(Directory::new());
        Self {
            kind,
            view: View::Host,
            globals: Vec::new(),
            caller: None,
            within: Vec::new(),
            home,
        }
    }

    pub(crate) fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// A runtime of the user `uid`, who owns `home`. Every call goes through the command `command_line`, in which `~` stands
    /// for `home`. No `--root` is given.
    pub(crate) fn of_caller(mut self, uid: u32, command_line: &[&str]) -> Self {
        let home = self.home.path();
        let owned = std::os::unix::fs::chown(home, Some(uid), Some(uid));
        owned.unwrap_or_else(|e| panic!("chown {}: {e}", home.display()));
        if self.kind == Kind::Rt {
            // The one that cargo has built may lie where only root can go.
            let copied = fs::copy(self.kind.program(), self.home.join("program"));
            copied.unwrap_or_else(|e| panic!("copy the program to {}: {e}", home.display()));
        }
        let home = home.to_str().unwrap_or_default();
        let command_line = command_line.iter().map(|word| word.replace('~', home));
        self.caller = Some(command_line.collect());
        self
    }

    /// Runs everything in namespaces of another process, such as `net` and `mnt`.
    pub(crate) fn within(mut self, holder: &Holder, kinds: &[&str]) -> Self {
        let paths = kinds.iter().map(|kind| {
            let option = if *kind == "mnt" { "mount" } else { kind };
            format!("--{option}={}", holder.path(kind))
        });
        self.within = std::iter::once("nsenter".to_owned()).chain(paths).collect();
        self
    }

    /// Adds a flag that comes before the command.
    pub(crate) fn global(mut self, flag: &str) -> Self {
        self.globals.push(flag.to_owned());
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn program(&self) -> PathBuf {
        match (&self.caller, self.kind) {
            (Some(_), Kind::Rt) => self.home.join("program"),
            (_, kind) => PathBuf::from(kind.program()),
        }
    }

    /// The directory given as `--root`, or the one below `XDG_RUNTIME_DIR`; the runtime makes it.
    pub(crate) fn root(&self) -> PathBuf {
        self.home.join(match (&self.caller, self.kind) {
            (None, _) => "root",
            (Some(_), Kind::Rt) => "rt",
            (Some(_), Kind::Runc) => "runc",
            (Some(_), Kind::Crun) => "crun",
        })
    }

    /// A directory for logs, pid files and the like, outside of `--root`.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// `runtime --root ROOT ARGS..`
    pub(crate) fn call(&self, args: &[&str]) -> Call {
        self.call_through(&[], args)
    }

    /// The same through a program that starts the runtime: strace, taskset, setpriv.
    pub(crate) fn call_through(&self, before: &[&str], args: &[&str]) -> Call {
        let mut command_line: Vec<&str> = before.to_vec();
        let (root, program) = (self.root(), self.program());
        command_line.extend(self.caller.iter().flatten().map(String::as_str));
        command_line.push(program.to_str().unwrap_or_default());
        if self.caller.is_none() {
            command_line.extend(["--root", root.to_str().unwrap_or_default()]);
        }
        command_line.extend(self.globals.iter().map(String::as_str));
        command_line.extend(args);
        self.call_as_is(command_line)
    }

    /// Another program, which sees what the runtime sees.
    pub(crate) fn call_as_is(&self, command_line: Vec<&str>) -> Call {
        let within = self.within.iter().map(String::as_str);
        let mut command_line: Vec<&str> = within.chain(command_line).collect();
        let mut command = match (self.view, self.kind) {
            // Another mount of cgroup v2 would change the options of the host's.
            _ if on_v2() => Command::new(command_line.remove(0)),
            (View::V2, _) => in_view(ONLY_V2),
            (View::Host, Kind::Crun) => in_view(NO_V2_CONTROLLERS),
            (View::Host, _) => Command::new(command_line.remove(0)),
        };
        command.args(command_line);
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(command, self.home.join(&format!("call-{number}.out")));
        match self.kind {
            // It would change the owner of the host's /dev/null to the container's user.
            Kind::Crun => call.with(|command| command.stdin(empty(&self.home.join("stdin")))),
            Kind::Rt | Kind::Runc => call,
        }
    }
}

/// An empty file, open for reading.
fn empty(path: &Path) -> fs::File {
    let made = fs::write(path, "").and_then(|()| fs::File::open(path));
    made.unwrap_or_else(|e| panic!("make {}: {e}", path.display()))
}

/// A shell in a private mount namespace that prepares the view and becomes the command.
fn in_view(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]);
    command
}
