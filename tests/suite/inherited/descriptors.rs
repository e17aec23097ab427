//! `--preserve-fds` and socket activation: the descriptors of the container's process and their numbers.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use crate::runner::Test;
use serde_json::json;

use super::{numbers, with_inherited_descriptors};
use crate::harness::{Bundle, HostState, Kind, Report, differs, only_rt, trials};
use crate::process::init::with_init;

pub(super) fn tests() -> Vec<Test> {
    trials![
        preserved_descriptors_keep_their_numbers,
        only_the_given_number_of_descriptors_is_preserved,
        preserved_descriptors_are_those_of_create_and_not_of_start,
        the_last_preserve_fds_is_used_in_every_spelling,
        sockets_of_socket_activation_come_before_preserved_descriptors,
        socket_activation_reaches_the_child_of_an_init,
        socket_activation_overrides_the_variables_of_the_config,
        socket_activation_of_another_process_is_ignored,
        socket_activation_without_a_pid_is_ignored,
        a_descriptor_that_is_not_open_stays_closed,
        no_file_of_the_runtime_gets_the_number_of_a_missing_descriptor,
        a_missing_socket_of_socket_activation_is_refused,
        an_invalid_count_is_refused,
        the_runtime_closes_its_copies_of_passed_descriptors,
        a_seccomp_filter_may_forbid_fcntl,
        a_container_with_a_user_namespace_gets_passed_descriptors,
        the_soft_limit_of_descriptors_may_be_exceeded_by_mounts,
        a_preserved_directory_is_not_a_container_escape_for_the_config,
        exec_passes_preserved_descriptors_and_no_activation_sockets,
    ]
}

/// Open files with different paths.
fn files(bundle: &Bundle, count: usize) -> Vec<(PathBuf, File)> {
    let files = (0..count).map(|number| {
        let path = bundle.runtime().home().join(format!("passed-{number}"));
        fs::write(&path, format!("content {number}")).unwrap();
        let file = File::open(&path).unwrap();
        (path, file)
    });
    files.collect()
}

/// The files with descriptor numbers from 3 on.
fn from_three(files: &[(PathBuf, File)]) -> Vec<(RawFd, &File)> {
    (3..).zip(files.iter().map(|(_, file)| file)).collect()
}

#[track_caller]
fn assert_passed(seen: &Report, files: &[(PathBuf, File)]) {
    let count = u32::try_from(files.len()).unwrap();
    let expected: Vec<u32> = (0..3 + count).collect();
    assert_eq!(numbers(seen), expected, "{}", seen["fds"]);
    for (number, (path, _)) in (3..).zip(files) {
        let link = &seen["fds"][number.to_string()];
        assert_eq!(link, path.to_str().unwrap(), "{number}");
    }
}

fn preserved_descriptors_keep_their_numbers() {
    for flags in [
        &["--preserve-fds", "3"] as &[&str],
        &["--detach", "--preserve-fds=3"],
    ] {
        let bundle = Bundle::new().args(&["/probe", "report"]);
        let files = files(&bundle, 3);
        let call = bundle.call("run", flags);
        let output = call.output().with_extension("out");
        with_inherited_descriptors(call, &from_three(&files))
            .run()
            .assert_ok();
        let output_text = || fs::read_to_string(&output).unwrap();
        crate::harness::wait_until("the report", || output_text().ends_with('\n'));
        assert_passed(&Report::parse(&output_text()), &files);
    }
}

/// Descriptors beyond the count are closed, whether or not their numbers are consecutive.
fn only_the_given_number_of_descriptors_is_preserved() {
    let bundle = Bundle::new();
    let files = files(&bundle, 6);
    let mut given = from_three(&files);
    given.push((40, &files[5].1));
    let call = bundle.probe_call(&[], &["--preserve-fds=2"]);
    let seen = with_inherited_descriptors(call, &given).assert_report();
    assert_passed(&seen, &files[..2]);
}

fn preserved_descriptors_are_those_of_create_and_not_of_start() {
    let bundle = Bundle::new().args(&["/probe", "report"]);
    let files = files(&bundle, 2);
    let call = bundle.call("create", &["--preserve-fds=2"]);
    let output = call.output().with_extension("out");
    with_inherited_descriptors(call, &from_three(&files))
        .run()
        .assert_ok();
    // Descriptors of `start` do not reach the container.
    let other = File::open("/").unwrap();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    let leaked: Vec<(RawFd, &File)> = (3..20).map(|number| (number, &other)).collect();
    with_inherited_descriptors(start, &leaked).run().assert_ok();
    let output_text = || fs::read_to_string(&output).unwrap();
    crate::harness::wait_until("the report", || output_text().ends_with('\n'));
    assert_passed(&Report::parse(&output_text()), &files);
}

