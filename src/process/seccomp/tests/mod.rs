//! Runs compiled filters in an interpreter, and compares the results with a direct evaluation
//! of the profile, and with the filters of libseccomp.

mod calls;
mod comparison;
mod differences;
mod interpreter;
mod libseccomp;
mod random;
mod reference;

use nix::libc;
use oci_spec::runtime::Arch;
use serde_json::{Value, json};

use super::architectures::{AARCH64_FAMILY, Architecture, RISCV64_FAMILY, X86_64_FAMILY};
use super::*;
use calls::calls;
use interpreter::{Call, interpret, run};
use random::Random;
use reference::{ReferenceProfile, X86, X86_64};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

fn linux_seccomp(json: &Value) -> LinuxSeccomp {
    serde_json::from_value(json.clone()).unwrap()
}

fn compiled(json: &Value, family: &Family) -> BpfProgram {
    let plan = Seccomp::of(&linux_seccomp(json), family);
    plan.unwrap_or_else(|error| panic!("{error:#}: {json}"))
        .program
}

fn refused(json: &Value) -> String {
    let error = Seccomp::plan(&linux_seccomp(json)).unwrap_err();
    format!("{error:#}")
}

/// Checks the compiled filter.
fn assert_matches_profile(json: &Value, family: &Family) {
    let profile = linux_seccomp(json);
    let reference = ReferenceProfile::new(&profile, family);
    let program = compiled(json, family);
    for call in calls(&reference, family) {
        let (expected, actual) = (reference.return_value(&call), interpret(&program, &call));
        assert_eq!(actual, expected, "{call:x?}: {json}");
    }
}

fn config(name: &str) -> Value {
    let path = format!(
        "{}/tests/suite/configs/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The profiles in configurations of managers.
fn manager_profiles() -> Vec<Value> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/configs");
    let files = std::fs::read_dir(directory).unwrap();
    let configs = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let configs = configs.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let profiles = configs.filter_map(|config| config.pointer("/linux/seccomp").cloned());
    profiles.collect()
}

#[test]
fn filters_match_the_profiles_of_managers() {
    for seccomp in manager_profiles() {
        assert_matches_profile(&seccomp, X86_64_FAMILY);
    }
}

#[test]
fn filters_match_the_profiles_of_managers_on_other_architectures() {
    let mut seccomp = config("podman-systemd-plain")["linux"]["seccomp"].clone();
    seccomp["architectures"] = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_RISCV64"]);
    assert_matches_profile(&seccomp, AARCH64_FAMILY);
    assert_matches_profile(&seccomp, RISCV64_FAMILY);
}

#[test]
fn filters_match_random_profiles() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..60 {
        assert_matches_profile(&random.profile(), X86_64_FAMILY);
    }
}

#[test]
fn filters_match_profiles_with_many_rules_for_one_call() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..20 {
        assert_matches_profile(&random.conflicting(), X86_64_FAMILY);
    }
}

/// [`Seccomp::permits`] has an evaluation of its own.
#[test]
fn what_a_filter_permits_is_what_it_returns() {
    let plan = |profile: &Value| Seccomp::plan(&linux_seccomp(profile)).unwrap();
    let conditional = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["wait4"], "action": "SCMP_ACT_KILL", "args": [
                { "index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ" }] },
            { "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [
                { "index": 1, "value": 0xf0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["kill"], "action": "SCMP_ACT_LOG" },
        ],
    });
    let host = HOST_FAMILY[0].1;
    for profile in [&config("docker-plain")["linux"]["seccomp"], &conditional] {
        let filter = plan(profile);
        for name in [
            "wait4",
            "ioctl",
            "kill",
            "personality",
            "clone",
            "mount",
            "read",
        ] {
            for value in [0, 0x10, 0x1f, 0xf0, 0x0200_0000, 0x7e02_0000, u64::MAX] {
                let call = Call {
                    audit: host.audit,
                    number: host.number(name).unwrap(),
                    args: [value; 6],
                };
                let returned = interpret(&filter.program, &call);
                let permitted = [ALLOW, libc::SECCOMP_RET_LOG].contains(&returned);
                assert_eq!(
                    filter.permits(name, call.args),
                    permitted,
                    "{name} {value:x}"
                );
            }
        }
    }
}

fn by_x86(number: u32, args: [u64; 6]) -> Call {
    Call {
        audit: X86,
        number,
        args,
    }
}

