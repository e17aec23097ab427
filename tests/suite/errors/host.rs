//! Errors about what the host lacks or refuses. They occur during creation, which is then undone.

use crate::runner::Test;
use serde_json::json;

use super::assert_error;
use crate::harness::{Bundle, HostState, Kind, Runtime, differs, on_v2, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_missing_root_directory_is_refused,
        a_root_that_is_a_file_is_refused,
        a_missing_executable_is_refused,
        a_missing_executable_with_a_path_is_refused,
        a_file_without_execute_permission_is_refused,
        a_directory_as_executable_is_refused,
        an_unknown_file_system_type_is_refused,
        a_missing_bind_source_is_refused,
        a_bind_mount_over_proc_is_refused,
        a_missing_mount_point_on_a_readonly_mount_is_refused,
        an_unknown_sysctl_is_refused,
        a_sysctl_of_the_host_is_refused,
        an_invalid_id_is_refused,
        an_id_in_use_is_refused,
        a_namespace_path_of_another_type_is_refused,
        a_missing_namespace_path_is_refused,
        a_limit_that_the_kernel_refuses_is_reported,
        a_missing_container_is_reported,
    ]
}

fn a_missing_root_directory_is_refused() {
    let bundle = Bundle::new().set("/root/path", json!("nothing-here"));
    assert_error(
        &bundle,
        "root.path: BUNDLE/nothing-here: not found (ENOENT)",
    );
}

fn a_root_that_is_a_file_is_refused() {
    let bundle = Bundle::new().set("/root/path", json!("rootfs/etc/passwd"));
    assert_error(
        &bundle,
        "root.path: BUNDLE/rootfs/etc/passwd: not a directory (ENOTDIR)",
    );
}

fn a_missing_executable_is_refused() {
    let bundle = Bundle::new().args(&["no-such-program"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"no-such-program\": executable file not found in $PATH",
    );
}

fn a_missing_executable_with_a_path_is_refused() {
    let bundle = Bundle::new().args(&["/bin/no-such-program"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/bin/no-such-program\": no such file or directory (ENOENT)",
    );
}

fn a_file_without_execute_permission_is_refused() {
    let bundle = Bundle::new().file("bin/data", "x").args(&["/bin/data"]);
    assert_error(
        &bundle,
        "process.args[0]: exec: \"/bin/data\": permission denied \
         (EACCES; /bin/data has mode 0644, owner 0:0; uid 0 needs the x bit)",
    );
}

fn a_directory_as_executable_is_refused() {
    let bundle = Bundle::new().args(&["/etc"]);
    let line = "process.args[0]: exec: \"/etc\": is a directory: permission denied (EACCES)";
    assert_error(&bundle, line);
}

fn an_unknown_file_system_type_is_refused() {
    let mount = json!({"destination": "/tmp", "type": "nosuchfs", "source": "none"});
    let line = "mounts[7]: mount nosuchfs on /tmp: no such device \
                (ENODEV; is the file system built into this kernel?)";
    assert_error(&Bundle::new().mount(mount), line);
}

fn a_missing_bind_source_is_refused() {
    let bundle = Bundle::new().bind("/nonexistent".as_ref(), "/tmp", &["rbind"]);
    assert_error(
        &bundle,
        "mounts[7]: bind /nonexistent on /tmp: open the source: not found (ENOENT; create it on the host)",
    );
}

/// The root file system is writable; only the mount is read-only.
fn a_missing_mount_point_on_a_readonly_mount_is_refused() {
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
            "mounts[{item}]: mount tmpfs on /mnt/below: make the mount point: read-only file system (EROFS; mounts[{}] on /mnt is read-only)",
            item - 1
        ),
    );
}

fn a_bind_mount_over_proc_is_refused() {
    differs(Kind::Crun, "mounts it");
    let bundle = Bundle::new().bind("/etc".as_ref(), "/proc", &["rbind"]);
    assert_error(
        &bundle,
        "mounts[7]: bind /etc on /proc: \"/proc\" cannot be mounted because it is not of type proc",
    );
}

fn an_unknown_sysctl_is_refused() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"}));
    let line = "linux.sysctl: net.ipv4.no_such_thing: \
                write \"1\" to /proc/sys/net/ipv4/no_such_thing: \
                not found (ENOENT; this kernel has no such sysctl in a new namespace)";
    assert_error(&bundle, line);
}

fn a_sysctl_of_the_host_is_refused() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"vm.swappiness": "1"}));
    let line = "linux.sysctl: sysctl \"vm.swappiness\" is not in a separate kernel namespace";
    assert_error(&bundle, line);
}

fn an_invalid_id_is_refused() {
    differs(Kind::Crun, "accepts it");
    for id in ["no spaces", &"x".repeat(1025)] {
        let bundle = Bundle::new().with_id(id);
        let before = HostState::of(&bundle);
        let outcome = bundle.run();
        before.assert_unchanged(&bundle);
        let outcome = outcome.assert_refused("");
        if bundle.runtime().kind() == Kind::Rt {
            outcome.assert_refused("invalid container ID format");
        }
    }
}

fn an_id_in_use_is_refused() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let _container = bundle.create();
    for verb in ["create", "run"] {
        let before = HostState::of(&bundle);
        let outcome = bundle.call(verb, &[]).run();
        before.assert_unchanged(&bundle);
        outcome.assert_refused("container with given ID already exists");
    }
}

fn a_namespace_path_of_another_type_is_refused() {
    let bundle = Bundle::new().namespace("network", Some("/proc/self/ns/uts"));
    let line =
        "linux.namespaces[4].path: /proc/self/ns/uts: is a uts namespace, not a network namespace";
    assert_error(&bundle, line);
}

fn a_missing_namespace_path_is_refused() {
    let bundle = Bundle::new().namespace("network", Some("/nonexistent/net"));
    assert_error(
        &bundle,
        "linux.namespaces[4].path: /nonexistent/net: not found (ENOENT)",
    );
}

fn a_limit_that_the_kernel_refuses_is_reported() {
    differs(Kind::Crun, "its cgroups remain");
    let bundle = Bundle::new().set("/linux/resources/cpu", json!({"quota": 10}));
    let file = if on_v2() {
        "cpu.max"
    } else {
        "cpu.cfs_quota_us"
    };
    assert_error(
        &bundle,
        &format!(
            "linux.resources.cpu.quota: write \"10\" to {file}: invalid argument (EINVAL; \
             a quota is at least 1000, and quota/period at most the parent's)"
        ),
    );
}

fn a_missing_container_is_reported() {
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
