//! The argument of `create` and `run`: an id as in runc, or the directory of a bundle.

use std::fs;

use crate::runner::Test;
use serde_json::json;

use super::call_in;
use crate::harness::{Bundle, Directory, Outcome, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_argument_is_an_id_if_the_working_directory_is_a_bundle,
        an_argument_may_be_the_name_of_a_bundle_directory,
        an_argument_may_be_the_path_of_a_bundle_directory,
        a_path_together_with_bundle_is_refused,
        a_directory_name_that_is_not_a_valid_id_is_refused,
        a_missing_bundle_is_reported_on_one_line,
    ]
}

/// A working directory that contains a bundle with the given directory name.
struct Fixture {
    directory: Directory,
    bundle: Bundle,
}

impl Fixture {
    fn new(name: &str) -> Self {
        only_rt("only rt accepts the directory of a bundle");
        let bundle = Bundle::new().sh("exit 9");
        let root = bundle.rootfs();
        // The ids of the containers are names that other tests use at the same time.
        let cgroup = format!("/{}", bundle.id());
        let bundle = bundle
            .set("/root/path", json!(root))
            .set("/linux/cgroupsPath", json!(cgroup));
        bundle.write();
        let directory = Directory::new();
        let inner = directory.join(name);
        fs::create_dir(&inner).unwrap();
        fs::copy(bundle.path().join("config.json"), inner.join("config.json")).unwrap();
        Self { directory, bundle }
    }

    /// Calls the runtime in a subdirectory.
    fn call(&self, subdirectory: &str, args: &[&str]) -> Outcome {
        let runtime = self.bundle.runtime();
        call_in(runtime, &self.directory.join(subdirectory), args)
    }

    /// The ids of all containers, which are deleted afterwards.
    fn take_ids(&self) -> String {
        let runtime = self.bundle.runtime();
        let ids = runtime.call(&["list", "-q"]).run().assert_ok().stdout;
        for id in ids.lines() {
            runtime.call(&["delete", "--force", id]).run().assert_ok();
        }
        ids
    }
}

fn an_argument_is_an_id_if_the_working_directory_is_a_bundle() {
    let fixture = Fixture::new("web");
    fixture.call("web", &["create", "other"]).assert_ok();
    assert_eq!(fixture.take_ids(), "other\n");
    // This is so even if a directory of that name exists.
    fs::create_dir(fixture.directory.join("web/other")).unwrap();
    fixture.call("web", &["create", "other"]).assert_ok();
    assert_eq!(fixture.take_ids(), "other\n");
}

fn an_argument_may_be_the_name_of_a_bundle_directory() {
    let fixture = Fixture::new("web");
    fixture.call("", &["run", "web"]).assert_code(9);
    fixture.call("", &["create", "web"]).assert_ok();
    assert_eq!(fixture.take_ids(), "web\n");
}

fn an_argument_may_be_the_path_of_a_bundle_directory() {
    let fixture = Fixture::new("web");
    std::os::unix::fs::symlink("web", fixture.directory.join("link")).unwrap();
    let absolute = fixture.directory.join("web");
    let absolute = absolute.to_str().unwrap();
    for (directory, argument) in [
        ("", "./web"),
        ("", "web/"),
        ("web", "."),
        ("web", "../web/"),
        ("", absolute),
        ("", "./link"),
    ] {
        fixture.call(directory, &["create", argument]).assert_ok();
        assert_eq!(fixture.take_ids(), "web\n", "{argument} in {directory}");
    }
}

fn a_path_together_with_bundle_is_refused() {
    let fixture = Fixture::new("web");
    let outcome = fixture
        .call("", &["create", "-b", "web", "./web"])
        .assert_code(1);
    assert_eq!(
        outcome.stderr,
        "rt create: ./web: cannot be combined with --bundle: give -b DIR ID\n"
    );
}

fn a_directory_name_that_is_not_a_valid_id_is_refused() {
    let fixture = Fixture::new("my web");
    let path = fixture.directory.join("my web");
    let line = format!(
        "bundle {}: its name \"my web\" is not a valid container ID: give -b DIR ID\n",
        path.display()
    );
    for argument in ["my web", "./my web"] {
        let outcome = fixture.call("", &["run", argument]).assert_code(1);
        assert_eq!(outcome.stderr, format!("rt run: {line}"));
    }
    fixture
        .call("", &["run", "-b", "my web", "web"])
        .assert_code(9);
}

fn a_missing_bundle_is_reported_on_one_line() {
    let fixture = Fixture::new("web");
    let outcome = fixture.call("", &["run", "wep"]).assert_code(1);
    let here = fixture.directory.path().display();
    assert_eq!(
        outcome.stderr,
        format!(
            "rt run: wep: no config.json in {here}, and no directory \"wep\": give -b DIR ID; did you mean ./web?\n"
        )
    );
}