fn the_last_preserve_fds_is_used_in_every_spelling() {
    let bundle = Bundle::new();
    let files = files(&bundle, 3);
    for flags in [
        &["-preserve-fds", "1"] as &[&str],
        &["--preserve-fds=3", "-preserve-fds=1"],
    ] {
        let call = with_inherited_descriptors(bundle.probe_call(&[], flags), &from_three(&files));
        assert_passed(&call.assert_report(), &files[..1]);
    }
}

/// A shell that sets `LISTEN_PID` to its own pid and then executes the runtime.
const WITH_ACTIVATION: [&str; 4] = [
    "sh",
    "-c",
    "export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\"",
    "sh",
];

fn sockets_of_socket_activation_come_before_preserved_descriptors() {
    let bundle = Bundle::new();
    let files = files(&bundle, 4);
    for (flags, count) in [(&[] as &[&str], 2), (&["--preserve-fds=1"], 3)] {
        let call = bundle.probe_call(&WITH_ACTIVATION, flags);
        let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
        assert_passed(&seen, &files[..count]);
        assert_eq!(seen.env("LISTEN_FDS").as_deref(), Some("2"));
        assert_eq!(seen.env("LISTEN_PID").as_deref(), Some("1"));
    }
}

/// The process is not PID 1 then.
fn socket_activation_reaches_the_child_of_an_init() {
    let bundle =
        with_init(Bundle::new()).set("/process/env", json!(["LISTEN_PID=77", "PATH=/bin"]));
    let files = files(&bundle, 3);
    let call = bundle.probe_call(&WITH_ACTIVATION, &["--preserve-fds=1"]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &files);
    assert_eq!(seen.env("LISTEN_FDS").as_deref(), Some("2"));
    assert_eq!(seen.env("LISTEN_PID").as_deref(), Some("2"));
    let bundle = bundle.sh("ls /proc/1/fd");
    let call = bundle.call("run", &["--preserve-fds=3"]);
    let said = with_inherited_descriptors(call, &from_three(&files)).run();
    assert_eq!(said.assert_ok().stdout, "0\n1\n2\n");
}

fn socket_activation_overrides_the_variables_of_the_config() {
    let env = json!([
        "LISTEN_PID=77",
        "PATH=/bin",
        "LISTEN_FDS=9",
        "LISTEN_FDNAMES=web:admin"
    ]);
    let bundle = Bundle::new().set("/process/env", env);
    let files = files(&bundle, 2);
    let call = bundle.probe_call(&WITH_ACTIVATION, &[]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_eq!(seen.env("LISTEN_FDS").as_deref(), Some("2"));
    assert_eq!(seen.env("LISTEN_PID").as_deref(), Some("1"));
    assert_eq!(seen.env("LISTEN_FDNAMES").as_deref(), Some("web:admin"));
    // Without socket activation the variables of the configuration stay: Podman sets them and passes
    // the sockets with `--preserve-fds`.
    let call = bundle.probe_call(&[], &["--preserve-fds=2"]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &files);
    assert_eq!(seen.env("LISTEN_FDS").as_deref(), Some("9"));
    assert_eq!(seen.env("LISTEN_PID").as_deref(), Some("77"));
}

#[track_caller]
fn assert_not_activated(environment: &[(&str, &str)]) {
    let bundle = Bundle::new();
    let files = files(&bundle, 2);
    let call = bundle.probe_call(&[], &[]);
    let call = call.with(|command| command.env_remove("LISTEN_PID").envs(environment.to_vec()));
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &[]);
    assert_eq!(seen.env("LISTEN_FDS"), None);
    assert_eq!(seen.env("LISTEN_PID"), None);
}

/// sd_listen_fds(3): a process may inherit the variables of its parent, which it has to ignore.
fn socket_activation_of_another_process_is_ignored() {
    assert_not_activated(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")]);
}

fn socket_activation_without_a_pid_is_ignored() {
    assert_not_activated(&[("LISTEN_FDS", "2")]);
    assert_not_activated(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "")]);
}

