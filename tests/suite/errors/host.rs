//! Errors about what the host lacks or refuses. They occur during creation, which is then undone.

use libtest_mimic::Trial;
use serde_json::json;

use super::assert_error;
use crate::harness::{Bundle, Kind, Runtime, differs, on_v2, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        missing_root_directory,
        root_is_a_file,
        missing_executable,
        missing_executable_by_path,
        executable_is_not_executable,
        executable_is_a_directory,
        unknown_file_system_type,
        missing_bind_source,
        bind_over_proc,
        mount_point_missing_on_a_readonly_mount,
        bad_sysctl,
        sysctl_of_the_host,
        bad_id,
        id_taken,
        namespace_path_of_the_wrong_type,
        namespace_path_missing,
        limit_that_the_kernel_refuses,
        missing_container,
    ]
}

fn missing_root_directory() {
    let bundle = Bundle::new().set("/root/path", json!("nothing-here"));
    assert_error(
        &bundle,
        "root.path: BUNDLE/nothing-here: not found (ENOENT)",
    );
}

fn root_is_a_file() {
    let bundle = Bundle::new().set("/root/path", json!("rootfs/etc/passwd"));
    assert_error(
        &bundle,
        "root.path: BUNDLE/rootfs/etc/passwd: not a directory (ENOTDIR)",
    );
}

fn missing_executable() {
    let bundle = Bundle::new().args(&["no-such-program"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"no-such-program\": executable file not found in $PATH",
    );
}

fn missing_executable_by_path() {
    let bundle = Bundle::new().args(&["/bin/no-such-program"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/bin/no-such-program\": no such file or directory (ENOENT)",
    );
}

fn executable_is_not_executable() {
    let bundle = Bundle::new().file("bin/data", "x").args(&["/bin/data"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/bin/data\": permission denied (EACCES)",
    );
}

fn executable_is_a_directory() {
    let bundle = Bundle::new().args(&["/etc"]);
    let line = "process.args[0]: exec: \"/etc\": is a directory: permission denied (EACCES)";
    assert_error(&bundle, line);
}

fn unknown_file_system_type() {
    let mount = json!({"destination": "/tmp", "type": "nosuchfs", "source": "none"});
    let line = "mounts[7]: mount nosuchfs on /tmp: no such device \
                (ENODEV; is the file system built into this kernel?)";
    assert_error(&Bundle::new().mount(mount), line);
}

fn missing_bind_source() {
    let bundle = Bundle::new().bind("/nonexistent".as_ref(), "/tmp", &["rbind"]);
    assert_error(
        &bundle,
        "mounts[7]: bind source /nonexistent: not found (ENOENT)",
    );
}

/// The root file system is writable; only the mount is read-only.
fn mount_point_missing_on_a_readonly_mount() {
    let tmpfs = json!({ "destination": "/mnt/below", "type": "tmpfs", "source": "tmpfs" });
    let source = crate::harness::Directory::new();
    let bundle = Bundle::new().writable().folder("mnt");
    let bundle = bundle
        .bind(source.path(), "/mnt", &["bind", "ro"])
        .mount(tmpfs);
    let item = bundle.config().items("/mounts").len() - 1;
    assert_error(
        &bundle,
        &format!(
            "mounts[{item}]: mount point /mnt/below: read-only file system (EROFS; the mount point is missing and the mount on /mnt is read-only)"
        ),
    );
}

fn bind_over_proc() {
    differs(Kind::Crun, "mounts it");
    let bundle = Bundle::new().bind("/etc".as_ref(), "/proc", &["rbind"]);
    assert_error(
        &bundle,
        "mounts[7]: bind source /etc: \"/proc\" cannot be mounted because it is not of type proc",
    );
}

fn bad_sysctl() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"}));
    let line = "linux.sysctl: net.ipv4.no_such_thing: \
                write \"1\" to /proc/sys/net/ipv4/no_such_thing: not found (ENOENT)";
    assert_error(&bundle, line);
}

fn sysctl_of_the_host() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"vm.swappiness": "1"}));
    let line = "linux.sysctl: sysctl \"vm.swappiness\" is not in a separate kernel namespace";
    assert_error(&bundle, line);
}

fn bad_id() {
    differs(Kind::Crun, "accepts it");
    let bundle = Bundle::new().with_id("no spaces");
    assert_error(&bundle, "invalid container ID format");
    let bundle = Bundle::new().with_id(&"x".repeat(1025));
    assert_error(&bundle, "invalid container ID format");
}

fn id_taken() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let _container = bundle.create();
    assert_error(&bundle, "container with given ID already exists");
}

fn namespace_path_of_the_wrong_type() {
    let bundle = Bundle::new().namespace("network", Some("/proc/self/ns/uts"));
    let line =
        "linux.namespaces[4].path: /proc/self/ns/uts: is a uts namespace, not a network namespace";
    assert_error(&bundle, line);
}

fn namespace_path_missing() {
    let bundle = Bundle::new().namespace("network", Some("/nonexistent/net"));
    assert_error(
        &bundle,
        "linux.namespaces[4].path: /nonexistent/net: not found (ENOENT)",
    );
}

fn limit_that_the_kernel_refuses() {
    differs(Kind::Crun, "its cgroups remain");
    let bundle = Bundle::new().set("/linux/resources/cpu", json!({"quota": 10}));
    let file = if on_v2() {
        "cpu.max"
    } else {
        "cpu.cfs_quota_us"
    };
    assert_error(
        &bundle,
        &format!("linux.resources.cpu.quota: write \"10\" to {file}: invalid argument (EINVAL)"),
    );
}

fn missing_container() {
    differs(Kind::Crun, "has another text");
    let runtime = Runtime::new();
    for verb in ["start", "state", "kill", "delete"] {
        let outcome = runtime
            .call(&[verb, "no-such-container"])
            .run()
            .assert_code(1);
        assert!(outcome.one_line().contains("does not exist"), "{outcome}");
        if runtime.kind() == Kind::Rt {
            let line = format!("rt {verb}: no-such-container: container does not exist");
            assert_eq!(outcome.one_line(), line);
        }
    }
}
