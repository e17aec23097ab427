//! Privileges of the process: capabilities, resource limits, no_new_privs.

use std::fs;

use crate::runner::Test;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Kind, Report, only_rt, trials, withheld_capabilities};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        capabilities_are_as_configured,
        without_configured_capabilities_all_sets_are_empty,
        ambient_capabilities_survive_the_change_to_a_non_root_user,
        ambient_capabilities_that_cannot_be_raised_give_one_warning,
        an_unknown_capability_gives_a_warning,
        many_unknown_capabilities_give_one_warning_quickly,
        rlimits_are_as_configured,
        an_invalid_rlimit_is_refused,
        a_duplicate_rlimit_is_refused,
        a_limit_above_that_of_the_caller_needs_cap_sys_resource,
        no_new_privileges_is_applied,
        oom_score_adj_is_applied,
        an_oom_score_below_that_of_the_caller_needs_cap_sys_resource,
        without_a_configured_seccomp_filter_none_is_installed,
    ]
}

fn capabilities_are_as_configured() {
    let bundle = Bundle::new().set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "effective": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_NET_RAW"],
            "ambient": ["CAP_NET_RAW"],
        }),
    );
    // For root, execve(2) computes permitted and effective from bounding and inheritable.
    let bundle = bundle.user(1000, 1000);
    let seen = bundle.probe();
    assert_eq!(
        seen.capabilities("bounding"),
        ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"]
    );
    assert_eq!(seen.capabilities("inheritable"), ["CAP_NET_RAW"]);
    assert_eq!(seen.capabilities("ambient"), ["CAP_NET_RAW"]);
    assert_eq!(seen.capabilities("permitted"), ["CAP_NET_RAW"]);
    assert_eq!(seen.capabilities("effective"), ["CAP_NET_RAW"]);
}

fn without_configured_capabilities_all_sets_are_empty() {
    let bundle = Bundle::new().set("/process/capabilities", json!({}));
    let seen = bundle.probe();
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        assert_eq!(seen.capabilities(set), [""; 0], "{set}");
    }
}

fn ambient_capabilities_survive_the_change_to_a_non_root_user() {
    let both = json!(["CAP_NET_BIND_SERVICE"]);
    let bundle = Bundle::new().user(1000, 1000);
    let bundle = [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ]
    .iter()
    .fold(bundle, |bundle, set| {
        bundle.set(&format!("/process/capabilities/{set}"), both.clone())
    });
    let seen = bundle.probe();
    assert_eq!(seen.capabilities("ambient"), ["CAP_NET_BIND_SERVICE"]);
    assert_eq!(seen.capabilities("effective"), ["CAP_NET_BIND_SERVICE"]);
}

/// Buildah lists capabilities that are ambient, but not inheritable.
fn ambient_capabilities_that_cannot_be_raised_give_one_warning() {
    only_rt("runc says nothing before 1.2, and one line for each since; crun says nothing");
    let names = ["CAP_CHOWN", "CAP_FOWNER", "CAP_KILL"];
    let bundle = Bundle::new().capabilities(&names);
    let bundle = bundle.set("/process/capabilities/ambient", json!(names));
    let outcome = bundle.args(&["/bin/true"]).run().assert_ok();
    assert_eq!(
        outcome.one_line(),
        "rt: warning: can't raise ambient capability CAP_CHOWN, CAP_FOWNER, CAP_KILL: operation not permitted"
    );
}

fn many_unknown_capabilities_give_one_warning_quickly() {
    only_rt("runc names all of them");
    let names: Vec<String> = (0..40_000).map(|n| format!("CAP_{n}")).collect();
    let sets = json!({"bounding": names, "effective": names, "permitted": names});
    let bundle = Bundle::new().set("/process/capabilities", sets);
    bundle.write();
    let before = std::time::Instant::now();
    let outcome = bundle.args(&["/bin/true"]).run().assert_ok();
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    assert!(
        outcome.one_line().ends_with(" more are ignored"),
        "{outcome}"
    );
}