#[test]
fn rules_apply_to_multiplexed_system_calls() {
    let x86 = json!(["SCMP_ARCH_X86"]);
    let return_value = |profile: &Value, number, first| {
        interpret(
            &compiled(profile, X86_64_FAMILY),
            &by_x86(number, [first, 0, 0, 0, 0, 0]),
        )
    };
    let (socketcall, ipc) = (102, 117);

    let allowed = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": x86, "syscalls": [
        {"names": ["socket", "recv", "shmat"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bind"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
    ]});
    assert_eq!(return_value(&allowed, socketcall, 1), ALLOW);
    assert_eq!(return_value(&allowed, socketcall, 10), ALLOW);
    assert_eq!(
        return_value(&allowed, socketcall, 2),
        ERRNO | 1,
        "its arguments cannot be seen"
    );
    assert_eq!(
        return_value(&allowed, socketcall, 1 << 32 | 1),
        ALLOW,
        "the kernel sees half of it"
    );
    assert_eq!(return_value(&allowed, ipc, 21), ALLOW);
    assert_eq!(return_value(&allowed, ipc, 22), ERRNO | 1);

    let denied = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": x86, "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 17, "op": "SCMP_CMP_EQ"}]},
        {"names": ["msgget"], "action": "SCMP_ACT_ERRNO"},
    ]});
    assert_eq!(return_value(&denied, socketcall, 1), KILL, "the strictest");
    assert_eq!(return_value(&denied, socketcall, 2), ALLOW);
    assert_eq!(return_value(&denied, ipc, 13), ERRNO | 1);
    assert_eq!(
        return_value(&denied, ipc, 1 << 16 | 13),
        ERRNO | 1,
        "whatever the version"
    );

    let whole = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": x86, "syscalls": [
        {"names": ["socketcall"], "action": "SCMP_ACT_TRAP"},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO"},
    ]});
    assert_eq!(return_value(&whole, socketcall, 1), libc::SECCOMP_RET_TRAP);
}

#[test]
fn system_call_names_are_known_on_each_architecture() {
    let number = |family: &Family, i: usize, name| {
        let (_, architecture): (Arch, &Architecture) = family[i];
        architecture.number(name)
    };
    let x32 = |n: u32| Some(n | 1 << 30);
    assert_eq!(number(X86_64_FAMILY, 0, "read"), Some(0));
    assert_eq!(number(X86_64_FAMILY, 0, "file_setattr"), Some(469));
    assert_eq!(number(X86_64_FAMILY, 0, "socketcall"), None);
    assert_eq!(number(X86_64_FAMILY, 2, "restart_syscall"), Some(0));
    assert_eq!(number(X86_64_FAMILY, 2, "socketcall"), Some(102));
    assert_eq!(number(X86_64_FAMILY, 2, "break"), Some(17));
    assert_eq!(number(X86_64_FAMILY, 1, "read"), x32(0));
    assert_eq!(number(X86_64_FAMILY, 1, "execve"), x32(520));
    assert_eq!(number(X86_64_FAMILY, 1, "pwritev2"), x32(547));
    assert_eq!(number(X86_64_FAMILY, 1, "uselib"), None);
    assert_eq!(number(AARCH64_FAMILY, 0, "openat"), Some(56));
    assert_eq!(number(AARCH64_FAMILY, 0, "open"), None);
    assert_eq!(number(AARCH64_FAMILY, 1, "open"), Some(5));
    assert_eq!(number(AARCH64_FAMILY, 1, "set_tls"), Some(0xf0005));
    assert_eq!(number(RISCV64_FAMILY, 0, "riscv_flush_icache"), Some(259));
    for (_, architecture) in X86_64_FAMILY
        .iter()
        .chain(AARCH64_FAMILY)
        .chain(RISCV64_FAMILY)
    {
        assert_eq!(architecture.number(""), None);
        assert!(architecture.number("execve").is_some());
    }
}

