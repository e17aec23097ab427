//! `check`: says what `create` would say, and changes nothing.

mod hosts;
mod refusals;

use serde_json::json;

use crate::harness::{Bundle, HostState, Outcome, only_rt, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    let mut all = trials![
        an_accepted_bundle_is_ok,
        the_bundle_is_the_working_directory_by_default,
        a_misspelt_property_is_a_warning,
        warnings_of_create_are_listed,
        every_missing_path_is_listed,
        the_plan_is_printed_before_the_verdict,
    ];
    all.extend(refusals::tests());
    all.extend(hosts::tests());
    all
}

/// `check` of a bundle.
pub(crate) fn check(bundle: &Bundle) -> Outcome {
    bundle.write();
    check_as_written(bundle, &[])
}

fn check_as_written(bundle: &Bundle, before: &[&str]) -> Outcome {
    let directory = bundle.path().to_str().unwrap();
    let call = bundle
        .runtime()
        .call_through(before, &["check", "-b", directory]);
    call.run()
}

/// `check` and `create` accept the bundle with the same warnings, or refuse it with the same line.
#[track_caller]
pub(crate) fn assert_same(checked: &Outcome, created: &Outcome, bundle: &Bundle) {
    let both = format!("{checked}\n{created}");
    assert_eq!(checked.code(), created.code(), "{both}");
    if created.code() == 0 {
        let said = created.stderr.lines();
        let warnings = said.filter_map(|line| line.strip_prefix("rt: warning: "));
        for warning in warnings {
            let line = format!("warning: {warning}");
            assert!(checked.stdout.lines().any(|other| other == line), "{both}");
        }
        let ok = format!("{}/config.json: ok", bundle.path().display());
        let last = checked.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with(&ok), "{both}");
        return;
    }
    let refusal = created.one_line().strip_prefix("rt create: ").unwrap();
    let start = format!("{}: ", bundle.id());
    let refusal = refusal.strip_prefix(&start).unwrap_or(refusal);
    let first = checked.stderr.lines().next().unwrap_or_default();
    let first = first.replace("rt-check", bundle.id());
    assert_eq!(first, format!("rt check: {refusal}"), "{both}");
}

/// `check` changes nothing and agrees with `create`. Returns its lines on standard error.
#[track_caller]
fn agreed(bundle: &Bundle) -> Vec<String> {
    bundle.write();
    agreed_as_written(bundle)
}

#[track_caller]
fn agreed_as_written(bundle: &Bundle) -> Vec<String> {
    let before = HostState::of(bundle);
    let checked = check_as_written(bundle, &[]);
    before.assert_unchanged(bundle);
    let created = bundle.call_as_written(&[], "create", &[]).run();
    assert_same(&checked, &created, bundle);
    checked.stderr.lines().map(str::to_owned).collect()
}

/// Both refuse the bundle, and the error begins with `place`.
#[track_caller]
fn refused(bundle: &Bundle, place: &str) {
    let lines = agreed(bundle);
    let first = lines.first().map(String::as_str).unwrap_or_default();
    assert!(
        first.starts_with(&format!("rt check: {place}")),
        "{place:?}: {lines:?}"
    );
}

#[track_caller]
fn accepted(bundle: &Bundle) {
    assert_eq!(agreed(bundle), [""; 0]);
}

fn rt() -> Bundle {
    only_rt("other runtimes have no check");
    Bundle::new()
}

/// The whole line for a bundle without warnings.
fn ok(bundle: &Bundle) -> String {
    format!("{}/config.json: ok\n", bundle.path().display())
}

fn an_accepted_bundle_is_ok() {
    let bundle = rt();
    let outcome = check(&bundle).assert_ok();
    assert_eq!(
        (outcome.stdout, outcome.stderr),
        (ok(&bundle), String::new())
    );
    accepted(&bundle);
}

fn the_bundle_is_the_working_directory_by_default() {
    let bundle = rt();
    bundle.write();
    let call = bundle.runtime().call(&["check"]);
    let outcome = call
        .with(|command| command.current_dir(bundle.path()))
        .run();
    assert_eq!(outcome.assert_ok().stdout, ok(&bundle));
    let absent = format!("{}/absent", bundle.path().display());
    let outcome = bundle.runtime().call(&["check", "-b", &absent]).run();
    let line = format!("rt check: bundle {absent}: not found (ENOENT)");
    assert_eq!(outcome.assert_code(1).one_line(), line);
}

