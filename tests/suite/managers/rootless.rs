//! An unprivileged user who is root in a user namespace with a range of subordinate ids, as rootless
//! Podman sets it up.

use std::fs;

use crate::harness::{Holder, Runtime};

/// Holds the user, mount and network namespaces.
pub(super) struct Rootless(Holder);

impl Rootless {
    /// The uid on the host that is root in the namespace.
    pub(super) const OWNER: u32 = 1000;

    /// The maps that newuidmap(1) and newgidmap(1) write for the line `user:100000:65536` in /etc/subuid.
    const MAP: &str = "0 1000 1\n1 100000 65536\n";

    pub(super) fn new() -> Self {
        let owner = Self::OWNER.to_string();
        let holder = Holder::start(&[
            "setpriv",
            "--reuid",
            &owner,
            "--regid",
            &owner,
            "--clear-groups",
            "unshare",
            "--user",
            "--mount",
            "--net",
        ]);
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", holder.pid()), Self::MAP).unwrap();
        }
        Self(holder)
    }

    pub(super) fn holder(&self) -> &Holder {
        &self.0
    }

    /// The runtime, called as root of the namespace with the environment that Podman passes.
    pub(super) fn runtime(&self) -> Runtime {
        let pid = self.0.pid().to_string();
        let enter = [
            "nsenter", "--target", &pid, "--user", "--mount", "--setuid", "0", "--setgid", "0",
        ];
        let environment = [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR=~",
            "_CONTAINERS_USERNS_CONFIGURED=done",
            "_CONTAINERS_ROOTLESS_UID=1000",
        ];
        Runtime::new().of_caller(Self::OWNER, &[&enter[..], &environment].concat())
    }
}
