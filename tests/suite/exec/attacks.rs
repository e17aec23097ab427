//! Attacks by processes of a container on the runtime and on exec processes.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use crate::runner::Test;
use serde_json::json;

use super::{call, exec, probe, running, sh};
use crate::harness::{
    Bundle, Holder, HostState, Kind, Runtime, View, differs, only_rt, trials, wait_until,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        cve_2016_9962_the_container_cannot_read_the_runtime,
        cve_2016_9962_the_container_cannot_read_the_runtime_with_other_users,
        cve_2016_9962_the_container_cannot_read_the_runtime_in_a_user_namespace,
        cve_2019_5736_exec_of_proc_self_exe_does_not_run_the_runtime,
        cve_2019_5736_the_container_cannot_open_the_runtime_for_writing,
        a_tracer_in_the_container_cannot_reach_files_of_the_host,
        cve_2024_21626_a_working_directory_outside_is_refused,
        cve_2024_21626_a_program_outside_is_refused,
        a_symlink_as_working_directory_stays_in_the_root,
        oom_score_is_not_written_to_a_fake_proc,
        an_endless_passwd_is_ignored,
        a_state_directory_of_another_user_is_refused,
        a_reused_pid_is_not_taken_for_init,
        the_runtimes_environment_is_not_passed_to_the_process,
    ]
}

/// Runs `exec` while a process of the container reads the /proc files of all processes.
#[track_caller]
fn assert_runtime_not_seen(bundle: Bundle, rounds: usize, flags: &[&[&str]]) {
    let all = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let sets = json!({"bounding": all, "effective": all, "permitted": all});
    // Without a user namespace, CAP_SYS_PTRACE would let it read any process.
    let sets = match bundle.config().items("/linux/uidMappings") {
        [] => {
            json!({"bounding": ["CAP_DAC_OVERRIDE"], "effective": ["CAP_DAC_OVERRIDE"], "permitted": ["CAP_DAC_OVERRIDE"]})
        }
        _ => sets,
    };
    let bundle = bundle
        .set("/process/capabilities", sets)
        .args(&["/probe", "watch"]);
    let container = bundle.run_detached();
    container.wait_for("ready");
    for round in 0..rounds {
        let flags = flags[round % flags.len()];
        exec(&bundle, flags, &["/bin/true"]).assert_ok();
    }
    let seen = container.stdout();
    let programs: Vec<&str> = seen
        .lines()
        .skip(1)
        .filter(|line| *line != "/bin/busybox")
        .collect();
    assert_eq!(
        programs, [""; 0],
        "it saw a process that is not the container's"
    );
}

fn cve_2016_9962_the_container_cannot_read_the_runtime() {
    for view in [View::Host, View::V2] {
        let runtime = Runtime::new().view(view);
        assert_runtime_not_seen(Bundle::with_runtime(&runtime), 60, &[&[]]);
    }
}

fn cve_2016_9962_the_container_cannot_read_the_runtime_with_other_users() {
    assert_runtime_not_seen(
        Bundle::new(),
        60,
        &[&["-u", "1000"], &["-u", "0:7"], &["--no-new-privs"]],
    );
}

/// Root of a user namespace may read every process that belongs to the namespace.
fn cve_2016_9962_the_container_cannot_read_the_runtime_in_a_user_namespace() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let bundle = Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    assert_runtime_not_seen(bundle, 60, &[&[], &["-u", "1000"]]);
}

fn cve_2019_5736_exec_of_proc_self_exe_does_not_run_the_runtime() {
    let program = Runtime::new().program();
    let before = fs::read(&program).unwrap();
    let bundle = Bundle::new().executable("bin/self", "#!/proc/self/exe\n");
    let (bundle, _container) = running(bundle);
    for args in [&["/proc/self/exe", "--version"] as &[&str], &["/bin/self"]] {
        let outcome = exec(&bundle, &[], args);
        assert!(!outcome.stdout.contains("rt version"), "{outcome}");
    }
    assert!(
        fs::read(&program).unwrap() == before,
        "the runtime has changed"
    );
}

