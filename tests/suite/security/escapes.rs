//! Configurations that try to reach files or settings of the host.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, Call, Directory, HostState, Kind, needs, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        cve_2019_16884_proc_is_of_type_proc,
        cve_2019_16884_nothing_is_mounted_inside_proc,
        lxcfs_files_can_be_mounted_on_those_of_proc,
        cve_2022_29162_inheritable_capabilities_are_empty,
        cve_2024_21626_no_working_directory_through_a_leaked_descriptor,
        cve_2024_21626_no_program_through_a_leaked_descriptor,
        sysctls_of_the_host_are_refused,
        sysctls_with_strange_names_are_refused,
    ]
}

/// On a tmpfs or fake directory at /proc, labels written to /proc/self/attr have no effect.
fn cve_2019_16884_proc_is_of_type_proc() {
    let fake = Directory::new();
    for mount in [
        json!({ "destination": "/proc", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/proc", "type": "bind", "source": fake.path(), "options": ["rbind"] }),
        json!({ "destination": "/tmp/../proc", "type": "tmpfs", "source": "tmpfs" }),
    ] {
        let bundle = Bundle::new()
            .without_mount("/proc")
            .mount(mount)
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused("proc");
        before.assert_unchanged(&bundle);
    }
}

fn cve_2019_16884_nothing_is_mounted_inside_proc() {
    let fake = Directory::new();
    for place in [
        "/proc/self/attr",
        "/proc/sys",
        "/proc/1",
        "/tmp/../proc/sys",
    ] {
        for (kind, source, option) in [
            ("tmpfs", json!("tmpfs"), "rw"),
            ("bind", json!(fake.path()), "bind"),
        ] {
            if kind == "tmpfs" && Kind::under_test() == Kind::Runc {
                continue; // runc checks only bind mounts.
            }
            let mount = json!({ "destination": place, "type": kind, "source": source, "options": [option] });
            let bundle = Bundle::new().mount(mount).args(&["/bin/true"]);
            let before = HostState::of(&bundle);
            bundle.run().assert_refused("inside /proc");
            before.assert_unchanged(&bundle);
        }
    }
}

fn lxcfs_files_can_be_mounted_on_those_of_proc() {
    let directory = Directory::new();
    let own = directory.join("uptime");
    fs::write(&own, "1.00 1.00").unwrap();
    let mut places = vec![
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
    ];
    let optional = [
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    ];
    places.extend(optional.iter().filter(|place| Path::new(place).exists()));
    let bundle = places.iter().fold(Bundle::new(), |bundle, place| {
        bundle.bind(&own, place, &["bind", "ro"])
    });
    let bundle = bundle.args(&[&["/bin/cat"], &places[..]].concat());
    let expected = "1.00 1.00".repeat(places.len());
    assert_eq!(bundle.run().assert_ok().stdout, expected);
}

/// The caller has inheritable capabilities; the configuration asks for none.
fn cve_2022_29162_inheritable_capabilities_are_empty() {
    let caller = ["setpriv", "--inh-caps", "+net_raw,+chown"];
    let seen = Bundle::new().probe_call(&caller, &[]).assert_report();
    assert_eq!(seen.capabilities("inheritable"), [""; 0]);
    assert_eq!(seen.capabilities("ambient"), [""; 0]);
}

/// Passes a directory of the host to the runtime as descriptors 3 to 22.
#[allow(
    unsafe_code,
    reason = "descriptors lose close-on-exec between fork and exec"
)]
fn leaking(call: Call, directory: &fs::File) -> Call {
    let number = directory.as_raw_fd();
    let leak = move || {
        for target in 3..=22 {
            // SAFETY: duplicates a descriptor in the child that is about to exec.
            if target != number && unsafe { libc::dup2(number, target) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
            // SAFETY: clears close-on-exec on that descriptor.
            unsafe { libc::fcntl(target, libc::F_SETFD, 0) };
        }
        Ok(())
    };
    // SAFETY: `leak` makes only async-signal-safe calls and does not allocate.
    call.with(|command| unsafe { command.pre_exec(leak) })
}

fn host_directory() -> (Directory, fs::File) {
    needs("busybox", "busybox-static");
    let directory = Directory::new();
    fs::write(directory.join("host-marker"), "").unwrap();
    fs::copy("/bin/busybox", directory.join("ls")).unwrap();
    let file = fs::File::open(directory.path()).unwrap();
    (directory, file)
}

/// In a working directory on the host, `..` leads to the host's root.
fn cve_2024_21626_no_working_directory_through_a_leaked_descriptor() {
    let (_directory, file) = host_directory();
    let look = "pwd; ls -a . .. ../.. ../../.. ../../../..; ls -l /proc/self/fd /proc/self/cwd";
    for number in 3..=24 {
        let direct = Bundle::new().set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        let by_link = Bundle::new()
            .symlink("link", &format!("/proc/self/fd/{number}"))
            .set("/process/cwd", json!("/link"));
        for bundle in [direct, by_link] {
            let bundle = bundle.sh(look);
            let outcome = leaking(bundle.call("run", &[]), &file).run();
            assert!(
                !outcome.stdout.contains("host-marker"),
                "descriptor {number}\n{outcome}"
            );
        }
    }
}

fn cve_2024_21626_no_program_through_a_leaked_descriptor() {
    let (_directory, file) = host_directory();
    for number in (3..=24).step_by(3) {
        let program = format!("/proc/self/fd/{number}/ls");
        let bundle = Bundle::new().args(&[&program, "/"]);
        let outcome = leaking(bundle.call("run", &[]), &file).run();
        assert_eq!(outcome.assert_refused("").stdout, "");
    }
}

fn core_pattern() -> String {
    fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap()
}

fn refuses_sysctl(key: &str, value: &str) {
    let table: Value = [(key.to_owned(), json!(value))]
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into();
    let bundle = Bundle::new()
        .set("/linux/sysctl", table)
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("");
    before.assert_unchanged(&bundle);
}

/// These sysctls are shared by the whole host. The values are the current ones.
fn sysctls_of_the_host_are_refused() {
    let own = core_pattern();
    for key in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "vm.overcommit_memory",
        "fs.file-max",
        "kernel.hostname",
    ] {
        let value = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap();
        refuses_sysctl(key, value.trim());
    }
    assert_eq!(core_pattern(), own);
}

fn sysctls_with_strange_names_are_refused() {
    let own = core_pattern();
    for key in [
        "net/../kernel/core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "fs.mqueue/../../kernel/core_pattern",
        "net//ipv4/../../kernel/core_pattern",
        "net.ipv4.ip_forward\n",
        "net.ipv4.ip_forward\0",
        "net.",
        "net",
        "",
        "+net.ipv4.ip_forward",
    ] {
        refuses_sysctl(key, own.trim());
    }
    assert_eq!(core_pattern(), own);
}
