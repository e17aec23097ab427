//! The security context of a container, checked from inside.

use std::fs;

use serde_json::{Value, json};

use super::{Container, Pod};
use crate::containerd::{Containerd, Test};
use crate::image;

pub(super) const TESTS: &[Test] = &[
    ("seccomp_default", seccomp_default),
    ("seccomp_unconfined", seccomp_unconfined),
    ("seccomp_localhost", seccomp_localhost),
    ("readonly_rootfs", readonly_rootfs),
    ("masked_paths", masked_paths),
    ("masked_paths_none", masked_paths_none),
    ("readonly_paths", readonly_paths),
    ("capabilities_default", capabilities_default),
    ("capabilities_add", capabilities_add),
    ("capabilities_drop", capabilities_drop),
    ("capabilities_all", capabilities_all),
    ("run_as_user", run_as_user),
    ("run_as_group", run_as_group),
    ("run_as_username", run_as_username),
    ("run_as_unknown_user", run_as_unknown_user),
    ("image_user", image_user),
    ("supplemental_groups", supplemental_groups),
    ("no_new_privs", no_new_privs),
    ("privileged", privileged),
    ("devices", devices),
    ("devices_read_only", devices_read_only),
    ("devices_refused", devices_refused),
];

/// Calls `check` with a container that has a security context, in its own pod.
fn with(daemon: &Containerd, name: &str, context: &Value, check: impl FnOnce(&Container)) {
    let pod = Pod::new(daemon, name);
    check(&pod.idle(json!({ "linux": { "security_context": context } })));
}

fn seccomp_default(daemon: &Containerd) {
    let context = json!({ "seccomp": { "profile_type": "RuntimeDefault" } });
    with(daemon, "seccomp_default", &context, |container| {
        assert_eq!(container.proc_status("Seccomp"), "2");
        assert!(
            container
                .sh_fails("unshare -U true")
                .contains("not permitted")
        );
    });
}

fn seccomp_unconfined(daemon: &Containerd) {
    let context = json!({ "seccomp": { "profile_type": "Unconfined" } });
    with(daemon, "seccomp_unconfined", &context, |container| {
        assert_eq!(container.proc_status("Seccomp"), "0");
        container.sh("unshare -U true");
    });
}

fn seccomp_localhost(daemon: &Containerd) {
    let profile = daemon
        .scratch("seccomp_localhost_profile")
        .join("profile.json");
    let rule = r#"{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }"#;
    let text = format!(r#"{{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}] }}"#);
    fs::write(&profile, text).unwrap();
    let context = json!({ "seccomp": { "profile_type": "Localhost", "localhost_ref": profile } });
    with(daemon, "seccomp_localhost", &context, |container| {
        assert!(container.sh_fails("mkdir /tmp/a").contains("No space left"));
    });
}

fn readonly_rootfs(daemon: &Containerd) {
    with(
        daemon,
        "readonly_rootfs",
        &json!({ "readonly_rootfs": true }),
        |container| {
            assert!(container.sh_fails("touch /file").contains("Read-only"));
            assert!(
                container
                    .sh_fails("touch /etc/passwd")
                    .contains("Read-only")
            );
            container.sh("touch /dev/shm/file");
        },
    );
}

fn masked_paths(daemon: &Containerd) {
    let context = json!({ "masked_paths": ["/etc/passwd", "/home"] });
    with(daemon, "masked_paths", &context, |container| {
        assert_eq!(container.sh("cat /etc/passwd; ls /home"), "");
        assert!(container.sh_fails("touch /home/file").contains("Read-only"));
    });
}

fn masked_paths_none(daemon: &Containerd) {
    with(daemon, "masked_paths_none", &json!({}), |container| {
        assert!(container.sh("cat /etc/passwd; ls /home").contains("user"));
    });
}

fn readonly_paths(daemon: &Containerd) {
    let context = json!({ "readonly_paths": ["/home", "/proc/sys"] });
    with(daemon, "readonly_paths", &context, |container| {
        assert!(container.sh_fails("touch /home/file").contains("Read-only"));
        assert!(
            container
                .sh_fails("echo 1 > /proc/sys/net/ipv4/ip_forward")
                .contains("Read-only")
        );
        container.sh("touch /tmp/file");
    });
}

fn has(container: &Container, set: &str, capability: u32) -> bool {
    let set = container.proc_status(set);
    u64::from_str_radix(&set, 16).unwrap() & (1 << capability) != 0
}

const CHOWN: u32 = 0;
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

fn capabilities_default(daemon: &Containerd) {
    with(daemon, "capabilities_default", &json!({}), |container| {
        assert!(has(container, "CapEff", CHOWN));
        assert!(!has(container, "CapBnd", NET_ADMIN) && !has(container, "CapBnd", SYS_ADMIN));
    });
}

fn capabilities_add(daemon: &Containerd) {
    let context = json!({ "capabilities": { "add_capabilities": ["NET_ADMIN"] } });
    with(daemon, "capabilities_add", &context, |container| {
        assert!(has(container, "CapEff", NET_ADMIN));
        container.sh("ip link set lo down");
    });
}

fn capabilities_drop(daemon: &Containerd) {
    let context = json!({ "capabilities": { "drop_capabilities": ["CHOWN"] } });
    with(daemon, "capabilities_drop", &context, |container| {
        assert!(!has(container, "CapEff", CHOWN) && !has(container, "CapBnd", CHOWN));
        assert!(
            container
                .sh_fails("chown 1000 /tmp")
                .contains("not permitted")
        );
    });
}

fn capabilities_all(daemon: &Containerd) {
    let context =
        json!({ "capabilities": { "drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"] } });
    with(daemon, "capabilities_all", &context, |container| {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(container.proc_status(set), "0000000000000001", "{set}");
        }
    });
}

