//! `linux.sysctl`: kernel parameters that a namespace keeps apart, and no others.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};

use super::Kind;

/// One parameter to write, decided.
#[derive(Debug)]
pub(crate) struct Sysctl {
    /// As config.json spells it.
    pub(super) key: String,
    /// Relative to /proc.
    pub(super) file: String,
    pub(super) value: String,
    /// The namespace that it belongs to.
    pub(super) kind: Kind,
}

/// System V IPC limits, which an IPC namespace has of its own (ipc_namespaces(7)).
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

/// In the order of the keys, so that a run and its errors are the same each time.
pub(super) fn plan(sysctls: Option<&HashMap<String, String>>) -> Result<Vec<Sysctl>> {
    let mut planned = Vec::new();
    for (key, value) in sysctls.into_iter().flatten() {
        let path = path(key)?;
        ensure!(
            !value.contains('\0'),
            "linux.sysctl: {key:?}: value holds a NUL byte"
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

/// The file of a key relative to /proc/sys. Whichever of `.` and `/` comes
/// first separates; the other one is part of a name (sysctl.d(5)), as in
/// `net.ipv4.conf.eth0/1.forwarding`.
fn path(key: &str) -> Result<String> {
    let dotted = key
        .find(['.', '/'])
        .is_some_and(|at| key.as_bytes()[at] == b'.');
    let path: String = key
        .chars()
        .map(|c| match c {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(|c: char| c.is_control() || c.is_whitespace() || c == '+');
    ensure!(
        plain,
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
        "kernel/domainname" => Ok(Kind::Uts),
        "kernel/hostname" => bail!("linux.sysctl: {key}: set the hostname field instead"),
        _ => bail!("linux.sysctl: sysctl {key:?} is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_separator_and_the_other_inside_a_name() {
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
    fn nothing_climbs_or_injects() {
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
    fn only_what_a_namespace_keeps_apart() {
        let plan_one = |key: &str| plan(Some(&HashMap::from([(key.to_owned(), "1".to_owned())])));
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
