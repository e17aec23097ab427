//! The lifecycle and the settings of a container in a user namespace.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::runner::Test;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{COUNT, FIRST, mapped, mappings};
use crate::harness::{
    Bundle, HostState, Kind, alive, cgroup_of, differs, only_rt, signal, trials, wait_gone,
};
use crate::terminal::{Listener, Session};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_exit_code_is_returned,
        signals_are_forwarded,
        create_start_kill_and_delete_work,
        state_and_list_show_the_container,
        delete_force_ends_the_container,
        limits_are_applied,
        root_in_the_container_owns_its_network_namespace,
        sysctls_are_set_inside,
        hostname_and_domainname_are_set,
        rlimits_are_set,
        priorities_beyond_the_namespace_are_set,
        oom_score_adj_is_set,
        a_missing_working_directory_is_created,
        a_cwd_that_only_the_user_may_enter_works,
        env_and_home_are_set,
        the_container_has_its_own_session_keyring,
        a_terminal_works_in_the_foreground,
        a_terminal_is_sent_to_the_console_socket,
        no_descriptor_is_left_open,
        the_proc_files_of_a_created_container_belong_to_root,
        root_in_the_namespaces_cannot_read_a_created_container,
        a_missing_program_is_refused,
    ]
}

fn the_exit_code_is_returned() {
    let bundle = mapped().sh("exit 7");
    let before = HostState::of(&bundle);
    bundle.run().assert_code(7);
    let bundle = bundle.sh("kill -9 $$; sleep 1; exit 3");
    bundle.run().assert_code(3);
    before.assert_unchanged(&bundle);
}

fn signals_are_forwarded() {
    let bundle = mapped().args(&["/probe", "wait-signal"]);
    let run = bundle.call("run", &[]).start();
    run.wait_for("ready");
    signal(run.pid(), Signal::SIGTERM);
    assert_eq!(run.wait().assert_ok().stdout, "ready\n15\n");
}

fn create_start_kill_and_delete_work() {
    let bundle = mapped().args(&["/probe", "wait-signal"]);
    let before = HostState::of(&bundle);
    let container = bundle.create();
    assert_eq!(container.status(), "created");
    let pid = container.pid();
    assert!(alive(pid));
    container.start().assert_ok();
    container.wait_for("ready");
    assert_eq!(
        (container.status().as_str(), container.pid()),
        ("running", pid)
    );
    container.kill("USR1").assert_ok();
    container.wait_stopped();
    assert_eq!(container.stdout(), "ready\n10\n");
    container.delete().assert_ok();
    wait_gone(pid);
    before.assert_unchanged(&bundle);
}

fn state_and_list_show_the_container() {
    let bundle = mapped().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let state = container.state();
    assert_eq!(state["status"], "running");
    let pid = state["pid"].as_i64().unwrap();
    let uid = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(uid, FIRST);
    let listed = bundle
        .runtime()
        .call(&["list", "--quiet"])
        .run()
        .assert_ok();
    assert_eq!(listed.stdout.trim(), bundle.id());
}

fn delete_force_ends_the_container() {
    for created in [true, false] {
        let bundle = mapped().args(&["/probe", "sleep"]);
        let before = HostState::of(&bundle);
        let container = if created {
            bundle.create()
        } else {
            bundle.run_detached()
        };
        let pid = container.pid();
        container.end();
        wait_gone(pid);
        before.assert_unchanged(&bundle);
    }
}

fn limits_are_applied() {
    let bundle = mapped()
        .set("/linux/resources/pids", json!({ "limit": 33 }))
        .set("/linux/resources/memory", json!({ "limit": 64 << 20 }))
        .args(&["/probe", "sleep"]);
    let pid = bundle.run_detached().pid();
    let read = |controller: &str, file: &str| {
        fs::read_to_string(cgroup_of(pid, controller).join(file)).unwrap_or_default()
    };
    assert_eq!(read("pids", "pids.max").trim(), "33");
    let memory = read("memory", "memory.limit_in_bytes") + &read("memory", "memory.max");
    assert_eq!(memory.trim(), (64 << 20).to_string());
}

