//! Every seccomp action, operator, architecture and flag that `features` lists.

use std::os::unix::net::UnixListener;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{features, names};
use crate::harness::{Bundle, Kind, Runtime, trials, wait_until};

pub(super) fn tests() -> Vec<Test> {
    trials![
        each_action_has_its_effect,
        each_operator_has_its_effect,
        each_architecture_and_flag_is_accepted,
    ]
}

/// A bundle with a filter that allows all system calls, plus `rule`.
fn with(rule: Value) -> Bundle {
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    Bundle::new().writable().set("/linux/seccomp", profile)
}

fn each_action_has_its_effect() {
    for action in names(&features(), "/linux/seccomp/actions") {
        let rule = json!({ "names": ["mkdir", "mkdirat"], "action": action });
        let mut bundle = with(rule).sh("mkdir /created; echo $?");
        let socket = bundle.path().join("listener");
        let listener = (action == "SCMP_ACT_NOTIFY").then(|| UnixListener::bind(&socket).unwrap());
        if let Some(listener) = listener {
            bundle = bundle.set("/linux/seccomp/listenerPath", json!(socket));
            listener.set_nonblocking(true).unwrap();
            let running = bundle.call("run", &[]).start();
            wait_until("a connection to the listener", || listener.accept().is_ok());
            bundle.container().delete_force().assert_ok();
            running.wait();
            continue;
        }
        let outcome = bundle.run();
        let status = match action.as_str() {
            "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => "0\n",
            "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE" => "1\n",
            // SIGSYS.
            _ => "159\n",
        };
        assert_eq!(outcome.stdout, status, "{action}: {outcome}");
        let message = match action.as_str() {
            "SCMP_ACT_ERRNO" => "Operation not permitted",
            "SCMP_ACT_TRACE" => "Function not implemented",
            _ => "",
        };
        assert!(outcome.stderr.contains(message), "{action}: {outcome}");
    }
}

fn each_operator_has_its_effect() {
    let modes = ["0600", "0644", "0755"];
    for operator in names(&features(), "/linux/seccomp/operators") {
        // The modes that the filter refuses in comparison with 0644.
        let refused = match operator.as_str() {
            "SCMP_CMP_EQ" => [false, true, false],
            "SCMP_CMP_NE" => [true, false, true],
            "SCMP_CMP_LT" => [true, false, false],
            "SCMP_CMP_LE" => [true, true, false],
            "SCMP_CMP_GT" => [false, false, true],
            "SCMP_CMP_GE" => [false, true, true],
            // `value` is the mask, here S_IXUSR.
            "SCMP_CMP_MASKED_EQ" => [false, false, true],
            _ => panic!("{operator}: no check for this operator"),
        };
        let (value, other) = match operator.as_str() {
            "SCMP_CMP_MASKED_EQ" => (0o100, 0o100),
            _ => (0o644, 0),
        };
        let argument = json!({ "index": 1, "value": value, "valueTwo": other, "op": operator });
        let rule = json!({
            "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [argument],
        });
        let bundle = with(rule).file("file", "");
        let bundle = bundle.sh("for m in 0600 0644 0755; do busybox chmod $m /file; echo $?; done");
        let stdout = bundle.run().assert_ok().stdout;
        let seen: Vec<bool> = stdout.lines().map(|status| status != "0").collect();
        assert_eq!(seen, refused, "{operator} of {modes:?}");
    }
}

/// Architectures with another byte order, which libseccomp cannot combine in one filter.
const BIG_ENDIAN: [&str; 7] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
];

fn each_architecture_and_flag_is_accepted() {
    let features = features();
    let is_runc = Runtime::new().kind() == Kind::Runc;
    for architecture in names(&features, "/linux/seccomp/archs") {
        if is_runc && BIG_ENDIAN.contains(&architecture.as_str()) {
            continue;
        }
        let rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" });
        let list = json!([architecture, "SCMP_ARCH_X86_64"]);
        let bundle = with(rule).set("/linux/seccomp/architectures", list);
        bundle.args(&["/bin/true"]).run().assert_ok();
    }
    for flag in names(&features, "/linux/seccomp/supportedFlags") {
        let rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" });
        let bundle = with(rule).set("/linux/seccomp/flags", json!([flag]));
        bundle.args(&["/bin/true"]).run().assert_ok();
    }
}
