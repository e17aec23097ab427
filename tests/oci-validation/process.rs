//! config.md, "Process": the attributes of the container's process.

use crate::runner::Test;
use serde_json::json;

use crate::common::{assert_error, assert_error_with_its_args, sleeper};
use crate::harness::{Bundle, Kind, Report, skip, trials, violates, wait_until};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        the_working_directory_is_cwd,
        a_relative_cwd_is_an_error,
        the_arguments_are_args,
        the_program_is_found_as_execvp_does,
        empty_args_are_an_error,
        the_environment_is_env,
        the_user_is_uid,
        the_group_is_gid,
        the_additional_groups_are_set,
        the_umask_is_set,
        the_console_has_its_size,
        the_capabilities_are_those_of_each_set,
        an_unmappable_capability_is_a_warning,
        no_new_privileges_is_set,
        no_new_privileges_is_not_set,
        a_set_oom_score_adj_is_applied,
        an_unset_oom_score_adj_is_not_changed,
        the_io_priority_is_set,
        a_profile_without_apparmor_is_an_error,
        exec_processes_start_with_the_cpu_affinity,
        exec_cpu_affinity_does_not_concern_init,
    ]
}

/// "cwd (string, REQUIRED) is the working directory that will be set for the executable."
fn the_working_directory_is_cwd() {
    let seen = Bundle::new().set("/process/cwd", json!("/etc")).probe();
    assert_eq!(seen["cwd"], "/etc");
}

/// cwd: "This value MUST be an absolute path."
fn a_relative_cwd_is_an_error() {
    violates(Kind::Crun, "takes a path that is not absolute");
    assert_error(Bundle::new().set("/process/cwd", json!("etc")));
}

/// "args (array of strings, OPTIONAL) with similar semantics to IEEE Std 1003.1-2008 execvp's argv."
fn the_arguments_are_args() {
    let bundle = Bundle::new().args(&["/probe", "report", "read /etc/group", "read /no such"]);
    let outcome = bundle.run().assert_ok();
    let seen = Report::parse(&outcome.stdout);
    assert_eq!(
        seen["argv"],
        json!(["/probe", "report", "read /etc/group", "read /no such"])
    );
}

/// args: "that entry is used with the same semantics as execvp's file": without a slash it is looked up in PATH.
fn the_program_is_found_as_execvp_does() {
    let bundle = Bundle::new()
        .executable("opt/greet", "#!/bin/sh\necho found\n")
        .set("/process/env", json!(["PATH=/nowhere:/opt"]))
        .args(&["greet"]);
    assert_eq!(bundle.run().assert_ok().stdout, "found\n");
}

/// args: "at least one entry is REQUIRED (non-Windows)".
fn empty_args_are_an_error() {
    assert_error_with_its_args(&Bundle::new().set("/process/args", json!([])));
}

/// "env (array of strings, OPTIONAL) with the same semantics as IEEE Std 1003.1-2008's environ."
fn the_environment_is_env() {
    let bundle = Bundle::new()
        .set("/process/env/-", json!("WORD=one two"))
        .set("/process/env/-", json!("EMPTY="));
    let seen = bundle.probe();
    assert_eq!(seen.env("WORD").as_deref(), Some("one two"));
    assert_eq!(seen.env("EMPTY").as_deref(), Some(""));
    assert_eq!(
        seen.env("CARGO_MANIFEST_DIR"),
        None,
        "the caller's environment"
    );
}

/// "uid (int, REQUIRED) specifies the user ID in the container namespace."
fn the_user_is_uid() {
    let seen = Bundle::new().user(1234, 0).probe();
    assert_eq!(seen["uids"], json!([1234, 1234, 1234, 1234]));
}

/// "gid (int, REQUIRED) specifies the group ID in the container namespace."
fn the_group_is_gid() {
    let seen = Bundle::new().user(0, 2345).probe();
    assert_eq!(seen["gids"], json!([2345, 2345, 2345, 2345]));
}

/// "additionalGids (array of ints, OPTIONAL) specifies additional group IDs in the container namespace to be added to
/// the process."
fn the_additional_groups_are_set() {
    let bundle = Bundle::new().set("/process/user/additionalGids", json!([5, 77]));
    let seen = bundle.probe();
    let groups = seen["groups"].as_array().unwrap();
    assert!(
        groups.contains(&json!(5)) && groups.contains(&json!(77)),
        "{groups:?}"
    );
}

/// "umask (int, OPTIONAL) specifies the umask of the user."
fn the_umask_is_set() {
    let seen = Bundle::new()
        .set("/process/user/umask", json!(0o137))
        .probe();
    assert_eq!(seen["umask"], 0o137);
}

/// "consoleSize (object, OPTIONAL) specifies the console size in characters of the terminal."
fn the_console_has_its_size() {
    let bundle = Bundle::new()
        .writable()
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({"height": 13, "width": 57}))
        .sh("busybox stty size > /size; exec sleep 1000");
    let socket = bundle.path().join("console");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let container = bundle.create_with(&["--console-socket", socket.to_str().unwrap()]);
    container.start().assert_ok();
    let seen = || std::fs::read_to_string(bundle.rootfs().join("size")).unwrap_or_default();
    wait_until("the size", || seen().ends_with('\n'));
    assert_eq!(seen(), "13 57\n");
    container.end();
}