/// A container without a user namespace whose init has CAP_SYS_PTRACE and tries to read
/// and write the files of every process that it sees.
fn prying(bundle: Bundle, secret: &std::path::Path) -> Bundle {
    bundle
        .capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"])
        .executable("bin/self", "#!/proc/self/exe\n")
        .args(&["/probe", "open-links", secret.to_str().unwrap()])
}

#[track_caller]
fn assert_nothing_reached(said: &str) {
    let reached = |line: &&str| line.starts_with("reached") || *line == "changed";
    assert_eq!(said.lines().filter(reached).collect::<Vec<_>>(), [""; 0]);
}

/// Neither through an exec process that has not called execve(2) yet, nor through a script
/// in the image that executes the runtime.
fn cve_2019_5736_the_container_cannot_open_the_runtime_for_writing() {
    only_rt("runc 1.1 seals a copy in memory, which this reads as its program");
    let runtime = Runtime::new();
    let before = fs::read(runtime.program()).unwrap();
    let bundle = prying(Bundle::with_runtime(&runtime), "/nothing".as_ref());
    let container = bundle.run_detached();
    container.wait_for("ready");
    for _ in 0..40 {
        exec(&bundle, &[], &["/bin/self"]);
        exec(&bundle, &[], &["/bin/true"]).assert_ok();
    }
    let other = Bundle::with_runtime(&runtime).executable("bin/self", "#!/proc/self/exe\n");
    let pid = format!("/proc/{}/ns/pid", container.pid());
    let other = other.namespace("pid", Some(&pid)).args(&["/bin/self"]);
    for _ in 0..10 {
        other.run();
    }
    assert!(
        container.stdout().contains("met"),
        "it has not seen the runtime"
    );
    assert_nothing_reached(&container.stdout());
    assert!(
        fs::read(runtime.program()).unwrap() == before,
        "the runtime has changed"
    );
}

fn a_tracer_in_the_container_cannot_reach_files_of_the_host() {
    for view in [View::Host, View::V2] {
        let secret = crate::harness::Directory::new();
        fs::write(secret.join("secret"), "secret").unwrap();
        let runtime = Runtime::new().view(view);
        let bundle = prying(Bundle::with_runtime(&runtime), &secret.join("secret"));
        let container = bundle.run_detached();
        container.wait_for("ready");
        for flags in [&[] as &[&str], &["--user", "1000"], &["--no-new-privs"]] {
            for _ in 0..30 {
                exec(&bundle, flags, &["/bin/true"]).assert_ok();
            }
        }
        assert_nothing_reached(&container.stdout());
    }
}

fn cve_2024_21626_a_working_directory_outside_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    let before = HostState::of(&bundle);
    for number in 0..24 {
        for cwd in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../../.."),
        ] {
            let outcome = exec(&bundle, &["--cwd", &cwd], &["/bin/ls"]);
            let outcome = outcome.assert_code(255);
            assert_eq!(outcome.stdout, "", "{cwd}");
        }
    }
    before.assert_unchanged(&bundle);
}

fn cve_2024_21626_a_program_outside_is_refused() {
    let (bundle, _container) = running(Bundle::new());
    for number in 3..24 {
        let program = format!("/proc/self/fd/{number}/bin/busybox");
        exec(&bundle, &[], &[&program, "true"]).assert_code(255);
    }
}

fn a_symlink_as_working_directory_stays_in_the_root() {
    let outside = crate::harness::Directory::new();
    fs::write(outside.join("outside"), "").unwrap();
    let (bundle, _container) = running(Bundle::new());
    symlink(outside.path(), bundle.rootfs().join("tmp/link")).unwrap();
    symlink("/proc/self/cwd", bundle.rootfs().join("tmp/cwd")).unwrap();
    for cwd in ["/tmp/link", "/tmp/cwd"] {
        let outcome = exec(&bundle, &["--cwd", cwd], &["/bin/ls"]);
        assert!(!outcome.stdout.contains("outside"), "{outcome}");
    }
    let meta = fs::metadata(outside.path()).unwrap();
    assert_eq!(meta.nlink(), 2);
}

