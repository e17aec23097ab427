//! The binary itself, what it costs to run, and the README's first command.

use std::fs;
use std::path::Path;

use crate::runner::Test;

use crate::harness::{
    Bundle, HostState, Kind, Runtime, View, is_release_build, needs_strace, only_rt, skip, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        it_is_static_stripped_and_small,
        the_template_takes_few_system_calls_on_v2,
        the_template_takes_few_system_calls_on_v1,
        joining_takes_few_system_calls_on_v2,
        joining_takes_few_system_calls_on_v1,
        the_example_runs_and_leaves_no_trace,
        the_example_of_an_init_runs,
    ]
}

/// Types of program headers (elf(5)).
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// The one tag of the dynamic section that names a library.
const DT_NEEDED: u64 = 1;
const SHT_SYMTAB: u32 = 2;

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut whole = [0; 8];
    whole[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_le_bytes(whole)
}

/// `Elf64_Phdr` entries as (type, offset in the file, size in the file).
fn program_headers(elf: &[u8]) -> Vec<(u32, usize, usize)> {
    let start = number(elf, 32, 8) as usize;
    let (size, count) = (number(elf, 54, 2) as usize, number(elf, 56, 2) as usize);
    (0..count)
        .map(|index| start + index * size)
        .map(|at| {
            (
                number(elf, at, 4) as u32,
                number(elf, at + 8, 8) as usize,
                number(elf, at + 32, 8) as usize,
            )
        })
        .collect()
}

fn it_is_static_stripped_and_small() {
    only_rt("only our own binary makes this promise");
    if !is_release_build() {
        skip("a debug build: RT_UNDER_TEST=PATH looks at the one that ships");
    }
    let elf = fs::read(Kind::Rt.program()).unwrap();
    assert_eq!(
        elf[..5],
        [0x7f, b'E', b'L', b'F', 2],
        "an ELF file of 64 bits"
    );
    assert!(
        elf.len() <= 4 << 20,
        "{} bytes are more than 4 MiB",
        elf.len()
    );
    for (kind, offset, size) in program_headers(&elf) {
        assert_ne!(kind, PT_INTERP, "it has an interpreter");
        if kind == PT_DYNAMIC {
            let tags = elf[offset..offset + size]
                .chunks(16)
                .map(|entry| number(entry, 0, 8));
            assert!(
                !tags.into_iter().any(|tag| tag == DT_NEEDED),
                "it needs a library"
            );
        }
    }
    let sections = number(&elf, 40, 8) as usize;
    let (size, count) = (number(&elf, 58, 2) as usize, number(&elf, 60, 2) as usize);
    let kinds = (0..count).map(|index| number(&elf, sections + index * size + 4, 4) as u32);
    assert!(
        !kinds.into_iter().any(|kind| kind == SHT_SYMTAB),
        "it is not stripped"
    );
}

/// All system calls of `run` with `true`, its container's included.
fn system_calls(view: View) -> usize {
    counted(view, |bundle, strace| {
        bundle.call_through(strace, "run", &[]).run().assert_ok();
    })
}

/// All system calls of `exec` with `true`, the joined process's included.
fn calls_to_join(view: View) -> usize {
    counted(view, |bundle, strace| {
        let (bundle, words) = (crate::exec::running(bundle).0, ["/bin/true"]);
        crate::exec::through(&bundle, strace, &[], &words)
            .run()
            .assert_ok();
    })
}

fn counted(view: View, perform: impl FnOnce(Bundle, &[&str])) -> usize {
    only_rt("a budget of our own");
    needs_strace();
    if !is_release_build() {
        skip("a debug build: RT_UNDER_TEST=PATH looks at the one that ships");
    }
    let bundle = Bundle::with_runtime(&Runtime::new().view(view)).args(&["/bin/true"]);
    let summary = bundle.runtime().home().join("summary");
    let strace = ["strace", "-f", "-c", "-o", summary.to_str().unwrap()];
    // The summary lies in it, and the bundle goes.
    let _runtime = bundle.runtime().clone();
    perform(bundle, &strace);
    let text = fs::read_to_string(summary).unwrap();
    let total = text.lines().last().unwrap_or_default();
    let words: Vec<&str> = total.split_whitespace().collect();
    assert_eq!(words.last(), Some(&"total"), "{text}");
    words[3].parse().unwrap_or_else(|e| panic!("{total}: {e}"))
}

fn the_template_takes_few_system_calls_on_v2() {
    let count = system_calls(View::V2);
    assert!(count <= 350, "{count} system calls");
}

fn the_template_takes_few_system_calls_on_v1() {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        skip("this host has no cgroup v1");
    }
    let count = system_calls(View::Host);
    assert!(count <= 490, "{count} system calls");
}

fn joining_takes_few_system_calls_on_v2() {
    let count = calls_to_join(View::V2);
    assert!(count <= 190, "{count} system calls");
}

fn joining_takes_few_system_calls_on_v1() {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        skip("this host has no cgroup v1");
    }
    let count = calls_to_join(View::Host);
    assert!(count <= 210, "{count} system calls");
}

fn the_example_of_an_init_runs() {
    only_rt("the annotation is ours");
    let bundle = Bundle::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/init");
    let before = HostState::of(&bundle);
    let call = bundle.runtime().call(&["run", example.to_str().unwrap()]);
    let said = call.run().assert_code(3).stdout;
    for text in [
        "This process is 2.",
        "\n  1  rt-init\n",
        "\nThey have ended, and none is left as a zombie.\n",
    ] {
        assert!(said.contains(text), "no {text:?}\n{said}");
    }
    before.assert_unchanged(&bundle);
}

fn the_example_runs_and_leaves_no_trace() {
    only_rt("the annotation is ours");
    let bundle = Bundle::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mybundle");
    let before = HostState::of(&bundle);
    let said = bundle
        .runtime()
        .call(&["run", example.to_str().unwrap()])
        .run()
        .assert_ok();
    for text in [
        "Hello from mybundle: a container,",
        "\n  1  sh\n\n",
        "\n  /  overlay  (rw,relatime)\n",
        "\n  /proc  proc  (rw,nosuid,nodev,noexec,relatime)\n",
        "\n  Masked, they are empty inside (linux.maskedPaths): /",
        "\n  open files, at most: 1024\n",
        "\n  capabilities: CAP_KILL CAP_NET_BIND_SERVICE CAP_AUDIT_WRITE\n",
        "\n  no program gives it more privileges",
        "\nIt has written /written-in-mybundle: ",
        "; the program is target/*/debug/rt.\n",
    ] {
        assert!(said.stdout.contains(text), "no {text:?}\n{}", said.stdout);
    }
    let roots = said.stdout.lines().filter(|line| line.starts_with("  /  "));
    assert_eq!(
        roots.count(),
        1,
        "mounts of the host are visible\n{}",
        said.stdout
    );
    let written = Path::new("/written-in-mybundle");
    assert!(!written.exists(), "what it wrote is on the host");
    before.assert_unchanged(&bundle);
}