fn run_as_user(daemon: &Containerd) {
    let context = json!({ "run_as_user": { "value": 1000 } });
    with(daemon, "run_as_user", &context, |container| {
        assert!(
            container
                .sh("id")
                .starts_with("uid=1000(user) gid=1000(user)")
        );
        assert_eq!(container.proc_status("Uid"), "1000");
        assert!(container.sh_fails("touch /etc/passwd").contains("denied"));
    });
}

fn run_as_group(daemon: &Containerd) {
    let context = json!({ "run_as_user": { "value": 1000 }, "run_as_group": { "value": 4444 } });
    with(daemon, "run_as_group", &context, |container| {
        assert_eq!(container.sh("id -u; id -g"), "1000\n4444");
    });
}

fn run_as_username(daemon: &Containerd) {
    with(
        daemon,
        "run_as_username",
        &json!({ "run_as_username": "user" }),
        |container| {
            assert_eq!(container.sh("id -u; id -g"), "1000\n1000");
            assert!(
                container.sh("id -G").contains("2000"),
                "a group of the image"
            );
        },
    );
}

fn run_as_unknown_user(daemon: &Containerd) {
    let pod = Pod::new(daemon, "run_as_unknown_user");
    let context = json!({ "run_as_username": "nobodyknown" });
    let created = pod.create("one", json!({ "linux": { "security_context": context } }));
    assert!(created.err().unwrap().contains("no users found"));
}

/// The user comes from the image if the security context has none.
fn image_user(daemon: &Containerd) {
    const IMAGE: &str = "localhost/rt/user:1";
    let layer = image::busybox_archive(&daemon.scratch("image_user_layer"));
    let config = json!({ "Env": ["PATH=/bin"], "User": "user", "Cmd": ["sleep", "1000"] });
    daemon.import("k8s.io", IMAGE, &layer, &config);
    let pod = Pod::new(daemon, "image_user");
    let container = pod.idle(json!({ "image": { "image": IMAGE } }));
    assert_eq!(container.sh("id -u; id -g"), "1000\n1000");
}

fn supplemental_groups(daemon: &Containerd) {
    let context = json!({ "run_as_user": { "value": 1000 }, "supplemental_groups": [3000, 4000] });
    with(daemon, "supplemental_groups", &context, |container| {
        let groups = container.sh("grep ^Groups: /proc/1/status");
        assert!(
            groups.contains("3000") && groups.contains("4000"),
            "{groups}"
        );
    });
}

fn no_new_privs(daemon: &Containerd) {
    with(
        daemon,
        "no_new_privs",
        &json!({ "no_new_privs": true }),
        |container| {
            assert_eq!(container.proc_status("NoNewPrivs"), "1");
        },
    );
    with(daemon, "no_new_privs_not", &json!({}), |container| {
        assert_eq!(container.proc_status("NoNewPrivs"), "0");
    });
}

fn privileged(daemon: &Containerd) {
    let context = json!({ "linux": { "security_context": { "privileged": true } } });
    let pod = Pod::with(daemon, "privileged", context.clone());
    let container = pod.idle(context);
    assert!(has(&container, "CapEff", SYS_ADMIN));
    container.sh("mount -t tmpfs none /tmp && touch /tmp/file");
    container.sh("test -c /dev/fuse && exec 3<>/dev/fuse");
    // A privileged container has no masked paths.
    assert_ne!(container.sh("cat /proc/timer_list | wc -l"), "0");
}

fn fuse(permissions: &str) -> Value {
    let device = json!({ "host_path": "/dev/fuse", "container_path": "/dev/mine", "permissions": permissions });
    json!({ "devices": [device] })
}

fn devices(daemon: &Containerd) {
    let pod = Pod::new(daemon, "devices");
    let container = pod.idle(fuse("rwm"));
    assert_eq!(
        container.sh("stat -c %t:%T:%F /dev/mine"),
        "a:e5:character special file"
    );
    container.sh("exec 3<>/dev/mine");
}

fn devices_read_only(daemon: &Containerd) {
    let pod = Pod::new(daemon, "devices_read_only");
    let container = pod.idle(fuse("r"));
    container.sh("exec 3</dev/mine");
    assert!(
        container
            .sh_fails("exec 3>/dev/mine")
            .contains("not permitted")
    );
}

fn devices_refused(daemon: &Containerd) {
    with(daemon, "devices_refused", &json!({}), |container| {
        let output = container.sh_fails("mknod /tmp/fuse c 10 229 && exec 3<>/tmp/fuse");
        assert!(output.contains("not permitted"), "{output}");
        container.sh("echo > /dev/null && head -c 1 /dev/urandom && head -c 1 /dev/zero");
    });
}
