//! Errors in config.json, which are found before anything is created.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use serde_json::json;

use super::{assert_error, assert_error_as_written, assert_line};
use crate::harness::{Bundle, HostState, Kind, Runtime, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_missing_config_is_named,
        a_missing_bundle_is_named,
        an_unreadable_config_is_named,
        a_config_that_is_a_directory_is_refused,
        a_syntax_error_is_reported_with_line_and_column,
        an_empty_config_is_refused,
        an_unknown_property_may_have_any_value,
        a_value_of_the_wrong_type_is_refused,
        an_unknown_capability_causes_a_warning,
        an_unknown_rlimit_is_refused,
        a_duplicate_namespace_is_refused,
        forty_thousand_namespaces_are_checked_in_linear_time,
        a_section_for_another_platform_is_refused,
        a_relative_cwd_is_refused,
        a_duplicate_rlimit_is_refused,
        a_relative_hook_path_is_refused,
        a_hook_timeout_that_is_not_positive_is_refused,
    ]
}

fn a_missing_config_is_named() {
    let line = "BUNDLE/config.json: not found (ENOENT); rt spec -b BUNDLE writes a template";
    assert_error_as_written(&Bundle::new(), line);
}

fn a_missing_bundle_is_named() {
    let runtime = Runtime::new();
    let outcome = runtime
        .call(&["run", "-b", "/nonexistent", "lost"])
        .run()
        .assert_code(1);
    if runtime.kind() == Kind::Rt {
        assert_eq!(
            outcome.stderr,
            "rt run: lost: bundle /nonexistent: not found (ENOENT)\n"
        );
    }
}

fn an_unreadable_config_is_named() {
    let bundle = Bundle::new();
    bundle.write();
    let path = bundle.path().join("config.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let powers = "-dac_override,-dac_read_search";
    let before = HostState::of(&bundle);
    let drop = ["setpriv", "--bounding-set", powers, "--inh-caps", powers];
    let outcome = bundle.call_through(&drop, "create", &[]).run();
    before.assert_unchanged(&bundle);
    assert_line(
        &outcome,
        &bundle,
        "create",
        "BUNDLE/config.json: permission denied (EACCES; BUNDLE/config.json has mode 0000, owner 0:0; uid 0 needs the r bit)",
    );
}

fn a_config_that_is_a_directory_is_refused() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.path().join("config.json")).unwrap();
    assert_error_as_written(&bundle, "BUNDLE/config.json: is a directory");
}

fn a_syntax_error_is_reported_with_line_and_column() {
    let bundle = Bundle::new();
    let text = "{\n  \"ociVersion\": \"1.3.0\",\n  \"process\": {,}\n}\n";
    fs::write(bundle.path().join("config.json"), text).unwrap();
    assert_error_as_written(
        &bundle,
        "config.json: line 3 column 15: key must be a string",
    );
}

fn an_empty_config_is_refused() {
    let bundle = Bundle::new();
    fs::write(bundle.path().join("config.json"), "").unwrap();
    assert_error_as_written(&bundle, "config.json: is empty");
}

/// config.md, "Extensibility".
fn an_unknown_property_may_have_any_value() {
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let mut values = vec![
        deep(200),
        r#"{"x": [1e400, -1e400]}"#.to_owned(),
        r#"{"\ud800": "\udc00"}"#.to_owned(),
    ];
    if Kind::under_test() == Kind::Rt {
        values.push(deep(1_000_000)); // Go's limit is 10,000.
    }
    for value in values {
        let bundle = Bundle::new().sh("exit 3");
        bundle.write();
        let path = bundle.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.trim_end().rsplit_once('}').unwrap();
        fs::write(&path, format!("{before}, \"unknown\": {value} }}{after}")).unwrap();
        let outcome = bundle.call_as_written(&[], "run", &[]).run();
        assert_eq!(outcome.assert_code(3).stderr, "");
    }
}