/// "capabilities (object, OPTIONAL) is an object containing arrays that specifies the sets of capabilities for the
/// process."
fn the_capabilities_are_those_of_each_set() {
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    });
    // For a user other than root, execve(2) keeps the ambient set alone.
    let bundle = Bundle::new()
        .user(1000, 1000)
        .set("/process/capabilities", sets);
    let seen = bundle.probe();
    for (set, names) in [
        (
            "bounding",
            &["CAP_CHOWN", "CAP_FOWNER", "CAP_KILL"] as &[&str],
        ),
        ("permitted", &["CAP_CHOWN"]),
        ("effective", &["CAP_CHOWN"]),
        ("inheritable", &["CAP_CHOWN"]),
        ("ambient", &["CAP_CHOWN"]),
    ] {
        assert_eq!(seen.capabilities(set), names, "{set}");
    }
}

/// "Any value which cannot be mapped to a relevant kernel interface, or cannot be granted otherwise MUST be logged as a
/// warning by the runtime."
fn an_unmappable_capability_is_a_warning() {
    violates(Kind::Crun, "ignores an unknown capability silently");
    let bundle = Bundle::new()
        .capabilities(&["CAP_KILL", "CAP_UNHEARD_OF"])
        .sh("exit 0");
    let outcome = bundle.run().assert_ok();
    assert!(outcome.stderr.contains("CAP_UNHEARD_OF"), "{outcome}");
}

/// "noNewPrivileges (bool, OPTIONAL) setting noNewPrivileges to true prevents the process from gaining additional
/// privileges."
fn no_new_privileges_is_set() {
    let seen = Bundle::new()
        .set("/process/noNewPrivileges", json!(true))
        .probe();
    assert_eq!(seen["no_new_privs"], 1);
}

fn no_new_privileges_is_not_set() {
    let seen = Bundle::new()
        .set("/process/noNewPrivileges", json!(false))
        .probe();
    assert_eq!(seen["no_new_privs"], 0);
}

/// "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value."
fn a_set_oom_score_adj_is_applied() {
    let seen = Bundle::new()
        .set("/process/oomScoreAdj", json!(321))
        .probe();
    assert_eq!(seen["oom_score_adj"], "321");
}

/// "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj."
fn an_unset_oom_score_adj_is_not_changed() {
    let bundle = Bundle::new().remove("/process/oomScoreAdj");
    let script = "echo 123 > /proc/self/oom_score_adj && exec \"$@\"";
    let call = bundle.probe_call(&["sh", "-c", script, "sh"], &[]);
    assert_eq!(call.assert_report()["oom_score_adj"], "123");
}

/// "class (string, REQUIRED) specifies the I/O scheduling class", "priority (int, REQUIRED) specifies the priority level
/// within the class", in the number of ioprio_set(2).
fn the_io_priority_is_set() {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
    for (class, number) in [
        ("IOPRIO_CLASS_RT", 1),
        ("IOPRIO_CLASS_BE", 2),
        ("IOPRIO_CLASS_IDLE", 3),
    ] {
        let priority = json!({"class": class, "priority": 5});
        let seen = Bundle::new().set("/process/ioPriority", priority).probe();
        let value = seen["io_priority"].as_i64().unwrap();
        assert_eq!(
            (value >> 13, value & 7),
            (number, if number == 3 { value & 7 } else { 5 }),
            "{class}"
        );
    }
}

/// runtime.md, "Create": "If the runtime cannot apply a property as specified in the configuration, it MUST generate an
/// error", for `apparmorProfile`.
fn a_profile_without_apparmor_is_an_error() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.trim() == "Y") {
        skip("AppArmor is on here");
    }
    assert_error(Bundle::new().set("/process/apparmorProfile", json!("unheard-of")));
}

/// "execCPUAffinity (object, OPTIONAL) specifies CPU affinity used to execute the process", "final".
fn exec_processes_start_with_the_cpu_affinity() {
    violates(Kind::Runc, "Debian's is older than this property");
    violates(Kind::Crun, "Debian's is older than this property");
    let affinity = json!({"initial": "0", "final": "0"});
    let bundle = sleeper().set("/process/execCPUAffinity", affinity);
    let container = bundle.run_detached();
    let seen = container.call("exec", &["/probe", "report"]).assert_ok();
    assert_eq!(Report::parse(&seen.stdout)["cpus"], json!([0]));
}

/// execCPUAffinity: "This setting is not applicable to the container's init process."
fn exec_cpu_affinity_does_not_concern_init() {
    if std::fs::read_to_string("/sys/devices/system/cpu/online").is_ok_and(|all| all.trim() == "0")
    {
        skip("this host has only one CPU");
    }
    let affinity = json!({"initial": "0", "final": "0"});
    let seen = Bundle::new()
        .set("/process/execCPUAffinity", affinity)
        .probe();
    assert_eq!(seen["cpus"], Bundle::new().probe()["cpus"]);
}