/// `podman run --preserve-fd 3,5` passes descriptors with a gap in their numbers.
fn a_descriptor_that_is_not_open_stays_closed() {
    only_rt("runc refuses it; crun passes descriptors that it has opened itself");
    let bundle = Bundle::new();
    let files = files(&bundle, 2);
    for (count, given, expected) in [
        (3, [3, 5], vec![0, 1, 2, 3, 5]),
        (60, [4, 40], vec![0, 1, 2, 4, 40]),
        (2, [4, 5], vec![0, 1, 2, 4]),
        (100_000, [20, 30], vec![0, 1, 2, 20, 30]),
    ] {
        let given = [(given[0], &files[0].1), (given[1], &files[1].1)];
        let flag = format!("--preserve-fds={count}");
        let call = bundle.probe_call(&[], &[&flag]);
        let seen = with_inherited_descriptors(call, &given).assert_report();
        assert_eq!(numbers(&seen), expected, "{}", seen["fds"]);
        for (number, path) in given
            .iter()
            .zip(&files)
            .map(|((n, _), (path, _))| (n, path))
        {
            if *number - 3 < count {
                assert_eq!(seen["fds"][number.to_string()], path.to_str().unwrap());
            }
        }
    }
}

/// In `create` and `exec`, neither the log nor another file gets the number of a descriptor that the
/// caller does not have open.
fn no_file_of_the_runtime_gets_the_number_of_a_missing_descriptor() {
    only_rt("runc refuses it; crun passes descriptors that it has opened itself");
    let bundle = Bundle::new().args(&["/probe", "report"]);
    let files = files(&bundle, 1);
    let log = bundle.runtime().home().join("log.json");
    let global = [
        "--log",
        log.to_str().unwrap(),
        "--log-format=json",
        "--debug",
    ];
    bundle.write();
    let run_with = |args: &[&'static str], more: &[&str]| {
        let args = [&global, args, &["--preserve-fds=60"], more].concat();
        let call = bundle.runtime().call(&args);
        let output = call.output().with_extension("out");
        let given = [(9, &files[0].1)];
        with_inherited_descriptors(call, &given).run().assert_ok();
        output
    };
    let directory = bundle.path().to_str().unwrap();
    let output = run_with(&["create"], &["--bundle", directory, bundle.id()]);
    bundle
        .runtime()
        .call(&["start", bundle.id()])
        .run()
        .assert_ok();
    let output_text = || fs::read_to_string(&output).unwrap();
    crate::harness::wait_until("the report", || output_text().ends_with('\n'));
    let seen = Report::parse(&output_text());
    assert_eq!(numbers(&seen), [0, 1, 2, 9], "{}", seen["fds"]);

    bundle
        .runtime()
        .call(&["delete", "-f", bundle.id()])
        .run()
        .assert_ok();
    let bundle = &bundle;
    let sleeping = Bundle::with_runtime(bundle.runtime()).args(&["/probe", "sleep"]);
    let container = sleeping.run_detached();
    let output = run_with(&["exec"], &[sleeping.id(), "/probe", "report"]);
    let seen = Report::parse(&fs::read_to_string(&output).unwrap());
    assert_eq!(numbers(&seen), [0, 1, 2, 9], "{}", seen["fds"]);
    container.end();
}

fn a_missing_socket_of_socket_activation_is_refused() {
    only_rt("sd_listen_fds(3): all of them are open; runc passes other descriptors instead");
    let bundle = Bundle::new().args(&["/bin/true"]);
    let files = files(&bundle, 1);
    let before = HostState::of(&bundle);
    let call = bundle.call_through(&WITH_ACTIVATION, "run", &[]);
    let refused = with_inherited_descriptors(call, &from_three(&files))
        .run()
        .assert_code(1);
    assert_eq!(
        refused.one_line(),
        "rt run: LISTEN_FDS: descriptor 4, 1 of 2: bad file number (EBADF)"
    );
    before.assert_unchanged(&bundle);
}

fn an_invalid_count_is_refused() {
    let bundle = Bundle::new().args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    for value in ["", "x", "1.5", "0x", "99999999999999999999"] {
        let flag = format!("--preserve-fds={value}");
        bundle
            .call("run", &[&flag])
            .run()
            .assert_refused("preserve-fds");
    }
    if Kind::under_test() == Kind::Rt {
        // runc treats a negative number as 0.
        let refused = bundle
            .call("run", &["--preserve-fds=-1"])
            .run()
            .assert_code(1);
        assert!(
            refused
                .one_line()
                .contains("-preserve-fds: value out of range"),
            "{refused}"
        );
        let script = "export LISTEN_PID=$$ LISTEN_FDS=many; exec \"$@\"";
        let call = bundle.call_through(&["sh", "-c", script, "sh"], "run", &[]);
        let refused = call.run().assert_code(1);
        let line = "rt run: LISTEN_FDS: \"many\": invalid digit found in string";
        assert_eq!(refused.one_line(), line);
    }
    before.assert_unchanged(&bundle);
}