fn a_value_of_the_wrong_type_is_refused() {
    differs(Kind::Crun, "accepts a string as a number");
    let bundle = Bundle::new().set("/linux/resources/memory/limit", json!("1M"));
    assert_error(
        &bundle,
        "linux.resources.memory.limit: a string; want a whole number: 268435456",
    );
}

fn an_unknown_capability_causes_a_warning() {
    differs(Kind::Crun, "prints no warning");
    let names = ["CAP_KILL", "CAP_NO_SUCH"];
    let bundle = Bundle::new().capabilities(&names).sh("exit 3");
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_code(3);
    before.assert_unchanged(&bundle);
    assert!(outcome.one_line().contains("CAP_NO_SUCH"), "{outcome}");
    if bundle.runtime().kind() == Kind::Rt {
        let line =
            "rt: warning: process.capabilities: unknown capability \"CAP_NO_SUCH\" is ignored";
        assert_eq!(outcome.one_line(), line);
    }
}

fn an_unknown_rlimit_is_refused() {
    let limit = json!([{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]);
    let bundle = Bundle::new().set("/process/rlimits", limit);
    assert_error(
        &bundle,
        "process.rlimits[0].type: unknown value \"RLIMIT_NOTHING\"",
    );
}

fn a_duplicate_namespace_is_refused() {
    differs(Kind::Crun, "uses the first");
    let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": "pid"}));
    assert_error(
        &bundle,
        "linux.namespaces[5]: duplicate namespace type \"pid\": remove it, or linux.namespaces[0]",
    );
}

/// The check takes linear time, not quadratic time.
fn forty_thousand_namespaces_are_checked_in_linear_time() {
    only_rt("other runtimes report another namespace");
    let kinds = (0..40_000).map(|n| json!({ "type": format!("kind-{n}") }));
    let kinds: Vec<_> = kinds.chain([json!({ "type": "kind-39999" })]).collect();
    let bundle = Bundle::new().set("/linux/namespaces", json!(kinds));
    let before = std::time::Instant::now();
    assert_error(
        &bundle,
        "linux.namespaces[40000]: duplicate namespace type \"kind-39999\": remove it, or linux.namespaces[39999]",
    );
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
}

fn a_section_for_another_platform_is_refused() {
    only_rt("other runtimes ignore the section");
    let bundle = Bundle::new().set("/windows/layerFolders", json!(["C:\\"]));
    assert_error(&bundle, "windows: for a platform other than Linux");
}

fn a_relative_cwd_is_refused() {
    differs(Kind::Crun, "accepts it");
    let bundle = Bundle::new().set("/process/cwd", json!("tmp"));
    assert_error(
        &bundle,
        "process.cwd: \"tmp\" is relative; want an absolute path: /tmp",
    );
}

fn a_duplicate_rlimit_is_refused() {
    only_rt("other runtimes lack the check that the specification requires");
    let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
    let bundle = Bundle::new().set("/process/rlimits", json!([limit, limit]));
    assert_error(
        &bundle,
        "process.rlimits[1]: RLIMIT_CORE is listed twice: remove it, or process.rlimits[0]",
    );
}

fn a_relative_hook_path_is_refused() {
    only_rt("config.md: \"path MUST be absolute\"; other runtimes find out when they call it");
    for path in ["true", "./true", "bin/true"] {
        let bundle = Bundle::new().set("/hooks/poststop", json!([{"path": path}]));
        assert_error(
            &bundle,
            &format!("hooks.poststop[0].path: {path:?} is relative; want an absolute path"),
        );
    }
}

/// "If set, timeout MUST be greater than zero."
fn a_hook_timeout_that_is_not_positive_is_refused() {
    for seconds in [0, -1] {
        let hook = json!([{"path": "/bin/sleep", "args": ["sleep", "1"], "timeout": seconds}]);
        let bundle = Bundle::new().set("/hooks/createRuntime", hook);
        assert_error(
            &bundle,
            &format!(
                "hooks.createRuntime[0].timeout: {seconds} is not at least 1 (second); leave it out for no limit"
            ),
        );
    }
}
