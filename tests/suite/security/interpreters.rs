//! Programs of the image whose interpreter is a path through a descriptor of the runtime. The
//! kernel resolves it before it closes descriptors (the class of CVE-2024-21626).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;

use crate::harness::{Bundle, Directory, Runtime, View, trials};
use crate::hooks::{START_CONTAINER, add};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_interpreter_of_a_script_is_not_a_host_file,
        the_interpreter_of_a_script_is_not_a_host_file_with_cgroup_v2,
        the_interpreter_of_an_elf_file_is_not_a_host_file,
        the_interpreter_of_a_hook_is_not_a_host_file,
    ]
}

/// Covers every descriptor that the runtime has open at execve(2).
const NUMBERS: std::ops::Range<u32> = 3..28;

/// A program on the host that prints a message when it runs.
struct Canary(Directory);

impl Canary {
    fn new(bundle: &Bundle) -> Self {
        let directory = Directory::new();
        fs::copy(bundle.rootfs().join("probe"), directory.join("canary")).unwrap();
        Self(directory)
    }

    /// Its path, relative to a host directory that is open as descriptor `number`.
    fn path_through(&self, number: u32) -> String {
        let path = self.0.join("canary");
        format!(
            "/proc/self/fd/{number}/../../../../../../../..{}",
            path.display()
        )
    }
}

/// The probe prints this for arguments that it does not know.
#[track_caller]
fn assert_silent(output: &str, attempt: &str) {
    assert!(
        !output.contains("unknown arguments"),
        "{attempt}: a program of the host has run: {output}"
    );
}

fn attack(bundle: &Bundle, content: impl Fn(&str) -> Vec<u8>) {
    let canary = Canary::new(bundle);
    let file = bundle.rootfs().join("bin/trap");
    let container = bundle.run_detached();
    let other = Bundle::with_runtime(bundle.runtime()).args(&["/bin/trap", "word"]);
    for number in NUMBERS {
        let text = content(&canary.path_through(number));
        for place in [file.clone(), other.rootfs().join("bin/trap")] {
            fs::write(&place, &text).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let exec_process = bundle
            .runtime()
            .call(&["exec", container.id(), "/bin/trap", "word"]);
        assert_silent(
            &exec_process.run().stdout,
            &format!("exec, descriptor {number}"),
        );
        assert_silent(&other.run().stdout, &format!("run, descriptor {number}"));
    }
}

fn script(interpreter: &str) -> Vec<u8> {
    format!("#!{interpreter}\n").into_bytes()
}

fn the_interpreter_of_a_script_is_not_a_host_file() {
    attack(&Bundle::new().args(&["/probe", "sleep"]), script);
}

fn the_interpreter_of_a_script_is_not_a_host_file_with_cgroup_v2() {
    let runtime = Runtime::new().view(View::V2);
    attack(
        &Bundle::with_runtime(&runtime).args(&["/probe", "sleep"]),
        script,
    );
}

fn the_interpreter_of_an_elf_file_is_not_a_host_file() {
    attack(&Bundle::new().args(&["/probe", "sleep"]), elf);
}

/// Hooks that run in the container are files of the image too.
fn the_interpreter_of_a_hook_is_not_a_host_file() {
    let canary = Canary::new(&Bundle::new());
    for number in NUMBERS {
        let bundle = Bundle::new().args(&["/bin/true"]);
        let bundle = bundle.executable("bin/trap", &format!("#!{}\n", canary.path_through(number)));
        let bundle = add(
            bundle,
            START_CONTAINER,
            serde_json::json!({ "path": "/bin/trap" }),
        );
        let outcome = bundle.run();
        assert_silent(&outcome.stdout, &format!("descriptor {number}"));
        assert_silent(&outcome.stderr, &format!("descriptor {number}"));
    }
}

/// A 64-bit ELF file that consists of its headers and the name of its interpreter (elf(5)).
fn elf(interpreter: &str) -> Vec<u8> {
    const HEADER: u64 = 64;
    const ENTRY: u64 = 56;
    const ADDRESS: u64 = 0x40_0000;
    let name = [interpreter.as_bytes(), b"\0"].concat();
    let (place, length) = (HEADER + 2 * ENTRY, name.len() as u64);
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(2_u16.to_le_bytes()); // An executable at a fixed address.
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for number in [ADDRESS, HEADER, 0] {
        file.extend(number.to_le_bytes()); // The entry point, the segments, no sections.
    }
    file.extend(0_u32.to_le_bytes());
    for number in [HEADER as u16, ENTRY as u16, 2, 0, 0, 0] {
        file.extend(number.to_le_bytes());
    }
    for (kind, offset, size) in [(3_u32, place, length), (1, 0, place + length)] {
        file.extend(kind.to_le_bytes()); // PT_INTERP, then PT_LOAD.
        file.extend(5_u32.to_le_bytes());
        for number in [
            offset,
            ADDRESS + offset,
            ADDRESS + offset,
            size,
            size,
            0x1000,
        ] {
            file.extend(number.to_le_bytes());
        }
    }
    file.extend(name);
    file
}
