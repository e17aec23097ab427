//! A program that is there and may be executed, and that execve(2) refuses all the same: its process
//! has started, says why on its own standard error, and ends with 1.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Bundle, Traces, alive, only_rt, trials, wait_gone};
use crate::hooks::{POSTSTART, START_CONTAINER, add};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        run_ends_as_the_process_that_execve_refuses,
        start_leaves_a_process_that_execve_refuses_to_itself,
        run_detached_leaves_it_too,
        the_hint_names_the_interpreter_that_is_missing,
        the_hint_names_the_machine_that_the_program_is_for,
        what_the_filter_forbids_does_not_hide_why,
        poststart_hooks_are_for_a_program_that_runs,
        a_start_that_fails_has_ended_the_process,
    ]
}

/// The words of runc for each kind, and what is in the file.
const KINDS: [(&str, &str); 4] = [
    ("no such file or directory", "#!/no/such\n"),
    ("exec format error", "\u{1}\u{2}garbage"),
    ("exec format error", "echo no interpreter\n"),
    ("exec format error", ""),
];

fn with_program(content: &str) -> Bundle {
    let bundle = Bundle::new().executable("bin/program", content);
    bundle.args(&["/bin/program"])
}

#[track_caller]
fn assert_said(said: &str, words: &str) {
    let line = format!("exec /bin/program: {words}");
    assert!(said.starts_with(&line), "{said:?}");
    assert_eq!(said.lines().count(), 1, "{said:?}");
}

fn run_ends_as_the_process_that_execve_refuses() {
    for (words, content) in KINDS {
        let bundle = with_program(content);
        let before = Traces::of(&bundle);
        let outcome = bundle.run().assert_code(1);
        assert_said(&outcome.stderr, words);
        before.assert_unchanged(&bundle);
    }
}

fn start_leaves_a_process_that_execve_refuses_to_itself() {
    for (words, content) in KINDS {
        let bundle = with_program(content);
        let before = Traces::of(&bundle);
        let container = bundle.create();
        let pid = container.pid();
        container.start().assert_ok();
        container.wait_stopped();
        wait_gone(pid);
        assert_said(&container.stderr(), words);
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

fn run_detached_leaves_it_too() {
    let bundle = with_program("#!/no/such\n");
    let before = Traces::of(&bundle);
    let container = bundle.run_detached();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

/// What a program says for which there is an explanation.
#[track_caller]
fn explained(bundle: &Bundle) -> String {
    let said = bundle.run().assert_code(1).stderr;
    said.trim_end().to_owned()
}

fn the_hint_names_the_interpreter_that_is_missing() {
    only_rt("others have the kernel's word alone");
    let missing = |name: &str| {
        format!(
            "exec /bin/program: no such file or directory (its interpreter {name} is not in the root)"
        )
    };
    for (content, name) in [
        ("#!/bin/bash\n", "/bin/bash"),
        ("#! /usr/bin/env python3\n", "/usr/bin/env"),
        ("#!/bin/sh\r\necho\r\n", "/bin/sh\\r"),
    ] {
        assert_eq!(explained(&with_program(content)), missing(name));
    }
    // One script is the interpreter of the other.
    let bundle = with_program("#!/bin/other\n").executable("bin/other", "#!/no/such\n");
    assert_eq!(explained(&bundle), missing("/no/such"));
    // And the loader of a program that is linked to libraries.
    let bundle = with_program("");
    fs::write(bundle.rootfs().join("bin/program"), linked_to("/lib/ld.so")).unwrap();
    assert_eq!(explained(&bundle), missing("/lib/ld.so"));
}

/// A program of this machine, as far as the kernel looks before it opens the loader.
fn linked_to(loader: &str) -> Vec<u8> {
    let own = fs::read("/proc/self/exe").unwrap();
    let (headers, size) = (64u64, 56u16);
    let (at, length) = (headers + u64::from(size), loader.len() as u64 + 1);
    let mut elf = own[..64].to_vec();
    elf[32..40].copy_from_slice(&headers.to_ne_bytes());
    elf[54..56].copy_from_slice(&size.to_ne_bytes());
    elf[56..58].copy_from_slice(&1u16.to_ne_bytes());
    // PT_INTERP, readable: where it is in the file, and its length.
    elf.extend([3u32, 4].map(u32::to_ne_bytes).concat());
    elf.extend([at, 0, 0, length, length, 1].map(u64::to_ne_bytes).concat());
    elf.extend(loader.bytes().chain([0]));
    elf
}

fn the_hint_names_the_machine_that_the_program_is_for() {
    only_rt("others have the kernel's word alone");
    let bundle = with_program("");
    let file = bundle.rootfs().join("bin/program");
    // EM_S390, in its byte order.
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    elf[18..20].copy_from_slice(&[0, 22]);
    fs::write(&file, elf).unwrap();
    let expected = "exec /bin/program: exec format error (it is a program for s390x)";
    assert_eq!(explained(&bundle), expected);
    fs::write(&file, "echo\n").unwrap();
    let said = explained(&bundle);
    assert!(said.contains("(it is neither an ELF program"), "{said:?}");
}

/// Only writing is allowed: nothing is looked for when it is in force.
fn what_the_filter_forbids_does_not_hide_why() {
    only_rt("runc opens files below it");
    let allowed = ["execve", "write", "exit", "exit_group"];
    let bundle = with_program("#!/bin/bash\n")
        .set("/process/noNewPrivileges", json!(true))
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_KILL_PROCESS",
                "syscalls": [
                    {"names": allowed, "action": "SCMP_ACT_ALLOW"},
                    {"names": ["sendto"], "action": "SCMP_ACT_ERRNO"},
                ],
            }),
        );
    let said = explained(&bundle);
    assert!(said.contains("its interpreter /bin/bash"), "{said:?}");
}

/// config.md: "The poststart hooks MUST be called after the user-specified process is executed".
fn poststart_hooks_are_for_a_program_that_runs() {
    only_rt("runc calls them in create");
    for verb in ["create", "run"] {
        let bundle = with_program("#!/no/such\n");
        let called = bundle.runtime().home().join("called");
        let touch = json!({"path": "/usr/bin/touch", "args": ["touch", called]});
        let bundle = add(bundle, POSTSTART, touch);
        match verb {
            "create" => {
                let container = bundle.create();
                container.start().assert_ok();
                container.wait_stopped();
            }
            _ => drop(bundle.run().assert_code(1)),
        }
        assert!(!called.exists(), "{verb}");
    }
}

/// An engine removes a container whose start has failed, and takes it for one that has stopped.
fn a_start_that_fails_has_ended_the_process() {
    only_rt("runc's start does not fail");
    for kind in [START_CONTAINER, POSTSTART] {
        for _ in 0..3 {
            let bundle = Bundle::new().args(&["/probe", "sleep"]);
            let hook = json!({"path": "/bin/false", "args": ["false"]});
            let bundle = add(bundle, kind, hook);
            let before = Traces::of(&bundle);
            let container = bundle.create();
            let pid = container.pid();
            let outcome = container.start().assert_code(1);
            assert!(!alive(pid), "{kind}: {outcome}");
            before.assert_unchanged(&bundle);
        }
    }
}
