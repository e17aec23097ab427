//! A program that exists and is executable, but on which execve(2) fails. The container counts as
//! started: its process prints the reason to its own standard error and exits with 1.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, alive, only_rt, trials, wait_gone};
use crate::hooks::{POSTSTART, START_CONTAINER, add};

pub(super) fn tests() -> Vec<Test> {
    trials![
        run_exits_with_1_when_execve_fails,
        start_succeeds_when_only_execve_fails,
        run_detached_succeeds_when_only_execve_fails,
        the_hint_names_the_missing_interpreter,
        the_hint_names_the_architecture_of_the_program,
        a_strict_seccomp_filter_does_not_hide_the_reason,
        poststart_hooks_are_called_only_if_the_program_runs,
        the_process_has_ended_when_start_fails,
    ]
}

/// For each kind, runc's text and the content of the file.
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
fn assert_reason(stderr: &str, text: &str) {
    let line = format!("exec /bin/program: {text}");
    assert!(stderr.starts_with(&line), "{stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
}

fn run_exits_with_1_when_execve_fails() {
    for (text, content) in KINDS {
        let bundle = with_program(content);
        let before = HostState::of(&bundle);
        let outcome = bundle.run().assert_code(1);
        assert_reason(&outcome.stderr, text);
        before.assert_unchanged(&bundle);
    }
}

fn start_succeeds_when_only_execve_fails() {
    for (text, content) in KINDS {
        let bundle = with_program(content);
        let before = HostState::of(&bundle);
        let container = bundle.create();
        let pid = container.pid();
        container.start().assert_ok();
        container.wait_stopped();
        wait_gone(pid);
        assert_reason(&container.stderr(), text);
        container.delete().assert_ok();
        before.assert_unchanged(&bundle);
    }
}

fn run_detached_succeeds_when_only_execve_fails() {
    let bundle = with_program("#!/no/such\n");
    let before = HostState::of(&bundle);
    let container = bundle.run_detached();
    container.wait_stopped();
    container.delete().assert_ok();
    before.assert_unchanged(&bundle);
}

/// What the process prints.
#[track_caller]
fn reason(bundle: &Bundle) -> String {
    let stderr = bundle.run().assert_code(1).stderr;
    stderr.trim_end().to_owned()
}

fn the_hint_names_the_missing_interpreter() {
    only_rt("other runtimes print the errno only");
    let missing = |name: &str, remedy: &str| {
        format!(
            "exec /bin/program: no such file or directory (its interpreter {name} is not in the root{remedy})"
        )
    };
    for (content, name, remedy) in [
        ("#!/bin/bash\n", "/bin/bash", ""),
        ("#! /usr/bin/env python3\n", "/usr/bin/env", ""),
        (
            "#!/bin/sh\r\necho\r\n",
            "/bin/sh\\r",
            "; the lines of the script end with CR LF",
        ),
    ] {
        assert_eq!(reason(&with_program(content)), missing(name, remedy));
    }
    // A script whose interpreter is another script.
    let bundle = with_program("#!/bin/other\n").executable("bin/other", "#!/no/such\n");
    assert_eq!(reason(&bundle), missing("/no/such", ""));
    // The loader of a dynamically linked program.
    let bundle = with_program("");
    fs::write(bundle.rootfs().join("bin/program"), linked_to("/lib/ld.so")).unwrap();
    let remedy = "; link the program statically, or add its C library";
    assert_eq!(reason(&bundle), missing("/lib/ld.so", remedy));
}

/// An ELF file for this architecture, as far as the kernel reads it before it opens the loader.
fn linked_to(loader: &str) -> Vec<u8> {
    let own = fs::read("/proc/self/exe").unwrap();
    let (headers, size) = (64u64, 56u16);
    let (at, length) = (headers + u64::from(size), loader.len() as u64 + 1);
    let mut elf = own[..64].to_vec();
    elf[32..40].copy_from_slice(&headers.to_ne_bytes());
    elf[54..56].copy_from_slice(&size.to_ne_bytes());
    elf[56..58].copy_from_slice(&1u16.to_ne_bytes());
    // PT_INTERP, readable, with its offset and its length.
    elf.extend([3u32, 4].map(u32::to_ne_bytes).concat());
    elf.extend([at, 0, 0, length, length, 1].map(u64::to_ne_bytes).concat());
    elf.extend(loader.bytes().chain([0]));
    elf
}

fn the_hint_names_the_architecture_of_the_program() {
    only_rt("other runtimes print the errno only");
    let bundle = with_program("");
    let file = bundle.rootfs().join("bin/program");
    // EM_S390, big-endian.
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    elf[18..20].copy_from_slice(&[0, 22]);
    fs::write(&file, elf).unwrap();
    let expected = "exec /bin/program: exec format error (it is a program for s390x)";
    assert_eq!(reason(&bundle), expected);
    fs::write(&file, "echo\n").unwrap();
    let stderr = reason(&bundle);
    assert!(
        stderr.contains("(it is neither an ELF program"),
        "{stderr:?}"
    );
}

/// The filter allows only write(2), so the reason must be found before it is in force.
fn a_strict_seccomp_filter_does_not_hide_the_reason() {
    only_rt("runc opens files with the filter in force");
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
    let stderr = reason(&bundle);
    assert!(stderr.contains("its interpreter /bin/bash"), "{stderr:?}");
}

/// config.md: "The poststart hooks MUST be called after the user-specified process is executed".
fn poststart_hooks_are_called_only_if_the_program_runs() {
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

/// An engine assumes that a container has stopped when its start has failed.
fn the_process_has_ended_when_start_fails() {
    only_rt("runc's start does not fail");
    for kind in [START_CONTAINER, POSTSTART] {
        for _ in 0..3 {
            let bundle = Bundle::new().args(&["/probe", "sleep"]);
            let hook = json!({"path": "/bin/false", "args": ["false"]});
            let bundle = add(bundle, kind, hook);
            let before = HostState::of(&bundle);
            let container = bundle.create();
            let pid = container.pid();
            let outcome = container.start().assert_code(1);
            assert!(!alive(pid), "{kind}: {outcome}");
            before.assert_unchanged(&bundle);
        }
    }
}
