//! Descriptors that a caller leaks do not reach the container or its hooks, with any command.

use std::fs::{self, File};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::runner::Test;

use super::{numbers, with_inherited_descriptors};
use crate::harness::{Bundle, Call, Kind, Report, differs, trials, wait_until};
use crate::hooks::{
    CREATE_CONTAINER, CREATE_RUNTIME, POSTSTART, POSTSTOP, PRESTART, START_CONTAINER, add, probe,
    seen,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_container_gets_no_leaked_descriptors,
        descriptors_that_managers_leak_do_not_reach_the_container,
        hooks_get_neither_leaked_nor_preserved_descriptors,
    ]
}

/// Open descriptors of the kinds that managers leak: a directory of the host, a socket, a pipe and a
/// file.
struct Leaks {
    files: [File; 4],
    _other_ends: (UnixStream, std::io::PipeReader),
}

impl Leaks {
    fn new() -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let owned = |fd: OwnedFd| File::from(fd);
        Self {
            files: [
                File::open("/").unwrap(),
                owned(socket.into()),
                owned(writer.into()),
                File::open("/proc/self/exe").unwrap(),
            ],
            _other_ends: (other, reader),
        }
    }

    /// Leaks the descriptors, in turns, into the command with these numbers.
    fn leak(&self, call: Call, numbers: impl IntoIterator<Item = RawFd>) -> Call {
        let given: Vec<(RawFd, &File)> =
            numbers.into_iter().zip(self.files.iter().cycle()).collect();
        with_inherited_descriptors(call, &given)
    }
}

fn a_container_gets_no_leaked_descriptors() {
    let leaks = Leaks::new();
    let bundle = Bundle::new();
    let seen = leaks
        .leak(bundle.probe_call(&[], &[]), 3..=50)
        .assert_report();
    assert_eq!(numbers(&seen), [0, 1, 2], "{}", seen["fds"]);

    let bundle = bundle.args(&["/probe", "report"]);
    let call = bundle.call("create", &[]);
    let output = call.output().with_extension("out");
    leaks.leak(call, 3..=50).run().assert_ok();
    let start = bundle.runtime().call(&["start", bundle.id()]);
    leaks.leak(start, 3..=50).run().assert_ok();
    let text = || fs::read_to_string(&output).unwrap();
    wait_until("the report", || text().ends_with('\n'));
    let seen = Report::parse(&text());
    assert_eq!(numbers(&seen), [0, 1, 2], "{}", seen["fds"]);
}

/// containerd's shim leaks a socket as 3, conmon leaks 3 to 5, Buildah also 11 to 18.
fn descriptors_that_managers_leak_do_not_reach_the_container() {
    let leaks = Leaks::new();
    for numbers_leaked in [
        vec![3],
        vec![3, 4, 5],
        [vec![3, 4, 5], (11..=18).collect()].concat(),
        vec![1000],
    ] {
        let bundle = Bundle::new();
        let call = bundle.probe_call(&[], &[]);
        let seen = leaks.leak(call, numbers_leaked).assert_report();
        assert_eq!(numbers(&seen), [0, 1, 2], "{}", seen["fds"]);
    }
}

/// The caller preserves two descriptors for the container and leaks further ones up to 50.
fn hooks_get_neither_leaked_nor_preserved_descriptors() {
    differs(
        Kind::Runc,
        "config.md: poststart hooks are called by start; runc calls them in create",
    );
    let leaks = Leaks::new();
    let kinds = [
        PRESTART,
        CREATE_RUNTIME,
        CREATE_CONTAINER,
        START_CONTAINER,
        POSTSTART,
        POSTSTOP,
    ];
    for verb in ["create", "run"] {
        let bundle = kinds.into_iter().fold(
            Bundle::new().writable().args(&["/probe", "sleep"]),
            |bundle, kind| {
                let hook = probe(&bundle, kind);
                add(bundle, kind, hook)
            },
        );
        let flags = match verb {
            "run" => &["--preserve-fds=2", "--detach"] as &[&str],
            _ => &["--preserve-fds=2"],
        };
        leaks
            .leak(bundle.call(verb, flags), 3..=50)
            .run()
            .assert_ok();
        if verb == "create" {
            let start = bundle.runtime().call(&["start", bundle.id()]);
            leaks.leak(start, 3..=50).run().assert_ok();
        }
        let delete = bundle.runtime().call(&["delete", "--force", bundle.id()]);
        leaks.leak(delete, 3..=50).run().assert_ok();
        for kind in kinds {
            let report = seen(&bundle, kind).report;
            assert_eq!(numbers(&report), [0, 1, 2], "{kind}: {}", report["fds"]);
        }
    }
}