fn a_misspelt_property_is_a_warning() {
    let bundle = rt()
        .set("/process/capabilites", json!({}))
        .set("/process/capabilites/x", json!(1))
        .set("/linux/maskedPath", json!([]))
        .set("/org.example", json!(true))
        .set("/annotations", json!({"anotations": "a"}));
    let outcome = check(&bundle).assert_ok();
    let lines = "warning: org.example: unknown property\n\
                 warning: linux.maskedPath: unknown property; did you mean \"maskedPaths\"?\n\
                 warning: process.capabilites: unknown property; did you mean \"capabilities\"?\n";
    let last = ok(&bundle).replace("ok", "ok (3 warnings)");
    assert_eq!(outcome.stdout, format!("{lines}{last}"));
    assert_eq!(outcome.stderr, "");

    let bundle = rt().mount(json!({"destinaton": "/a", "type": "tmpfs"}));
    let index = bundle.config().items("/mounts").len() - 1;
    let outcome = check(&bundle).assert_code(1);
    let warning = format!(
        "warning: mounts[{index}].destinaton: unknown property; did you mean \"destination\"?\n"
    );
    assert_eq!(outcome.stdout, warning);
    let line = format!("rt check: mounts[{index}].destination: required");
    assert_eq!(outcome.one_line(), line);
}

fn warnings_of_create_are_listed() {
    let bundle = rt()
        .set("/process/capabilities/bounding/-", json!("CAP_NONE\n_SUCH"))
        .set("/linux/resources/memory/kernel", json!(1 << 20));
    let outcome = check(&bundle).assert_ok();
    let expected = [
        "warning: process.capabilities: unknown capability \"CAP_NONE\\n_SUCH\" is ignored",
        "warning: linux.resources.memory.kernel: ignored, as by runc: it is counted in memory.limit",
    ];
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..2], expected, "{outcome}");
    assert_eq!(lines.len(), 3);
    assert!(
        lines[2].ends_with("/config.json: ok (2 warnings)"),
        "{outcome}"
    );
    accepted(&bundle);
}

fn every_missing_path_is_listed() {
    let bundle = rt()
        .args(&["nosuch"])
        .namespace("network", Some("/no/such/net"))
        .namespace("ipc", Some("/no/such/ipc"))
        .bind("/no/such/a".as_ref(), "/a", &["rbind"])
        .bind("/no/such/b".as_ref(), "/b", &["rbind"]);
    let index = bundle.config().items("/mounts").len() - 2;
    let lines = agreed(&bundle);
    let namespaces = bundle.config().items("/linux/namespaces");
    let place = |kind: &str| {
        let index = namespaces
            .iter()
            .position(|one| one["type"] == kind)
            .unwrap();
        let path = namespaces[index]["path"].as_str().unwrap();
        format!("rt check: linux.namespaces[{index}].path: {path}: not found (ENOENT)")
    };
    let source = |index: usize, name: &str| {
        format!(
            "rt check: mounts[{index}]: bind /no/such/{name} on /{name}: open the source: not found (ENOENT; there is no /no)"
        )
    };
    for line in [
        place("network"),
        place("ipc"),
        source(index, "a"),
        source(index + 1, "b"),
        "rt check: process.args[0]: exec: \"nosuch\": executable file not found in $PATH"
            .to_owned(),
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
}

fn the_plan_is_printed_before_the_verdict() {
    only_rt("runc has no check");
    let bundle = Bundle::new().hostname("room").user(7, 8);
    bundle.write();
    let directory = bundle.path().to_str().unwrap();
    let before = HostState::of(&bundle);
    let call = bundle.runtime().call(&["check", "--plan", "-b", directory]);
    let outcome = call.run().assert_ok();
    before.assert_unchanged(&bundle);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "namespaces", "{outcome}");
    for line in [
        "  hostname room",
        "process",
        "  user 7:8, groups: none",
        "hooks",
    ] {
        assert!(lines.contains(&line), "{line}: {outcome}");
    }
    assert_eq!(
        lines.last(),
        Some(&&*format!("{directory}/config.json: ok"))
    );
}
