//! Unknown names: the nearest known one, or all of them.

use serde_json::json;

use super::{assert_line, assert_lines};
use crate::harness::{Bundle, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_mistyped_name_has_a_nearest_one,
        a_mistyped_name_of_seccomp_has_a_nearest_one,
        with_nothing_near_the_few_known_names_are_listed,
        of_many_names_none_is_listed,
        a_mistyped_option_of_a_bind_mount_has_a_nearest_one,
    ]
}

fn a_mistyped_name_has_a_nearest_one() {
    assert_lines(&[
        (
            "/linux/namespaces/2/type",
            json!("nett"),
            r#"linux.namespaces[2].type: unknown value "nett": did you mean "network"?"#,
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFIL", "soft": 1, "hard": 1}]),
            r#"process.rlimits[0].type: unknown value "RLIMIT_NOFIL": did you mean "RLIMIT_NOFILE"?"#,
        ),
        (
            "/process/rlimits",
            json!([{"type": "core", "soft": 1, "hard": 1}]),
            r#"process.rlimits[0].type: unknown value "core": did you mean "RLIMIT_CORE"?"#,
        ),
        (
            "/linux/rootfsPropagation",
            json!("sharde"),
            r#"linux.rootfsPropagation: unknown value "sharde": did you mean "shared"?"#,
        ),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_IDEL", "priority": 1}),
            r#"process.ioPriority.class: unknown value "IOPRIO_CLASS_IDEL": did you mean "IOPRIO_CLASS_IDLE"?"#,
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_BATHC"}),
            r#"process.scheduler.policy: unknown value "SCHED_BATHC": did you mean "SCHED_BATCH"?"#,
        ),
        (
            "/linux/personality",
            json!({"domain": "LINUX23"}),
            r#"linux.personality.domain: unknown value "LINUX23": did you mean "LINUX32"?"#,
        ),
        (
            "/linux/timeOffsets",
            json!({"boot": {"secs": 1}}),
            r#"linux.timeOffsets: unknown value "boot": did you mean "boottime"?"#,
        ),
        (
            "/linux/sysctl",
            json!({"kernel.shmmaxx": "1"}),
            r#"linux.sysctl: sysctl "kernel.shmmaxx" is not in a separate kernel namespace; did you mean kernel.shmmax?"#,
        ),
        (
            "/annotations",
            json!({"rt.rootfs.overlay": "Ephemeral"}),
            r#"annotations: rt.rootfs.overlay: "Ephemeral": did you mean "ephemeral"? the directory of that name is ./Ephemeral"#,
        ),
    ]);
}

fn a_mistyped_name_of_seccomp_has_a_nearest_one() {
    let condition = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["reboot"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQU"}],
        }],
    });
    assert_lines(&[
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALOW"}),
            r#"linux.seccomp.defaultAction: unknown value "SCMP_ACT_ALOW": did you mean "SCMP_ACT_ALLOW"?"#,
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86-64"]}),
            r#"linux.seccomp.architectures[0]: unknown value "x86-64": did you mean "SCMP_ARCH_X86_64"?"#,
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOGG"]}),
            r#"linux.seccomp.flags[0]: unknown value "SECCOMP_FILTER_FLAG_LOGG": did you mean "SECCOMP_FILTER_FLAG_LOG"?"#,
        ),
        (
            "/linux/seccomp",
            condition,
            r#"linux.seccomp.syscalls[0].args[0].op: unknown value "SCMP_CMP_EQU": did you mean "SCMP_CMP_EQ"?"#,
        ),
    ]);
}

fn with_nothing_near_the_few_known_names_are_listed() {
    assert_lines(&[
        (
            "/linux/namespaces/2/type",
            json!("x"),
            r#"linux.namespaces[2].type: unknown value "x": one of "mount", "cgroup", "uts", "ipc", "user", "pid", "network", "time""#,
        ),
        (
            "/linux/devices",
            json!([{"type": "a", "path": "/dev/x", "major": 1, "minor": 1}]),
            r#"linux.devices[0].type: unknown value "a": one of "b", "c", "p", "u""#,
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "p", "access": "rwm"}]),
            r#"linux.resources.devices[0].type: unknown value "p": one of "a", "b", "c""#,
        ),
        (
            "/linux/rootfsPropagation",
            json!("x"),
            r#"linux.rootfsPropagation: unknown value "x": one of "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable""#,
        ),
        (
            "/linux/timeOffsets",
            json!({"realtime": {"secs": 1}}),
            r#"linux.timeOffsets: unknown value "realtime": one of "monotonic", "boottime""#,
        ),
    ]);
}

fn of_many_names_none_is_listed() {
    assert_lines(&[
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]),
            r#"process.rlimits[0].type: unknown value "RLIMIT_NOTHING""#,
        ),
        (
            "/linux/sysctl",
            json!({"vm.swappiness": "1"}),
            r#"linux.sysctl: sysctl "vm.swappiness" is not in a separate kernel namespace"#,
        ),
    ]);
}

fn a_mistyped_option_of_a_bind_mount_has_a_nearest_one() {
    only_rt("the texts are those of rt");
    for (option, remedy) in [
        ("nosiud", "; did you mean \"nosuid\"?"),
        ("size=1m", ""),
        ("uid=0", ""),
    ] {
        let bundle = Bundle::new();
        let at = bundle.config().items("/mounts").len();
        let source = bundle.path().to_owned();
        assert_line(
            &bundle.bind(&source, "/tmp", &["bind", option]),
            &format!(
                "mounts[{at}].options: {option}: bind mounts cannot have any filesystem-specific options applied{remedy}"
            ),
        );
    }
}
