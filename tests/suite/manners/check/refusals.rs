//! What `create` refuses for the sake of the configuration or of files, `check` refuses with the same line.

use std::fs;

use serde_json::json;

use super::{accepted, agreed_as_written, refused, rt};
use crate::harness::{Bundle, trials};
use crate::runner::Test;
use crate::users::map;

pub(super) fn tests() -> Vec<Test> {
    trials![
        invalid_files_are_refused_as_by_create,
        impossible_plans_are_refused_as_by_create,
        missing_files_are_refused_as_by_create,
        what_mounts_and_hooks_may_supply_is_not_refused,
    ]
}

fn invalid_files_are_refused_as_by_create() {
    let bundle = rt();
    let write = |text: &str| fs::write(bundle.path().join("config.json"), text).unwrap();
    write("{\"ociVersion\": }");
    let line = "rt check: config.json: line 1 column 16: expected value";
    assert_eq!(agreed_as_written(&bundle), [line]);
    write("[]");
    assert_eq!(
        agreed_as_written(&bundle),
        ["rt check: config.json: not a JSON object"]
    );
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    let missing = agreed_as_written(&bundle);
    assert!(
        missing[0].contains("/config.json: not found (ENOENT); rt spec -b "),
        "{missing:?}"
    );

    refused(&rt().set("/ociVersion", json!("2.0.0")), "ociVersion: ");
    refused(&rt().remove("/root"), "root: required");
    refused(&rt().set("/process/cwd", json!(3)), "process.cwd: ");
    refused(&rt().set("/process/args", json!([])), "process.args: ");
    refused(&rt().set("/windows", json!({"a": 1})), "windows: ");
    refused(
        &rt().set("/linux/namespaces/-", json!({"type": "moon"})),
        "linux.namespaces[",
    );
    refused(
        &rt().set("/linux/devices", json!([{"type": "c", "path": "/dev/a"}])),
        "linux.devices[0]",
    );
}

fn impossible_plans_are_refused_as_by_create() {
    refused(
        &map(rt(), &[(0, 100_000, 65_536)]).user(70_000, 0),
        "process.user.uid: ",
    );
    refused(&rt().namespace("user", None), "linux.uidMappings: ");
    refused(&rt().without_namespace("uts"), "hostname: ");
    refused(
        &rt().set("/linux/sysctl", json!({"net.x": "1", "vm.x": "1"})),
        "linux.sysctl",
    );
    refused(&rt().without_namespace("mount"), "root.readonly: ");
    refused(
        &rt().set("/process/env/-", json!("NOVALUE")),
        "process.env[2]: ",
    );
    refused(&rt().set("/process/cwd", json!("data")), "process.cwd: ");
    refused(
        &rt().mount(json!({"destination": "/", "type": "tmpfs"})),
        "mounts[7].destination: ",
    );
    refused(
        &rt().set("/annotations", json!({"rt.rootfs.overlay": "Ephemeral"})),
        "annotations: ",
    );
    refused(
        &rt().set("/linux/rootfsPropagation", json!("sideways")),
        "linux.rootfsPropagation: ",
    );
    refused(
        &rt().set("/linux/cgroupsPath", json!("/")),
        "linux.cgroupsPath: ",
    );
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]);
    refused(&rt().set("/process/rlimits", limit), "process.rlimits[0]: ");
    let above_nr_open = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1_u64 << 40}]);
    refused(
        &rt().set("/process/rlimits", above_nr_open),
        "process.rlimits[0]: RLIMIT_NOFILE: ",
    );
    refused(
        &rt().set("/linux/resources/memory/swappiness", json!(101)),
        "linux.resources.memory.swappiness: ",
    );
    let hook = json!({"poststop": [{"path": "relative"}]});
    refused(&rt().set("/hooks", hook), "hooks.poststop[0].path: ");
}