fn an_unknown_capability_gives_a_warning() {
    let outcome = Bundle::new()
        .capabilities(&["CAP_KILL", "CAP_NO_SUCH"])
        .args(&["/probe", "report"])
        .run();
    let outcome = outcome.assert_ok();
    assert!(outcome.stderr.contains("CAP_NO_SUCH"), "{outcome}");
    assert_eq!(
        Report::parse(&outcome.stdout).capabilities("bounding"),
        ["CAP_KILL"]
    );
}

fn rlimits_are_as_configured() {
    let limits = [
        ("RLIMIT_NOFILE", 512, 600),
        ("RLIMIT_NPROC", 1000, 2000),
        ("RLIMIT_CORE", 0, 0),
    ];
    let list: Vec<Value> = limits
        .iter()
        .map(|(name, soft, hard)| json!({ "type": name, "soft": soft, "hard": hard }))
        .collect();
    let seen = Bundle::new().set("/process/rlimits", json!(list)).probe();
    for (name, soft, hard) in limits {
        assert_eq!(seen["rlimits"][name], json!([soft, hard]), "{name}");
    }
}

fn an_invalid_rlimit_is_refused() {
    let limit = |name: &str, soft: u64| json!({ "type": name, "soft": soft, "hard": 10 });
    let lists = [
        json!([limit("RLIMIT_NOSUCH", 1)]),
        json!([limit("RLIMIT_CORE", 11)]),
    ];
    for list in lists {
        let bundle = Bundle::new()
            .args(&["/bin/true"])
            .set("/process/rlimits", list);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused("");
        before.assert_unchanged(&bundle);
    }
}

/// config.md: "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
fn a_duplicate_rlimit_is_refused() {
    only_rt("Debian's runc and crun take the last one, against the specification");
    let limit = |soft: u64| json!({ "type": "RLIMIT_CORE", "soft": soft, "hard": 10 });
    let bundle = Bundle::new().set("/process/rlimits", json!([limit(1), limit(2)]));
    bundle
        .args(&["/bin/true"])
        .run()
        .assert_refused("process.rlimits");
}

/// The caller needs the capability, the process in the container does not.
fn a_limit_above_that_of_the_caller_needs_cap_sys_resource() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1 });
    let bundle = Bundle::new().set("/process/rlimits", json!([limit]));
    if raises() {
        let seen = bundle.probe();
        assert_eq!(
            seen["rlimits"]["RLIMIT_NOFILE"],
            json!([hard + 1, hard + 1])
        );
    } else {
        assert_refused(bundle, "process.rlimits[0]: RLIMIT_NOFILE: ");
    }
}

fn raises() -> bool {
    !withheld_capabilities().contains("CAP_SYS_RESOURCE")
}

/// Asserts that `create` fails and leaves nothing behind. The error of `rt` names the field.
fn assert_refused(bundle: Bundle, field: &str) {
    let bundle = bundle.args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let ours = bundle.runtime().kind() == Kind::Rt;
    bundle.run().assert_refused(if ours { field } else { "" });
    before.assert_unchanged(&bundle);
}

fn no_new_privileges_is_applied() {
    for wanted in [true, false] {
        let seen = Bundle::new()
            .set("/process/noNewPrivileges", json!(wanted))
            .probe();
        assert_eq!(seen["no_new_privs"], u64::from(wanted));
    }
}

fn oom_score_adj_is_applied() {
    let seen = Bundle::new()
        .set("/process/oomScoreAdj", json!(700))
        .probe();
    assert_eq!(seen["oom_score_adj"], "700");
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(
        Bundle::new().probe()["oom_score_adj"],
        own.trim(),
        "absent: that of the caller"
    );
}

fn an_oom_score_below_that_of_the_caller_needs_cap_sys_resource() {
    let bundle = Bundle::new().set("/process/oomScoreAdj", json!(-900));
    if raises() {
        assert_eq!(bundle.probe()["oom_score_adj"], "-900");
    } else {
        assert_refused(bundle, "process.oomScoreAdj: ");
    }
}

fn without_a_configured_seccomp_filter_none_is_installed() {
    assert_eq!(Bundle::new().probe()["seccomp"], 0);
}
