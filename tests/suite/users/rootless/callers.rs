//! Who runs the runtime. Users, and ids lent to them, are of a private /etc: the machine's stays.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use serde_json::json;

use crate::harness::{Bundle, Config, Holder, Kind, Runtime, View, skip};

/// An ordinary user's id.
pub(super) const USER: u32 = 4001;
/// Another's.
pub(super) const OTHER: u32 = 4002;
/// The first of the ids lent to `USER`.
pub(super) const LENT: u32 = 500_000;
/// How many are lent.
pub(super) const COUNT: u32 = 65_536;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// A user to whom nothing is lent.
    Plain,
    /// A user with ids in /etc/subuid and /etc/subgid.
    Lent,
    /// Root of a user namespace that `Plain` has made: its only id is that user.
    Inside,
    /// Root of a user namespace with all ids of `Lent`, as a rootless manager is.
    Manager,
}

pub(super) const ALL: [Who; 4] = [Who::Plain, Who::Lent, Who::Inside, Who::Manager];

/// A caller with a runtime of its own.
pub(super) struct Caller {
    pub(super) who: Who,
    pub(super) runtime: Runtime,
    /// Keeps the user namespace of `Inside` and `Manager` open.
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
/// A private /etc with the files in the directory given first.
const BINDS: &str = "for file in passwd group subuid subgid; do \
                     mount --bind \"$0/$file\" /etc/$file || exit 99; done; exec \"$@\"";

impl Caller {
    pub(super) fn new(who: Who) -> Self {
        Self::with(Runtime::new(), who, &format!("{LENT}:{COUNT}"), &[])
    }

    pub(super) fn in_v2_view(who: Who) -> Self {
        Self::with(
            Runtime::new().view(View::V2),
            who,
            &format!("{LENT}:{COUNT}"),
            &[],
        )
    }

    /// Behind a program that still runs as root.
    pub(super) fn through(view: View, who: Who, before: &[&str]) -> Self {
        Self::with(
            Runtime::new().view(view),
            who,
            &format!("{LENT}:{COUNT}"),
            before,
        )
    }

    /// The range lent as `START:COUNT`.
    pub(super) fn lent(range: &str) -> Self {
        Self::with(Runtime::new(), Who::Lent, range, &[])
    }

    fn with(runtime: Runtime, who: Who, range: &str, before: &[&str]) -> Self {
        let etc = runtime.home().join("etc");
        write_etc(&etc, range);
        let etc = etc.to_str().unwrap();
        let binds = ["unshare", "-m", "sh", "-c", BINDS, etc];
        let user = [&binds[..], &SETPRIV[..]].concat();
        let holder = match who {
            Who::Plain | Who::Lent => None,
            Who::Inside => Some(["unshare", "-U", "-r", "-m"].as_slice()),
            Who::Manager => Some(["unshare", "-U", "-r", "--map-auto", "-m"].as_slice()),
        };
        let holder = holder.map(|unshare| {
            // Holder's own unshare does nothing but start the others.
            Holder::new(&[&["--uts"], &user[..], unshare].concat())
        });
        let pid = holder.as_ref().map(|holder| holder.pid().to_string());
        let mut words = before.to_vec();
        match (&pid, who) {
            (Some(pid), _) => {
                words.extend(&SETPRIV);
                // Mounts as the caller sees them, not as the holder does.
                words.extend(["nsenter", "-t", pid, "-U", "--preserve-credentials"]);
                words.extend(["unshare", "-m"]);
            }
            (None, Who::Plain) => words.extend(&SETPRIV),
            (None, _) => words.extend(&user),
        }
        words.extend(&ENV);
        let runtime = runtime.of_caller(USER, &words);
        Self {
            who,
            runtime,
            _holder: holder,
        }
    }

    /// What `spec --rootless` writes for this caller, without a terminal, and a root file system.
    pub(super) fn bundle(&self) -> Bundle {
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
            // It mounts only what the machine has not.
            Kind::Crun => bundle.without_mount("/sys/fs/cgroup"),
            _ => bundle,
        }
    }

    /// The user outside that root inside is.
    pub(super) fn is_root_inside(&self) -> bool {
        matches!(self.who, Who::Inside | Who::Manager)
    }
}

fn write_etc(etc: &Path, range: &str) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    if !Path::new("/usr/bin/newuidmap").exists() {
        skip("no newuidmap here");
    }
    fs::create_dir(etc).unwrap();
    let user = format!("lodger:x:{USER}:{USER}::/:/bin/sh\nother:x:{OTHER}:{OTHER}::/:/bin/sh\n");
    let groups = format!("lodger:x:{USER}:\nother:x:{OTHER}:\n");
    fs::write(etc.join("passwd"), passwd + &user).unwrap();
    fs::write(etc.join("group"), group + &groups).unwrap();
    for name in ["subuid", "subgid"] {
        fs::write(etc.join(name), format!("lodger:{range}\n")).unwrap();
    }
}