fn missing_files_are_refused_as_by_create() {
    refused(&rt().set("/root/path", json!("absent")), "root.path: ");
    refused(
        &rt().writable().set("/root/path", json!("/")),
        "root.path: ",
    );
    refused(
        &rt().namespace("network", Some("/proc/self/ns/uts")),
        "linux.namespaces[",
    );
    let bundle = rt().namespace("uts", Some("/proc/self/ns/uts"));
    refused(&bundle, "hostname: ");
    let not_proc = rt()
        .without_mount("/proc")
        .bind("/".as_ref(), "/proc", &["rbind"]);
    refused(
        &not_proc,
        "mounts[6]: bind / on /proc: \"/proc\" cannot be mounted because it is not of type proc",
    );
    let bundle = rt();
    let in_root = bundle.rootfs().join("absent");
    refused(&bundle.bind(&in_root, "/a", &["rbind"]), "mounts[7]: bind ");

    let exec = "process.args[0]: exec: ";
    refused(
        &rt().args(&["nosuch"]),
        &format!("{exec}\"nosuch\": executable file not found in $PATH"),
    );
    refused(
        &rt().args(&["/bin/nosuch"]),
        &format!("{exec}\"/bin/nosuch\": no such file or directory"),
    );
    refused(
        &rt().args(&["/bin"]),
        &format!("{exec}\"/bin\": is a directory"),
    );
    refused(
        &rt().args(&["/etc/passwd"]),
        &format!("{exec}\"/etc/passwd\": permission denied"),
    );
    refused(
        &rt().args(&["/etc/passwd/x"]),
        &format!("{exec}\"/etc/passwd/x\": "),
    );
    let dangling = rt().symlink("link", "/bin/nosuch").args(&["/link"]);
    refused(
        &dangling,
        &format!("{exec}\"/link\": no such file or directory"),
    );
    let cycle = rt().symlink("a", "b").symlink("b", "a").args(&["/a"]);
    refused(&cycle, &format!("{exec}\"/a\": "));
    refused(
        &rt().set("/process/cwd", json!("/etc/passwd")),
        "process.cwd: ",
    );
    refused(
        &rt().set("/process/cwd", json!("/etc/passwd/x")),
        "process.cwd: ",
    );
}

fn what_mounts_and_hooks_may_supply_is_not_refused() {
    let tools = |bundle: Bundle| {
        let source = bundle.rootfs().join("bin");
        bundle
            .folder("opt/tools")
            .symlink("tools", "opt/tools")
            .symlink("programs", "/tools/../tools")
            .bind(&source, "/opt/tools", &["rbind"])
    };
    for program in ["/opt/tools/true", "/tools/true", "/programs/true"] {
        accepted(&tools(rt()).args(&[program]));
    }
    // The link is on the way to the mount point, and not to the program.
    let bundle = rt().folder("opt/tools").symlink("tools", "opt/tools");
    let source = bundle.rootfs().join("bin");
    accepted(
        &bundle
            .bind(&source, "/tools", &["rbind"])
            .args(&["/opt/tools/true"]),
    );
    accepted(
        &tools(rt())
            .args(&["./true"])
            .set("/process/cwd", json!("/opt/tools")),
    );
    let path = json!(["PATH=/nowhere:/tools"]);
    accepted(&tools(rt()).args(&["true"]).set("/process/env", path));
    accepted(&rt().writable().set("/process/cwd", json!("/made/by/init")));
    let bundle = rt()
        .symlink("absolute", "/bin/true")
        .symlink("bin/up", "../../../bin/true");
    accepted(&bundle.args(&["/absolute"]));
    accepted(&rt().symlink("bin/up", "../../../bin/true").args(&["up"]));

    // Init makes this directory for an earlier mount.
    let bundle = rt()
        .writable()
        .mount(json!({"destination": "/made/below", "type": "tmpfs"}));
    let made = bundle.rootfs().join("made");
    accepted(&bundle.bind(&made, "/copy", &["rbind"]));

    // A hook may write the program. `check` runs no hook.
    let bundle = rt().args(&["/bin/late"]);
    let script = format!("cp /bin/true {}/bin/late", bundle.rootfs().display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    accepted(&bundle.set("/hooks/createRuntime", hook));
}
