//! The reading of TAP, and a program that is made up for the test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::catch_unwind;

use super::{Exception, check, programs, run, tap};
use crate::harness::{Directory, Kind, trials};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        tap_is_read,
        a_report_that_is_not_complete_is_a_problem,
        programs_run_beside_their_root_with_the_runtime,
        exceptions_are_compared_with_what_fails,
    ]
}

const REPORT: &str = "\
TAP version 13
ok 1 - has a root
not ok 2 - has an uncle # of the first degree
# Diagnostic:
  level: MUST
not ok 3 - flies # TODO later
ok 4 # SKIP no wings
ok 5 - sleeps
1..5
";

fn tap_is_read() {
    let results = tap::read(REPORT);
    assert_eq!(results.passed, 2);
    assert_eq!(results.failed, ["has an uncle"]);
    assert_eq!(results.skipped, ["later", "no wings"]);
    assert_eq!(results.problems, [""; 0]);
    assert!(results.reasons().contains("level: MUST"));
    let skipped = tap::read("1..0 # SKIP not on this host\n");
    assert_eq!(
        (skipped.passed, skipped.skipped),
        (0, vec!["not on this host".to_owned()])
    );
}

fn a_report_that_is_not_complete_is_a_problem() {
    for text in [
        "",
        "ok 1\n",
        "1..2\nok 1\n",
        "ok 1\nBail out! no runtime\n1..1\n",
    ] {
        assert_eq!(tap::read(text).problems.len(), 1, "{text}");
    }
}

const PROGRAM: &str = "\
#!/bin/sh
echo '1..2'
test -e rootfs-amd64.tar.gz && echo 'ok 1 - finds the root' || echo 'not ok 1 - finds the root'
\"$RUNTIME\" --version >/dev/null && echo 'ok 2 - calls the runtime' || echo 'not ok 2 - calls the runtime'
";

/// A directory as the runtime-tools are built in.
fn built(program: &str) -> Directory {
    let directory = Directory::new();
    fs::create_dir_all(directory.join("validation/made_up")).unwrap();
    fs::write(directory.join("rootfs-amd64.tar.gz"), "").unwrap();
    let path = directory.join("validation/made_up/made_up.t");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.join("validation/made_up/made_up.go"), "").unwrap();
    directory
}

fn programs_run_beside_their_root_with_the_runtime() {
    let directory = built(PROGRAM);
    let programs = programs(directory.path());
    assert_eq!(programs, [directory.join("validation/made_up/made_up.t")]);
    let results = run(directory.path(), &programs[0], Kind::under_test().program());
    assert_eq!(
        (results.passed, results.failed.len(), results.problems.len()),
        (2, 0, 0)
    );
    check(&results, None);
    let other = run(directory.path(), &programs[0], "/absent/runtime");
    assert_eq!(other.failed, ["calls the runtime"]);
    let broken = built("#!/bin/sh\necho '1..1'; echo 'ok 1'; exit 3\n");
    let results = run(
        broken.path(),
        &super::programs(broken.path())[0],
        "/bin/true",
    );
    assert_eq!(results.problems.len(), 1, "{results:?}");
}

fn exceptions_are_compared_with_what_fails() {
    let ends = |report: &str, exception: Option<&Exception>| {
        let results = tap::read(report);
        let exception = exception.copied();
        catch_unwind(move || check(&results, exception.as_ref())).is_ok()
    };
    let passing = "1..1\nok 1 - has a root\n";
    assert!(ends(passing, None));
    assert!(!ends(REPORT, None), "a check fails");
    let exception: Exception = ("made_up", &["has an uncle"], "there is none");
    assert!(!ends(passing, Some(&exception)), "an exception that passes");
    let other: Exception = ("made_up", &["has an aunt"], "there is none");
    assert!(!ends(REPORT, Some(&other)), "another check fails");
    // What is skipped is not asserted by a return.
    let results = tap::read(REPORT);
    let skipped = catch_unwind(move || check(&results, Some(&exception)));
    assert!(skipped.is_err_and(|payload| !payload.is::<String>() && !payload.is::<&str>()));
}
