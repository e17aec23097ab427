//! Values from /proc/self. A value is `null` if there is no /proc.

use std::fs;

use serde_json::{Map, Value, json};

const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The lines of /proc/self/status by name.
pub(crate) struct Status(Option<String>);

impl Status {
    pub(crate) fn read() -> Self {
        Self(fs::read_to_string("/proc/self/status").ok())
    }

    fn field(&self, name: &str) -> Option<&str> {
        let line = self
            .0
            .as_ref()?
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    }

    fn mask(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }

    pub(crate) fn number(&self, name: &str) -> Value {
        json!(self.field(name).and_then(|text| text.parse::<u64>().ok()))
    }

    /// The four ids of a field: real, effective, saved set, file system.
    pub(crate) fn ids(&self, name: &str) -> Value {
        let ids = self.field(name).map(|text| {
            text.split_whitespace()
                .filter_map(|id| id.parse::<u64>().ok())
                .collect::<Vec<_>>()
        });
        json!(ids)
    }

    pub(crate) fn capabilities(&self, name: &str) -> Value {
        let held = self.mask(name).map(|mask| {
            let held = |bit: &usize| mask >> bit & 1 == 1;
            (0..64).filter(held).map(capability).collect::<Vec<_>>()
        });
        json!(held)
    }

    pub(crate) fn signals(&self, name: &str) -> Value {
        let set = self.mask(name);
        json!(set.map(|mask| {
            (0..64)
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| bit + 1)
                .collect::<Vec<u32>>()
        }))
    }
}

fn capability(bit: usize) -> String {
    CAPABILITIES
        .get(bit)
        .map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned())
}

pub(crate) fn namespaces() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/ns") else {
        return Value::Null;
    };
    let links = entries.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((
            entry.file_name().to_string_lossy().into_owned(),
            json!(target.to_string_lossy()),
        ))
    });
    Value::Object(links.collect())
}

/// The open file descriptors, except the one that lists the directory.
pub(crate) fn descriptors() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Value::Null;
    };
    let mut links = Map::new();
    for entry in entries.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let listing = target.starts_with("/proc/") && target.ends_with("/fd");
        if !listing {
            links.insert(
                entry.file_name().to_string_lossy().into_owned(),
                json!(target),
            );
        }
    }
    Value::Object(links)
}

pub(crate) fn mounts() -> Value {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else {
        return Value::Null;
    };
    json!(table.lines().filter_map(mount).collect::<Vec<_>>())
}

/// One line of mountinfo; see proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.splitn(3, ' ').collect();
    let [kind, source, superblock] = right.as_slice() else {
        return None;
    };
    Some(json!({
        "id": left.first()?, "parent": left.get(1)?, "device": left.get(2)?,
        "root": left.get(3)?, "mountpoint": left.get(4)?,
        "options": left.get(5)?.split(',').collect::<Vec<_>>(),
        "propagation": left.get(6..)?,
        "type": kind, "source": source,
        "super_options": superblock.split(',').collect::<Vec<_>>(),
    }))
}

/// The content of a small file, without trailing white space.
pub(crate) fn text(path: &str) -> Value {
    json!(
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim_end().to_owned())
    )
}

pub(crate) fn lines(path: &str) -> Value {
    let text = fs::read_to_string(path).ok();
    json!(text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()))
}

/// The controlling terminal as `major:minor`, `0:0` for none; see proc_pid_stat(5).
pub(crate) fn terminal() -> Value {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let number = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(4)?.parse::<u64>().ok());
    json!(number.map(|number| {
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff);
        format!("{major}:{minor}")
    }))
}