fn root_in_the_container_owns_its_network_namespace() {
    let bundle = mapped().capabilities(&["CAP_NET_ADMIN"]);
    let seen = bundle.probe();
    assert_eq!(seen["interfaces"], json!({ "lo": { "up": true } }));
    // Root in the container may change its interfaces.
    let outcome = bundle
        .sh("busybox ip link set lo down && busybox ip link set lo mtu 1400")
        .run();
    outcome.assert_ok();
}

fn sysctls_are_set_inside() {
    let mut table = json!({
        "net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "7",
        "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "20", "kernel.msgmax": "4096",
    });
    let own = [
        "net/ipv4/ip_unprivileged_port_start",
        "user/max_uts_namespaces",
    ]
    .map(|name| Path::new("/proc/sys").join(name));
    let before = own.each_ref().map(|file| fs::read_to_string(file).unwrap());
    // Other runtimes do not set the limits of a user namespace.
    if Kind::under_test() == Kind::Rt {
        table["user.max_uts_namespaces"] = json!("7");
    }
    let script: Vec<String> = table
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| format!("test $(/probe sysctl {key}) = {value}"))
        .collect();
    let bundle = mapped()
        .set("/linux/sysctl", table)
        .sh(&script.join(" && "));
    bundle.run().assert_ok();
    let after = own.each_ref().map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(after, before);
}

fn hostname_and_domainname_are_set() {
    let bundle = mapped().hostname("web-1.example");
    assert_eq!(bundle.probe()["hostname"], "web-1.example");
    if Kind::under_test() == Kind::Rt {
        let seen = bundle.set("/domainname", json!("example.org")).probe();
        assert_eq!(seen["domainname"], "example.org");
    }
}

fn rlimits_are_set() {
    let list = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
    ]);
    let seen = mapped().set("/process/rlimits", list).probe();
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!([0, 0]));
}

/// Init has no privileges on the host, but the runtime has.
fn priorities_beyond_the_namespace_are_set() {
    only_rt("Debian's old one lacks process.ioPriority");
    let priority = json!({"class": "IOPRIO_CLASS_RT", "priority": 3});
    let bundle = mapped().set("/process/ioPriority", priority);
    let bundle = bundle.set(
        "/process/scheduler",
        json!({"policy": "SCHED_OTHER", "nice": -3}),
    );
    let seen = bundle.probe();
    assert_eq!(seen["io_priority"], 1 << 13 | 3);
    assert_eq!(seen["scheduler"]["nice"], -3);
}

fn oom_score_adj_is_set() {
    let seen = mapped().set("/process/oomScoreAdj", json!(700)).probe();
    assert_eq!(seen["oom_score_adj"], "700");
}

fn a_missing_working_directory_is_created() {
    let bundle = super::owned(mapped())
        .writable()
        .set("/process/cwd", json!("/srv/new"));
    assert_eq!(bundle.probe()["cwd"], "/srv/new");
    let made = fs::metadata(bundle.rootfs().join("srv/new")).unwrap();
    if Kind::under_test() == Kind::Rt {
        assert_eq!((made.uid(), made.gid()), (FIRST, FIRST));
    }
}

/// Its group has no id in the user namespace, so the capabilities of root there do not count. It
/// is entered again as the user.
fn a_cwd_that_only_the_user_may_enter_works() {
    let bundle = mapped()
        .folder("own")
        .user(1000, 1000)
        .set("/process/cwd", json!("/own"));
    let own = bundle.rootfs().join("own");
    chown(&own, Some(FIRST + 1000), Some(0)).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(bundle.probe()["cwd"], "/own");
    let outcome = bundle.user(0, 0).args(&["/bin/true"]).run();
    outcome.assert_refused("/own");
}

fn env_and_home_are_set() {
    let seen = mapped()
        .user(1000, 1000)
        .set("/process/env", json!(["A=b"]))
        .probe();
    assert_eq!(seen.env("A").as_deref(), Some("b"));
    assert_eq!(seen.env("HOME").as_deref(), Some("/home/worker"));
}