/// A pipe is at its end when the container has closed it, although `run` still runs.
fn the_runtime_closes_its_copies_of_passed_descriptors() {
    only_rt("runc keeps its copy open while the container runs");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let bundle = Bundle::new().sh("echo through >&3; exec 3>&-; echo closed; sleep 1000");
    let writer = File::from(OwnedFd::from(writer));
    let call = bundle.call("run", &["--preserve-fds=1"]);
    let running = with_inherited_descriptors(call, &[(3, &writer)]).start();
    drop(writer);
    running.wait_for("closed");
    let mut output_text = String::new();
    reader.read_to_string(&mut output_text).unwrap();
    assert_eq!(output_text, "through\n");
    bundle.container().delete_force().assert_ok();
}

/// The filter is installed last, after the descriptors are in place.
fn a_seccomp_filter_may_forbid_fcntl() {
    differs(
        Kind::Runc,
        "Go's runtime calls fcntl after the filter is installed",
    );
    let bundle = Bundle::new()
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["close_range"], "action": "SCMP_ACT_KILL_PROCESS"},
                    {"names": ["fcntl"], "action": "SCMP_ACT_KILL_PROCESS",
                     "args": [{"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}],
            }),
        )
        .args(&["/probe", "report"]);
    let files = files(&bundle, 1);
    let call = bundle.call("run", &["--preserve-fds=1"]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &files);
}

fn a_container_with_a_user_namespace_gets_passed_descriptors() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    let files = files(&bundle, 2);
    let call = bundle.probe_call(&WITH_ACTIVATION, &[]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &files);
}

/// The soft limit is 60 descriptors, 40 are passed, and 200 bind mounts are opened.
fn the_soft_limit_of_descriptors_may_be_exceeded_by_mounts() {
    let mut bundle = Bundle::new();
    for number in 0..200 {
        let name = format!("bound-{number}");
        bundle = bundle.folder(&name);
        let source = bundle.rootfs().join("etc");
        bundle = bundle.bind(&source, &format!("/{name}"), &["bind"]);
    }
    let files = files(&bundle, 40);
    let limited = ["sh", "-c", "ulimit -S -n 60; exec \"$@\"", "sh"];
    let call = bundle.probe_call(&limited, &["--preserve-fds=40"]);
    let seen = with_inherited_descriptors(call, &from_three(&files)).assert_report();
    assert_passed(&seen, &files);
}

/// CVE-2024-21626 with a preserved descriptor: the process may use the directory, since the caller
/// passed it, but neither the working directory nor the program may be reached through it.
fn a_preserved_directory_is_not_a_container_escape_for_the_config() {
    let bundle = Bundle::new();
    let outside = bundle.runtime().home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("host-marker"), "seen").unwrap();
    fs::copy("/bin/busybox", outside.join("ls")).unwrap();
    let directory = File::open(&outside).unwrap();
    let given: [(RawFd, &File); 1] = [(3, &directory)];
    let run = |bundle: &Bundle| {
        let call = bundle.call("run", &["--preserve-fds=1"]);
        with_inherited_descriptors(call, &given).run()
    };
    let bundle = bundle.args(&["/bin/cat", "/proc/self/fd/3/host-marker"]);
    assert_eq!(run(&bundle).assert_ok().stdout, "seen");
    differs(
        Kind::Runc,
        "Debian's 1.1.5 lacks the fix for CVE-2024-21626",
    );
    for cwd in [
        "/proc/self/fd/3",
        "/proc/self/fd/3/..",
        "/proc/1/fd/3",
        "/link",
    ] {
        let bundle = Bundle::new()
            .symlink("link", "/proc/self/fd/3")
            .set("/process/cwd", json!(cwd))
            .sh("ls -a . .. ../..");
        let outcome = run(&bundle).assert_refused("process.cwd");
        assert!(!outcome.stdout.contains("host-marker"), "{outcome}");
    }
    for program in ["/proc/self/fd/3/ls", "/proc/1/fd/3/ls"] {
        let outcome = run(&Bundle::new().args(&[program, "/"])).assert_refused("exec");
        assert_eq!(outcome.stdout, "");
    }
}

/// runc's exec does not pass the sockets of socket activation either.
fn exec_passes_preserved_descriptors_and_no_activation_sockets() {
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let files = files(&bundle, 4);
    let exec = |flags: &[&'static str]| {
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([bundle.id(), "/probe", "report"]);
        bundle.runtime().call_through(&WITH_ACTIVATION, &args)
    };
    for (flags, count) in [(&[] as &[&str], 0), (&["--preserve-fds=3"], 3)] {
        let seen = with_inherited_descriptors(exec(flags), &from_three(&files)).assert_report();
        assert_passed(&seen, &files[..count]);
        assert_eq!(seen.env("LISTEN_PID"), None);
    }
    container.end();
}
