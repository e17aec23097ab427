//! `linux.sysctl`: kernel parameters that each namespace has of its own. Any other
//! parameter is refused, because it would change the host.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};

use super::Kind;
use crate::bundle::likely;

/// One kernel parameter to write.
#[derive(Debug)]
pub(crate) struct Sysctl {
    /// The key as written in config.json.
    pub(super) key: String,
    /// The file to write, relative to /proc.
    pub(super) file: String,
    pub(super) value: String,
    /// The kind of namespace that has the parameter of its own.
    pub(super) kind: Kind,
}

/// The files of a network namespace that CRIU restores.
const RESTORED: [&str; 4] = [
    "sys/net/ipv4/conf/",
    "sys/net/ipv4/ip_forward",
    "sys/net/ipv6/conf/",
    "sys/net/unix/max_dgram_qlen",
];

impl Sysctl {
    /// Whether CRIU does not restore it. In an empty network namespace it restores none.
    pub(super) fn is_lost(&self, empty_network: bool) -> bool {
        let is_restored = || RESTORED.iter().any(|start| self.file.starts_with(start));
        match self.kind {
            Kind::Network => empty_network || !is_restored(),
            Kind::User => true,
            _ => false,
        }
    }
}

/// System V IPC limits, which each IPC namespace has of its own (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// What the field `domainname` sets too.
const DOMAINNAME: &str = "kernel/domainname";

/// Plans `linux.sysctl`, sorted by key so that the order of writes and errors is
/// reproducible.
///
/// # Errors
/// When a key is not the name of a parameter, when no namespace has the parameter of
/// its own, when a value holds a NUL byte, or when
/// one contradicts `domainname`.
pub(super) fn plan(
    sysctls: Option<&HashMap<String, String>>,
    domainname: Option<&str>,
) -> Result<Vec<Sysctl>> {
    let mut planned = Vec::new();
    for (key, value) in sysctls.into_iter().flatten() {
        let path = path(key)?;
        ensure!(
            !value.contains('\0'),
            "linux.sysctl: {key:?}: value holds a NUL byte"
        );
        ensure!(
            path != DOMAINNAME || domainname.is_none_or(|name| name == value),
            "linux.sysctl: {key}: is not the name in domainname; remove one of them"
        );
        planned.push(Sysctl {
            kind: kind(key, &path)?,
            file: format!("sys/{path}"),
            key: key.clone(),
            value: value.clone(),
        });
    }
    planned.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(planned)
}

/// The file of a key, relative to /proc/sys. The first `.` or `/` in the key
/// decides which of the two is the separator. The other one then stands for a
/// separator character within a name (sysctl.d(5)): `net.ipv4.conf.eth0/1.forwarding`
/// is the file `net/ipv4/conf/eth0.1/forwarding`.
fn path(key: &str) -> Result<String> {
    let dotted = key
        .find(['.', '/'])
        .is_some_and(|first| key.as_bytes()[first] == b'.');
    let path: String = key
        .chars()
        .map(|c| match c {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    let valid = path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(|c: char| c.is_control() || c.is_whitespace() || c == '+');
    ensure!(
        valid,
        "linux.sysctl: {key:?}: not the name of a kernel parameter"
    );
    Ok(path)
}

fn kind(key: &str, path: &str) -> Result<Kind> {
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return Ok(Kind::Ipc);
    }
    if path.starts_with("net/") {
        return Ok(Kind::Network);
    }
    if path.starts_with("user/") {
        return Ok(Kind::User);
    }
    match path {
        DOMAINNAME => return Ok(Kind::Uts),
        "kernel/hostname" => bail!("linux.sysctl: {key}: set the hostname field instead"),
        _ => {}
    }
    let remedy = match likely(path, &IPC) {
        Some(name) => format!("; did you mean {}?", name.replace('/', ".")),
        None => String::new(),
    };
    bail!("linux.sysctl: sysctl {key:?} is not in a separate kernel namespace{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_in_a_key_decides() {
        for (key, file) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(path(key).unwrap(), file);
        }
    }

    #[test]
    fn a_key_cannot_leave_proc_sys_or_hold_special_characters() {
        for key in [
            "",
            "net..x",
            "net.../x",
            "net/../kernel/core_pattern",
            "/net/x",
            "net.a\nb",
            "net.a+b",
            "net.\0",
        ] {
            assert!(path(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn a_parameter_of_the_whole_host_is_refused() {
        let plan_one = |key: &str| {
            plan(
                Some(&HashMap::from([(key.to_owned(), "1".to_owned())])),
                None,
            )
        };
        assert_eq!(plan_one("kernel.shmmax").unwrap()[0].kind, Kind::Ipc);
        assert_eq!(plan_one("fs.mqueue.msg_max").unwrap()[0].kind, Kind::Ipc);
        assert_eq!(
            plan_one("net.core.somaxconn").unwrap()[0].kind,
            Kind::Network
        );
        for key in [
            "kernel.core_pattern",
            "kernel.hostname",
            "vm.swappiness",
            "network.x",
        ] {
            assert!(plan_one(key).is_err(), "{key}");
        }
    }
}
