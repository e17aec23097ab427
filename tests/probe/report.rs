//! The report: a JSON object that describes the process and its environment in the container.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{Mode, major, minor, umask};
use nix::unistd;
use serde_json::{Map, Value, json};

use crate::kernel;
use crate::proc::{self, Status};

pub(crate) fn report() -> Value {
    // List the file descriptors first, before this program opens files itself.
    let descriptors = proc::descriptors();
    let mut seen = process();
    seen.insert("fds".into(), descriptors);
    for (name, value) in [
        (
            "hostname",
            json!(
                unistd::gethostname()
                    .ok()
                    .map(|n| n.to_string_lossy().into_owned())
            ),
        ),
        ("domainname", domainname()),
        ("namespaces", proc::namespaces()),
        ("mounts", proc::mounts()),
        ("cgroups", proc::lines("/proc/self/cgroup")),
        ("terminal", proc::terminal()),
        ("oom_score_adj", proc::text("/proc/self/oom_score_adj")),
        ("io_priority", json!(kernel::io_priority())),
        ("scheduler", scheduler()),
        ("memory_policy", json!(kernel::memory_policy())),
        ("personality", proc::text("/proc/self/personality")),
        ("machine", machine()),
        ("apparmor", proc::text("/proc/self/attr/apparmor/current")),
        ("uid_map", proc::lines("/proc/self/uid_map")),
        ("gid_map", proc::lines("/proc/self/gid_map")),
        ("setgroups", proc::text("/proc/self/setgroups")),
        ("clocks", clocks()),
        ("keyring", json!(kernel::session_keyring())),
        ("cpus", cpus()),
        ("interfaces", interfaces()),
        ("rlimits", rlimits()),
        ("devices", devices()),
    ] {
        seen.insert(name.into(), value);
    }
    Value::Object(seen)
}

fn process() -> Map<String, Value> {
    let status = Status::read();
    let groups = unistd::getgroups().unwrap_or_default();
    let seen = json!({
        "pid": unistd::getpid().as_raw(),
        "ppid": unistd::getppid().as_raw(),
        "sid": unistd::getsid(None).ok().map(|sid| sid.as_raw()),
        "uid": unistd::getuid().as_raw(),
        "gid": unistd::getgid().as_raw(),
        "uids": status.ids("Uid"),
        "gids": status.ids("Gid"),
        "groups": groups.iter().map(|g| g.as_raw()).collect::<Vec<_>>(),
        "umask": current_umask(),
        "cwd": unistd::getcwd().ok().map(|cwd| cwd.to_string_lossy().into_owned()),
        "argv": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": std::env::vars_os()
            .map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy()))
            .collect::<Vec<_>>(),
        "capabilities": {
            "inheritable": status.capabilities("CapInh"),
            "permitted": status.capabilities("CapPrm"),
            "effective": status.capabilities("CapEff"),
            "bounding": status.capabilities("CapBnd"),
            "ambient": status.capabilities("CapAmb"),
        },
        "no_new_privs": status.number("NoNewPrivs"),
        "seccomp": status.number("Seccomp"),
        "signals": {
            "blocked": status.signals("SigBlk"),
            "ignored": status.signals("SigIgn"),
            "caught": status.signals("SigCgt"),
        },
    });
    match seen {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn current_umask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

/// The architecture that uname(2) names.
fn machine() -> Value {
    let name = nix::sys::utsname::uname().ok();
    json!(name.map(|name| name.machine().to_string_lossy().into_owned()))
}

fn domainname() -> Value {
    let name = nix::sys::utsname::uname().ok();
    json!(name.map(|name| name.domainname().to_string_lossy().into_owned()))
}

/// The clocks in nanoseconds, and the first field of /proc/uptime. A time namespace can offset all but `realtime`.
fn clocks() -> Value {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    json!({
        "monotonic": kernel::clock(libc::CLOCK_MONOTONIC),
        "boottime": kernel::clock(libc::CLOCK_BOOTTIME),
        "realtime": kernel::clock(libc::CLOCK_REALTIME),
        "uptime": uptime,
    })
}

fn cpus() -> Value {
    let set = nix::sched::sched_getaffinity(unistd::Pid::from_raw(0)).ok();
    json!(set.map(|set| {
        (0..nix::sched::CpuSet::count())
            .filter(|cpu| set.is_set(*cpu) == Ok(true))
            .collect::<Vec<_>>()
    }))
}

fn interfaces() -> Value {
    let mut seen = Map::new();
    for name in kernel::interfaces() {
        let flags = kernel::interface_flags(&name);
        let up = flags.map(|flags| flags & libc::IFF_UP != 0);
        seen.insert(name.to_string_lossy().into_owned(), json!({ "up": up }));
    }
    Value::Object(seen)
}

fn rlimits() -> Value {
    let limits = [
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
    let seen = (0..).zip(limits).map(|(number, name)| {
        let limit = kernel::rlimit(number);
        (
            format!("RLIMIT_{name}"),
            json!(limit.map(|(soft, hard)| [soft, hard])),
        )
    });
    Value::Object(seen.collect())
}

/// The entries of /dev itself, without the content of its subdirectories.
fn devices() -> Value {
    let Ok(entries) = fs::read_dir("/dev") else {
        return Value::Null;
    };
    let mut seen = Map::new();
    for entry in entries.flatten() {
        seen.insert(
            entry.file_name().to_string_lossy().into_owned(),
            node(&entry.path()),
        );
    }
    Value::Object(seen)
}

/// The attributes of the file at a path, without following symbolic links; `null` if there is no file.
pub(crate) fn node(path: &Path) -> Value {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Value::Null;
    };
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_char_device() => "c",
        () if kind.is_block_device() => "b",
        () if kind.is_dir() => "dir",
        () if kind.is_symlink() => "link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    json!({
        "type": kind,
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "size": meta.size(),
        "major": major(meta.rdev()),
        "minor": minor(meta.rdev()),
        "target": fs::read_link(path).ok().map(|t| t.to_string_lossy().into_owned()),
    })
}

fn scheduler() -> Value {
    kernel::scheduler().map_or(Value::Null, |seen| {
        json!({
            "policy": seen.sched_policy, "flags": seen.sched_flags, "nice": seen.sched_nice,
            "priority": seen.sched_priority, "runtime": seen.sched_runtime,
            "deadline": seen.sched_deadline, "period": seen.sched_period,
        })
    })
}