/// CVE-2019-16884, CVE-2025-52881: labels and OOM scores are written to the host's /proc.
fn oom_score_is_not_written_to_a_fake_proc() {
    let bundle = Bundle::new()
        .without_mount("/proc")
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .writable()
        .file("proc/self/oom_score_adj", "")
        .file("proc/self/setgroups", "deny")
        .file("proc/self/uid_map", "0 0 4294967295\n")
        .file("proc/self/status", "");
    only_rt("runc needs a /proc in the container");
    let bundle = super::waiting(bundle);
    let container = bundle.run_detached();
    let file = super::process_file(
        &bundle,
        &["/bin/sleep", "1001"],
        &[("/oomScoreAdj", json!(777))],
    );
    let pid = bundle.runtime().home().join("exec.pid");
    let flags = [
        "-d",
        "--pid-file",
        pid.to_str().unwrap(),
        "--process",
        file.to_str().unwrap(),
    ];
    exec(&bundle, &flags, &[]).assert_ok();
    let pid = fs::read_to_string(pid).unwrap();
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score, "777\n");
    let decoy = fs::read_to_string(bundle.rootfs().join("proc/self/oom_score_adj")).unwrap();
    assert_eq!(decoy, "");
    container.end();
}

fn an_endless_passwd_is_ignored() {
    only_rt("runc reads it to the end");
    let (bundle, _container) = running(Bundle::new());
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", "echo $HOME"]);
    assert_eq!(outcome.assert_ok().stdout, "/\n");
    fs::remove_file(&passwd).unwrap();
    symlink("/dev/zero", &passwd).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", "echo $HOME"]);
    assert_eq!(outcome.assert_ok().stdout, "/\n");
    fs::remove_file(&passwd).unwrap();
    fs::File::create(&passwd).unwrap().set_len(1 << 42).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/sh", "-c", "echo $HOME"]);
    assert_eq!(outcome.assert_ok().stdout, "/\n");
}

fn a_state_directory_of_another_user_is_refused() {
    only_rt("runc trusts it");
    let (bundle, _container) = running(Bundle::new());
    let directory = bundle.runtime().root().join(bundle.id());
    std::os::unix::fs::chown(&directory, Some(4711), Some(4711)).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
    outcome.assert_refused("belongs to user 4711").one_line();
    std::os::unix::fs::chown(&directory, Some(0), Some(0)).unwrap();
    exec(&bundle, &[], &["/bin/true"]).assert_ok();
}

/// The kernel may give init's pid to another process after init has ended.
fn a_reused_pid_is_not_taken_for_init() {
    only_rt("the format of state.json is rt's");
    let (bundle, container) = running(Bundle::new());
    let state = bundle.runtime().root().join(bundle.id()).join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The kernel records start times in ticks of 10 ms, so a new process may have the same
    // start time as init.
    let started = |holder: &Holder| {
        let process = procfs::process::Process::new(holder.pid()).unwrap();
        process.stat().unwrap().starttime
    };
    let holder = std::iter::repeat_with(|| Holder::new(&["--uts"]))
        .find(|holder| value["init_process_start"] != started(holder))
        .unwrap();
    value["init_process_pid"] = json!(holder.pid());
    fs::write(&state, value.to_string()).unwrap();
    let outcome = exec(&bundle, &[], &["/bin/true"]).assert_code(255);
    outcome.assert_refused("stopped container");
    fs::write(&state, text).unwrap();
    container.end();
}

fn the_runtimes_environment_is_not_passed_to_the_process() {
    let (bundle, _container) = running(Bundle::new());
    let joined = call(&bundle, &[], &["/probe", "report"]);
    let seen = joined
        .with(|command| command.env("SECRET", "of the caller"))
        .assert_report();
    assert_eq!(seen.env("SECRET"), None);
    differs(
        Kind::Runc,
        "its memory before execve(2) is not checked here",
    );
    assert_eq!(probe(&bundle, &[]).env("SECRET"), None);
    wait_until("nothing", || {
        sh(&bundle, &[], "env")
            .lines()
            .all(|line| !line.contains("caller"))
    });
}