/// The description is type;uid;gid;perm;name, with the ids in the user namespace.
fn the_container_has_its_own_session_keyring() {
    differs(Kind::Crun, "its keyring has the bare id as name");
    let bundle = mapped();
    let keyring = bundle.probe()["keyring"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(keyring.starts_with("keyring;0;0;"), "{keyring}");
    assert!(
        keyring.ends_with(&format!(";_ses.{}", bundle.id())),
        "{keyring}"
    );
}

fn a_terminal_works_in_the_foreground() {
    let bundle = mapped()
        .set("/process/terminal", json!(true))
        .sh("busybox tty; stat -c '%F' /dev/console; stat -L -c 'owner %u %g' /proc/self/fd/0; echo to tty >/dev/tty; exit 5");
    let before = HostState::of(&bundle);
    let said = Session::start(&bundle).assert_end(5);
    let expected = "/dev/pts/0\ncharacter special file\nowner 0 5\nto tty\n";
    assert!(said.starts_with(expected), "{said:?}");
    before.assert_unchanged(&bundle);
}

fn a_terminal_is_sent_to_the_console_socket() {
    let bundle = mapped()
        .user(1000, 1000)
        .set("/process/terminal", json!(true))
        .sh("busybox tty; stat -L -c 'owner %u' /proc/self/fd/0; echo to tty >/dev/tty; echo done; read -r end");
    let before = HostState::of(&bundle);
    let listener = Listener::new(&bundle);
    let container = bundle.create_with(&listener.flags());
    let (mut master, _) = listener.receive();
    container.start().assert_ok();
    let said = master.expect("done");
    assert!(
        said.starts_with("/dev/pts/0\nowner 1000\nto tty\n"),
        "{said:?}"
    );
    master.type_keys("\r");
    master.expect_hangup();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

fn no_descriptor_is_left_open() {
    let seen = mapped().probe();
    let open: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
    assert_eq!(open, ["0", "1", "2"]);
}

/// Otherwise root in the container, or the user that it is mapped to, could read the runtime's
/// descriptors, memory and program.
fn the_proc_files_of_a_created_container_belong_to_root() {
    let container = mapped().args(&["/probe", "sleep"]);
    let container = container.create();
    let pid = container.pid();
    for name in ["mem", "environ", "fd", "exe", "root", "maps"] {
        let owner = fs::symlink_metadata(format!("/proc/{pid}/{name}")).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (0, 0), "{name}");
    }
}

/// Root of another container in the same user and pid namespaces tries to read the /proc files
/// of a container that is created but not started.
fn root_in_the_namespaces_cannot_read_a_created_container() {
    only_rt("crun's files can be read there, and the init of runc has forked");
    let first = mapped().args(&["/probe", "sleep"]);
    let pid = first.run_detached().pid();
    let link = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let second = Bundle::new()
        .namespace("user", Some(&link("user")))
        .namespace("pid", Some(&link("pid")))
        .set("/linux/uidMappings", mappings(&[(0, FIRST, COUNT)]))
        .set("/linux/gidMappings", mappings(&[(0, FIRST, COUNT)]))
        .args(&["/probe", "sleep"]);
    let waiting = second.create();
    let status = fs::read_to_string(format!("/proc/{}/status", waiting.pid())).unwrap();
    let inner_pid = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap();
    let inner_pid = inner_pid.split_whitespace().last().unwrap();
    // nsenter(1) has all capabilities in the user namespace, like a privileged container.
    let probe = |command_name: &str, file: &str| {
        let mut command = Command::new("nsenter");
        command.args([
            "-t",
            &pid.to_string(),
            "-U",
            "-p",
            "-m",
            "-r",
            "--",
            "/probe",
            command_name,
        ]);
        let output = command
            .arg(format!("/proc/{inner_pid}/{file}"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (command, file) in [
        ("readlink", "exe"),
        ("readlink", "root"),
        ("readlink", "cwd"),
        ("readlink", "fd/3"),
        ("read", "environ"),
        ("read", "maps"),
        ("read", "auxv"),
    ] {
        let said = probe(command, file);
        assert!(
            ["EACCES", "EPERM"].contains(&said.as_str()),
            "{command} {file}: {said:?}"
        );
    }
    let said = probe("read", "stat");
    assert!(said.starts_with(inner_pid), "stat is readable: {said:?}");
    // After execve(2) the process is the container's own, and root may read it.
    waiting.start().assert_ok();
    assert_eq!(probe("readlink", "exe"), "/probe");
}

fn a_missing_program_is_refused() {
    let bundle = mapped().args(&["/no/such"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("/no/such");
    if Kind::under_test() == Kind::Rt {
        outcome.one_line();
    }
    before.assert_unchanged(&bundle);
}