#[test]
fn errors_name_the_place_in_config_json() {
    let profile = |entry: Value| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG"}, entry,
        ]})
    };
    let entry = |key: &str, value: Value| {
        let mut entry = json!({"names": ["write"], "action": "SCMP_ACT_ERRNO"});
        entry[key] = value;
        refused(&profile(entry)).replace("linux.seccomp.syscalls[1].", "..")
    };
    assert_eq!(
        entry("names", json!([])),
        "..names: at least one entry is required"
    );
    assert_eq!(
        entry("names", json!(["a", ""])),
        "..names[1]: must not be empty"
    );
    assert_eq!(
        entry("errnoRet", json!(4096)),
        "..errnoRet: 4096 is not between 0 and 4095"
    );
    assert_eq!(
        entry(
            "args",
            json!([{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])
        ),
        "..args[0].index: 6 is not between 0 and 5: a system call has six arguments"
    );
    let errno = json!({"names": ["write"], "action": "SCMP_ACT_KILL", "errnoRet": 1});
    assert_eq!(
        refused(&profile(errno)),
        "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL has no errno; remove it"
    );
    assert_eq!(
        refused(&json!({"defaultAction": "SCMP_ACT_LOG", "defaultErrnoRet": 1})),
        "linux.seccomp.defaultErrnoRet: SCMP_ACT_LOG has no errno; remove it"
    );
    assert_eq!(
        refused(&json!({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536})),
        "linux.seccomp.defaultErrnoRet: 65536 is not between 0 and 65535"
    );
    assert_eq!(
        refused(&json!({"defaultAction": "SCMP_ACT_NOTIFY"})),
        "linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY"
    );
}

#[test]
fn entries_with_equal_conditions_and_different_actions_are_refused() {
    let entry = |action, order: [usize; 2]| {
        let args = order.map(|i| json!({"index": i, "value": 7, "op": "SCMP_CMP_EQ"}));
        json!({"names": ["read", "write"], "action": action, "args": args})
    };
    let profile = |second| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            entry("SCMP_ACT_LOG", [0, 1]), entry(second, [1, 0]),
        ]})
    };
    assert_eq!(
        refused(&profile("SCMP_ACT_KILL")),
        "linux.seccomp.syscalls[1]: an earlier entry has another action for \"read\" with the same args"
    );
    assert!(compiled(&profile("SCMP_ACT_LOG"), HOST_FAMILY).len() < 40);
}

/// A profile with one entry for socket(2) per list of values of the first arguments.
fn about_socket(values: impl Iterator<Item = Vec<u64>>) -> Value {
    let entry = |values: Vec<u64>| {
        let args: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(i, value)| json!({"index": i, "value": value, "op": "SCMP_CMP_EQ"}))
            .collect();
        json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args})
    };
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": values.map(entry).collect::<Vec<_>>(),
    })
}

#[test]
fn many_conditions_on_one_argument_share_their_instructions() {
    let length = |count, values: fn(u64) -> Vec<u64>| {
        assert_matches_profile(&about_socket((0..20).map(values)), X86_64_FAMILY);
        compiled(&about_socket((0..count).map(values)), X86_64_FAMILY).len()
    };
    let few = length(2, |i| vec![3 * i]);
    // One comparison per value, and some for the binary search; x32 shares those of x86-64.
    let scattered = length(400, |i| vec![3 * i]);
    assert!(scattered < few + 2 * 400 * 3 / 2, "{scattered}");
    let large = length(100, |i| vec![i << 33 | i]);
    assert!(large < few + 100 * 6, "{large}");
    let neighbours = length(400, |i| vec![i]);
    assert!(neighbours < few + 5, "{neighbours}");
    let nested = length(400, |i| vec![2, 3 * i]);
    assert!(nested < scattered + 20, "{nested}");
    let pairs = length(150, |i| vec![3 * i, 5 * i]);
    assert!(pairs < few + 150 * 12, "{pairs}");
}

#[test]
fn a_program_above_the_kernels_limit_is_refused() {
    let text = "linux.seccomp: needs more than 4096 instructions, the most that a filter can have";
    let scattered = |count| about_socket((0..count).map(|i| vec![3 * i]));
    assert_eq!(refused(&scattered(5000)), text);
    assert_eq!(refused(&scattered(20_000)), text);
    compiled(&scattered(1500), HOST_FAMILY);
}

#[test]
fn the_filter_for_dockers_profile_is_short() {
    let program = compiled(&config("docker-plain")["linux"]["seccomp"], X86_64_FAMILY);
    assert!(program.len() < 650, "{}", program.len());
}

#[test]
fn few_instructions_decide_the_most_frequent_calls() {
    let program = compiled(&config("docker-plain")["linux"]["seccomp"], X86_64_FAMILY);
    for name in ["read", "write", "futex"] {
        let call = Call {
            audit: X86_64,
            number: X86_64_FAMILY[0].1.number(name).unwrap(),
            args: [0; 6],
        };
        let verdict = run(&program, &call);
        assert_eq!(verdict.return_value, ALLOW, "{name}");
        assert!(
            verdict.instructions <= 14,
            "{name}: {}",
            verdict.instructions
        );
    }
}
