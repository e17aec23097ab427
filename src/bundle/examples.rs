//! Examples of values, for errors about values of the wrong type.

/// A type of values in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Number,
    Text,
    List,
    Object,
}

/// Objects in which the user chooses the names of the members.
const FREE_NAMES: [&str; 6] = [
    "annotations",
    "linux.sysctl",
    "linux.timeOffsets",
    "linux.netDevices",
    "linux.resources.rdma",
    "linux.resources.unified",
];

/// Whether the user chooses the names of the members of the object with this pattern.
pub(super) fn has_free_names(pattern: &str) -> bool {
    FREE_NAMES.contains(&pattern)
}

/// Examples, by the end of the field's pattern. The first one that fits is used. The example of a
/// list is made of that of an item, unless it has one of its own.
const EXAMPLES: &[(&str, &str)] = &[
    ("ociVersion", r#""1.3.0""#),
    ("hostname", r#""web""#),
    ("domainname", r#""example.org""#),
    ("annotations", r#"{"org.example.owner": "alice"}"#),
    ("root", r#"{"path": "rootfs"}"#),
    ("root.path", r#""rootfs""#),
    ("process", r#"{"args": ["sh"], "cwd": "/"}"#),
    ("process.args", r#"["sh", "-c", "true"]"#),
    ("hooks", r#"{"poststop": [{"path": "/bin/true"}]}"#),
    ("poststop[]", r#"{"path": "/bin/true"}"#),
    ("poststart[]", r#"{"path": "/bin/true"}"#),
    ("prestart[]", r#"{"path": "/bin/true"}"#),
    ("createRuntime[]", r#"{"path": "/bin/true"}"#),
    ("createContainer[]", r#"{"path": "/bin/true"}"#),
    ("startContainer[]", r#"{"path": "/bin/true"}"#),
    ("timeout", "10"),
    (
        "syscalls[].args[]",
        r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}"#,
    ),
    ("args[]", r#""sh""#),
    ("env[]", r#""PATH=/bin""#),
    ("cwd", r#""/""#),
    ("process.user", r#"{"uid": 1000, "gid": 1000}"#),
    ("uid", "1000"),
    ("gid", "1000"),
    ("umask", "18"),
    ("additionalGids[]", "1000"),
    ("consoleSize", r#"{"height": 24, "width": 80}"#),
    ("capabilities", r#"{"bounding": ["CAP_KILL"]}"#),
    ("bounding[]", r#""CAP_KILL""#),
    ("effective[]", r#""CAP_KILL""#),
    ("inheritable[]", r#""CAP_KILL""#),
    ("permitted[]", r#""CAP_KILL""#),
    ("ambient[]", r#""CAP_KILL""#),
    (
        "rlimits[]",
        r#"{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}"#,
    ),
    ("rlimits[].type", r#""RLIMIT_NOFILE""#),
    ("soft", "1024"),
    ("hard", "1024"),
    ("scheduler", r#"{"policy": "SCHED_BATCH", "nice": 5}"#),
    ("policy", r#""SCHED_BATCH""#),
    ("nice", "5"),
    ("scheduler.flags[]", r#""SCHED_FLAG_RESET_ON_FORK""#),
    ("scheduler.priority", "10"),
    ("runtime", "10000000"),
    ("deadline", "30000000"),
    ("scheduler.period", "30000000"),
    (
        "ioPriority",
        r#"{"class": "IOPRIO_CLASS_BE", "priority": 4}"#,
    ),
    ("class", r#""IOPRIO_CLASS_BE""#),
    ("ioPriority.priority", "4"),
    ("execCPUAffinity", r#"{"initial": "0-3"}"#),
    ("initial", r#""0-3""#),
    (
        "selinuxLabel",
        r#""system_u:system_r:container_t:s0:c1,c2""#,
    ),
    ("apparmorProfile", r#""docker-default""#),
    ("final", r#""0-3""#),
    ("mounts[]", r#"{"destination": "/tmp", "type": "tmpfs"}"#),
    ("destination", r#""/tmp""#),
    ("mounts[].type", r#""tmpfs""#),
    ("mounts[].source", r#""tmpfs""#),
    ("mounts[].options", r#"["nosuid", "ro"]"#),
    ("mounts[].options[]", r#""ro""#),
    (
        "uidMappings[]",
        r#"{"containerID": 0, "hostID": 100000, "size": 65536}"#,
    ),
    (
        "gidMappings[]",
        r#"{"containerID": 0, "hostID": 100000, "size": 65536}"#,
    ),
    ("containerID", "0"),
    ("hostID", "100000"),
    ("size", "65536"),
    ("linux", r#"{"namespaces": [{"type": "mount"}]}"#),
    ("namespaces[]", r#"{"type": "mount"}"#),
    ("namespaces[].type", r#""mount""#),
    ("namespaces[].path", r#""/proc/1/ns/net""#),
    (
        "linux.devices[]",
        r#"{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}"#,
    ),
    ("linux.devices[].path", r#""/dev/fuse""#),
    ("devices[].type", r#""c""#),
    ("major", "10"),
    ("minor", "229"),
    ("fileMode", "438"),
    ("cgroupsPath", r#""/rt/web""#),
    ("sysctl", r#"{"net.ipv4.ip_forward": "1"}"#),
    ("sysctl{}", r#""1""#),
    ("timeOffsets", r#"{"monotonic": {"secs": 60}}"#),
    ("timeOffsets{}", r#"{"secs": 60}"#),
    ("netDevices", r#"{"eth1": {"name": "eth0"}}"#),
    ("netDevices{}", r#"{"name": "eth0"}"#),
    ("netDevices{}.name", r#""eth0""#),
    ("rootfsPropagation", r#""slave""#),
    (
        "mountLabel",
        r#""system_u:object_r:container_file_t:s0:c1,c2""#,
    ),
    ("maskedPaths[]", r#""/proc/kcore""#),
    ("readonlyPaths[]", r#""/proc/sys""#),
    (
        "memoryPolicy",
        r#"{"mode": "MPOL_INTERLEAVE", "nodes": "0-1"}"#,
    ),
    ("memoryPolicy.mode", r#""MPOL_INTERLEAVE""#),
    ("nodes", r#""0-1""#),
    ("memoryPolicy.flags[]", r#""MPOL_F_STATIC_NODES""#),
    ("linux.resources", r#"{"pids": {"limit": 100}}"#),
    (
        "resources.devices[]",
        r#"{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}"#,
    ),
    ("access", r#""rw""#),
    ("memory", r#"{"limit": 268435456}"#),
    ("memory.limit", "268435456"),
    ("memory.swap", "268435456"),
    ("memory.reservation", "268435456"),
    ("cpu", r#"{"shares": 1024}"#),
    ("shares", "1024"),
    ("quota", "50000"),
    ("period", "100000"),
    ("cpus", r#""0-3""#),
    ("mems", r#""0""#),
    ("pids", r#"{"limit": 100}"#),
    ("pids.limit", "100"),
    (
        "blockIO",
        r#"{"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}]}"#,
    ),
    (
        "throttleReadBpsDevice[]",
        r#"{"major": 8, "minor": 0, "rate": 1048576}"#,
    ),
    (
        "throttleWriteBpsDevice[]",
        r#"{"major": 8, "minor": 0, "rate": 1048576}"#,
    ),
    (
        "throttleReadIOPSDevice[]",
        r#"{"major": 8, "minor": 0, "rate": 1000}"#,
    ),
    (
        "throttleWriteIOPSDevice[]",
        r#"{"major": 8, "minor": 0, "rate": 1000}"#,
    ),
    ("blockIO.weight", "500"),
    ("leafWeight", "500"),
    (
        "weightDevice[]",
        r#"{"major": 8, "minor": 0, "weight": 500}"#,
    ),
    ("weightDevice[].weight", "500"),
    (
        "hugepageLimits[]",
        r#"{"pageSize": "2MB", "limit": 209715200}"#,
    ),
    ("pageSize", r#""2MB""#),
    ("hugepageLimits[].limit", "209715200"),
    ("resources.network", r#"{"classID": 1048577}"#),
    ("classID", "1048577"),
    ("priorities[]", r#"{"name": "eth0", "priority": 500}"#),
    ("priorities[].name", r#""eth0""#),
    ("priorities[].priority", "500"),
    ("rdma", r#"{"mlx5_1": {"hcaHandles": 3}}"#),
    ("rdma{}", r#"{"hcaHandles": 3}"#),
    ("hcaHandles", "3"),
    ("hcaObjects", "10000"),
    ("unified", r#"{"memory.high": "1073741824"}"#),
    ("unified{}", r#""1073741824""#),
    ("intelRdt", r#"{"l3CacheSchema": "L3:0=7f0;1=1f"}"#),
    ("closID", r#""guaranteed""#),
    ("l3CacheSchema", r#""L3:0=7f0;1=1f""#),
    ("memBwSchema", r#""MB:0=20;1=70""#),
    ("schemata[]", r#""L3:0=7f0;1=1f""#),
    ("linux.seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#),
    ("defaultAction", r#""SCMP_ACT_ALLOW""#),
    ("seccomp.flags[]", r#""SECCOMP_FILTER_FLAG_LOG""#),
    ("listenerPath", r#""/run/seccomp-agent.sock""#),
    ("listenerMetadata", r#""text""#),
    ("architectures[]", r#""SCMP_ARCH_X86_64""#),
    (
        "syscalls[]",
        r#"{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}"#,
    ),
    ("names[]", r#""reboot""#),
    ("action", r#""SCMP_ACT_ERRNO""#),
    ("errnoRet", "1"),
    ("defaultErrnoRet", "1"),
    ("op", r#""SCMP_CMP_EQ""#),
    ("path", r#""/bin/true""#),
];

/// Fields that allow less than their type.
const RANGES: [(&str, i128, i128); 8] = [
    ("process.oomScoreAdj", -1000, 1000),
    ("process.consoleSize.height", 0, 65_535),
    ("process.consoleSize.width", 0, 65_535),
    ("process.user.umask", 0, 0o777),
    ("linux.resources.blockIO.weight", 10, 1000),
    ("linux.resources.blockIO.leafWeight", 10, 1000),
    ("linux.resources.blockIO.weightDevice[].weight", 10, 1000),
    (
        "linux.resources.blockIO.weightDevice[].leafWeight",
        10,
        1000,
    ),
];

/// The least and the greatest value of a field, if its type allows more.
pub(super) fn range(pattern: &str) -> Option<(i128, i128)> {
    let found = RANGES.iter().find(|(field, ..)| *field == pattern);
    found.map(|(_, least, most)| (*least, *most))
}

/// What a field wants, with an example: `a list of strings: ["sh", "-c", "true"]`.
pub(super) fn wanted(kind: Kind, pattern: &str) -> String {
    match (kind, example(pattern)) {
        (Kind::Boolean, _) => "true or false".to_owned(),
        (Kind::Number, Some(example)) => format!("a whole number: {example}"),
        (Kind::Number, None) => "a whole number: 100".to_owned(),
        (Kind::Text, Some(example)) => format!("a string: {example}"),
        (Kind::Text, None) => "a string: \"text\"".to_owned(),
        (Kind::Object, Some(example)) => format!("an object: {example}"),
        (Kind::Object, None) => "an object: {}".to_owned(),
        (Kind::List, Some(example)) => format!("a list of {}: {example}", items(&example)),
        (Kind::List, None) => "a list: []".to_owned(),
    }
}

/// What the items of a list are, by the first of them.
fn items(list: &str) -> &'static str {
    match list.as_bytes().get(1) {
        Some(b'"') => "strings",
        Some(b'{') => "objects",
        _ => "numbers",
    }
}

/// Whether a field is known to be an object.
pub(super) fn is_object(pattern: &str) -> bool {
    find(pattern).is_some_and(|example| example.starts_with('{'))
}

/// The example of a field.
pub(super) fn example(pattern: &str) -> Option<String> {
    let of_item = || find(&format!("{pattern}[]")).map(|item| format!("[{item}]"));
    find(pattern).map(str::to_owned).or_else(of_item)
}

fn find(pattern: &str) -> Option<&'static str> {
    let fits = |end: &str| {
        let start = pattern.strip_suffix(end);
        start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
    };
    let found = EXAMPLES.iter().find(|(end, _)| fits(end));
    found.map(|(_, example)| *example)
}
