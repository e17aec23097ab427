//! Resource limits (getrlimit(2)).
//!
//! Limits are set in two steps. Raising a hard limit needs CAP_SYS_RESOURCE, so the runtime
//! raises it from outside, while the container is being created. Lowering a limit needs no
//! privilege, so the process lowers its own limits right before execve(2): a tiny limit
//! then affects the program, and not the steps before it.

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::log;
use crate::step::{Progress, Step};
use crate::sys;

const SELF: Pid = Pid::from_raw(0);

/// An entry of `process.rlimits`, in the unit of its resource. `u64::MAX` is unlimited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    resource: u32,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// `process.rlimits`. Each resource occurs at most once.
#[derive(Debug)]
pub(super) struct Limits(pub(super) Vec<Limit>);

impl Limits {
    pub(super) fn plan(limits: &[PosixRlimit]) -> Result<Limits> {
        let mut planned: Vec<Limit> = Vec::with_capacity(limits.len());
        for (i, limit) in limits.iter().enumerate() {
            let (name, resource) = resource(limit.typ());
            let (soft, hard) = (limit.soft(), limit.hard());
            let same = planned
                .iter()
                .position(|earlier| earlier.resource == resource);
            if let Some(first) = same {
                bail!(
                    "process.rlimits[{i}]: {name} is listed twice: remove it, or process.rlimits[{first}]"
                );
            }
            ensure!(
                soft <= hard,
                "process.rlimits[{i}]: {name}: soft limit {soft} is above the hard limit {hard}"
            );
            planned.push(Limit {
                name,
                resource,
                soft,
                hard,
            });
        }
        Ok(Limits(planned))
    }

    /// Raises the hard limits of `pid` that are above those of this process, from which
    /// `pid` has inherited its own. The others are left alone: to set any limit of another
    /// user's process needs CAP_SYS_RESOURCE.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_RESOURCE, or when RLIMIT_NOFILE is above
    /// /proc/sys/fs/nr_open.
    pub(super) fn raise(&self, pid: Pid) -> Result<()> {
        for (i, limit) in self.0.iter().enumerate() {
            let place = || format!("process.rlimits[{i}]: {}", limit.name);
            let (soft, hard) = sys::prlimit(SELF, limit.resource, None).with_context(place)?;
            if limit.hard > hard {
                sys::prlimit(pid, limit.resource, Some((soft, limit.hard)))
                    .map_err(|errno| log::hinted(errno, hint(errno).map(str::to_owned)))
                    .with_context(place)?;
            }
        }
        Ok(())
    }

    /// Raises the hard limits of this process, while it has CAP_SYS_RESOURCE.
    pub(super) fn raise_own(&self, at: &Progress) -> nix::Result<()> {
        for (i, limit) in self.0.iter().enumerate() {
            at.at(Step::Limit, i);
            let (soft, hard) = sys::prlimit(SELF, limit.resource, None)?;
            if limit.hard > hard {
                sys::prlimit(SELF, limit.resource, Some((soft, limit.hard)))?;
            }
        }
        Ok(())
    }

    /// Sets the limits of this process. None is above its hard limit, after
    /// [`Limits::raise`].
    pub(super) fn apply(&self, at: &Progress) -> nix::Result<()> {
        for (i, limit) in self.0.iter().enumerate() {
            at.at(Step::Limit, i);
            sys::prlimit(SELF, limit.resource, Some((limit.soft, limit.hard)))?;
        }
        Ok(())
    }

    /// # Errors
    /// When a hard limit of the process `pid` is higher.
    pub(super) fn compare(&self, pid: Pid) -> Result<()> {
        for (i, limit) in self.0.iter().enumerate() {
            let place = || format!("process.rlimits[{i}]: {}", limit.name);
            let (_, hard) = sys::prlimit(pid, limit.resource, None).with_context(place)?;
            ensure!(
                hard <= limit.hard,
                "{}: a process of the images has a higher hard limit, {hard}",
                place()
            );
        }
        Ok(())
    }

    /// The place in config.json and the name of the `i`th limit.
    pub(super) fn describe(&self, i: usize) -> Option<(String, String)> {
        let limit = self.0.get(i)?;
        Some((format!("process.rlimits[{i}]"), limit.name.to_owned()))
    }
}

/// Why the kernel refuses a limit (setrlimit(2)).
pub(super) fn hint(errno: Errno) -> Option<&'static str> {
    let hint = "a higher hard limit needs CAP_SYS_RESOURCE; RLIMIT_NOFILE cannot exceed fs.nr_open";
    (errno == Errno::EPERM).then_some(hint)
}

fn resource(kind: PosixRlimitType) -> (&'static str, u32) {
    use PosixRlimitType as Type;
    match kind {
        Type::RlimitCpu => ("RLIMIT_CPU", libc::RLIMIT_CPU),
        Type::RlimitFsize => ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        Type::RlimitData => ("RLIMIT_DATA", libc::RLIMIT_DATA),
        Type::RlimitStack => ("RLIMIT_STACK", libc::RLIMIT_STACK),
        Type::RlimitCore => ("RLIMIT_CORE", libc::RLIMIT_CORE),
        Type::RlimitRss => ("RLIMIT_RSS", libc::RLIMIT_RSS),
        Type::RlimitNproc => ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        Type::RlimitNofile => ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        Type::RlimitMemlock => ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        Type::RlimitAs => ("RLIMIT_AS", libc::RLIMIT_AS),
        Type::RlimitLocks => ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        Type::RlimitSigpending => ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        Type::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        Type::RlimitNice => ("RLIMIT_NICE", libc::RLIMIT_NICE),
        Type::RlimitRtprio => ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        Type::RlimitRttime => ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Limits> {
        Limits::plan(&serde_json::from_str::<Vec<PosixRlimit>>(json).unwrap())
    }

    #[test]
    fn every_limit_of_the_specification_is_known() {
        let names = [
            "CPU",
            "FSIZE",
            "DATA",
            "STACK",
            "CORE",
            "RSS",
            "NPROC",
            "NOFILE",
            "MEMLOCK",
            "AS",
            "LOCKS",
            "SIGPENDING",
            "MSGQUEUE",
            "NICE",
            "RTPRIO",
            "RTTIME",
        ];
        let list: Vec<_> = names
            .iter()
            .map(|name| format!(r#"{{"type": "RLIMIT_{name}", "soft": 1, "hard": 2}}"#))
            .collect();
        let planned = plan(&format!("[{}]", list.join(","))).unwrap();
        for (limit, name) in planned.0.iter().zip(names) {
            assert_eq!(limit.name, format!("RLIMIT_{name}"));
            assert_eq!((limit.soft, limit.hard), (1, 2));
        }
    }

    #[test]
    fn errors_name_the_place_in_config_json() {
        let twice = r#"[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
                        {"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615},
                        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]"#;
        let error = plan(twice).unwrap_err().to_string();
        assert_eq!(
            error,
            "process.rlimits[2]: RLIMIT_NOFILE is listed twice: remove it, or process.rlimits[0]"
        );
        let error = plan(r#"[{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "process.rlimits[0]: RLIMIT_AS: soft limit 2 is above the hard limit 1"
        );
    }
}
