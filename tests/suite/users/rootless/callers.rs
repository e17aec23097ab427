//! The callers of a rootless runtime. Their users and subordinate ids are in a private /etc, so
//! that the host's files do not change.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, Config, Holder, Kind, Runtime, View, needs};

/// The uid of an unprivileged user.
pub(crate) const USER: u32 = 4001;
/// The uid of another unprivileged user.
pub(crate) const OTHER: u32 = 4002;
/// The first subordinate id of `USER`.
pub(crate) const FIRST_SUBORDINATE: u32 = 500_000;
/// The number of subordinate ids.
pub(crate) const COUNT: u32 = 65_536;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallerKind {
    /// A user without subordinate ids.
    Plain,
    /// A user with ids in /etc/subuid and /etc/subgid.
    Subordinate,
    /// Root of a user namespace that `Plain` has created, which maps this user only.
    NamespaceRoot,
    /// Root of a user namespace with all ids of `Subordinate`, like Podman's.
    Manager,
}

pub(crate) const ALL: [CallerKind; 4] = [
    CallerKind::Plain,
    CallerKind::Subordinate,
    CallerKind::NamespaceRoot,
    CallerKind::Manager,
];

/// A caller with a runtime of its own.
pub(crate) struct Caller {
    pub(crate) caller_kind: CallerKind,
    pub(crate) runtime: Runtime,
    /// Keeps the user namespace of `NamespaceRoot` and `Manager` open.
    _holder: Option<Holder>,
}

const SETPRIV: [&str; 6] = [
    "setpriv",
    "--reuid=4001",
    "--regid=4001",
    "--clear-groups",
    "--inh-caps=-all",
    "--",
];
const ENV: [&str; 6] = [
    "env",
    "-i",
    "PATH=/usr/bin:/bin",
    "HOME=~",
    "USER=lodger",
    "XDG_RUNTIME_DIR=~",
];
/// Binds the files of the directory `$0` over those in /etc.
const BINDS: &str = "for file in passwd group subuid subgid; do \
                     mount --bind \"$0/$file\" /etc/$file || exit 99; done; exec \"$@\"";

impl Caller {
    pub(crate) fn new(caller_kind: CallerKind) -> Self {
        Self::with(
            Runtime::new(),
            caller_kind,
            &format!("{FIRST_SUBORDINATE}:{COUNT}"),
            &[],
        )
    }

    pub(crate) fn in_v2_view(caller_kind: CallerKind) -> Self {
        Self::with(
            Runtime::new().view(View::V2),
            caller_kind,
            &format!("{FIRST_SUBORDINATE}:{COUNT}"),
            &[],
        )
    }

    /// A caller that is started by the command `before`, which runs as root.
    pub(crate) fn through(view: View, caller_kind: CallerKind, before: &[&str]) -> Self {
        Self::with(
            Runtime::new().view(view),
            caller_kind,
            &format!("{FIRST_SUBORDINATE}:{COUNT}"),
            before,
        )
    }

    /// A caller with the subordinate ids `START:COUNT`, or with none if the range is `other`.
    pub(crate) fn with_range(range: &str) -> Self {
        Self::with(Runtime::new(), CallerKind::Subordinate, range, &[])
    }

    fn with(runtime: Runtime, caller_kind: CallerKind, range: &str, before: &[&str]) -> Self {
        let etc = runtime.home().join("etc");
        write_etc(&etc, range);
        let etc = etc.to_str().unwrap();
        let binds = ["unshare", "-m", "sh", "-c", BINDS, etc];
        let user = [&binds[..], &SETPRIV[..]].concat();
        let holder = match caller_kind {
            CallerKind::Plain | CallerKind::Subordinate => None,
            CallerKind::NamespaceRoot => Some(["unshare", "-U", "-r", "-m"].as_slice()),
            CallerKind::Manager => Some(["unshare", "-U", "-r", "--map-auto", "-m"].as_slice()),
        };
        let holder = holder.map(|unshare| {
            // Holder needs a namespace flag to start these commands.
            Holder::new(&[&["--uts"], &user[..], unshare].concat())
        });
        let pid = holder.as_ref().map(|holder| holder.pid().to_string());
        let mut command = before.to_vec();
        match (&pid, caller_kind) {
            (Some(pid), _) => {
                command.extend(&SETPRIV);
                // In the caller's mount namespace, not in the holder's.
                command.extend(["nsenter", "-t", pid, "-U", "--preserve-credentials"]);
                command.extend(["unshare", "-m"]);
            }
            (None, CallerKind::Plain) => command.extend(&SETPRIV),
            (None, _) => command.extend(&user),
        }
        command.extend(&ENV);
        let runtime = runtime.of_caller(USER, &command);
        Self {
            caller_kind,
            runtime,
            _holder: holder,
        }
    }

    /// A bundle with the configuration of `spec --rootless` for this caller, without a terminal.
    pub(crate) fn bundle(&self) -> Bundle {
        let bundle = Bundle::with_runtime(&self.runtime);
        for path in [bundle.path(), &bundle.rootfs()] {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        let config = bundle.path().join("config.json");
        let call = self.runtime.call(&["spec", "--rootless"]);
        call.with(|command| command.current_dir(bundle.path()))
            .run()
            .assert_ok();
        let text = fs::read_to_string(&config).unwrap();
        fs::remove_file(config).unwrap();
        let bundle = bundle.with_config(Config::parse(&text));
        let bundle = bundle.set("/process/terminal", json!(false));
        match self.runtime.kind() {
            // crun fails to mount the cgroups of its template here.
            Kind::Crun => bundle.without_mount("/sys/fs/cgroup"),
            _ => bundle,
        }
    }

    /// Whether the caller is root of a user namespace.
    pub(crate) fn is_namespace_root(&self) -> bool {
        matches!(
            self.caller_kind,
            CallerKind::NamespaceRoot | CallerKind::Manager
        )
    }
}

fn write_etc(etc: &Path, range: &str) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    needs("newuidmap", "uidmap");
    fs::create_dir(etc).unwrap();
    let user = format!("lodger:x:{USER}:{USER}::/:/bin/sh\nother:x:{OTHER}:{OTHER}::/:/bin/sh\n");
    let groups = format!("lodger:x:{USER}:\nother:x:{OTHER}:\n");
    fs::write(etc.join("passwd"), passwd + &user).unwrap();
    fs::write(etc.join("group"), group + &groups).unwrap();
    let grants = match range {
        "other" => format!("other:{FIRST_SUBORDINATE}:{COUNT}\n"),
        range => format!("lodger:{range}\n"),
    };
    for name in ["subuid", "subgid"] {
        fs::write(etc.join(name), &grants).unwrap();
    }
}
