//! How a person names a bundle: by id and `--bundle`, as runc has it, or by its directory.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;

use super::call_in;
use crate::harness::{Bundle, Directory, Outcome, only_rt, trials};

pub(super) fn tests() -> Vec<Trial> {
    trials![
        an_id_is_taken_with_config_here,
        a_directory_of_that_name_is_a_bundle,
        a_path_is_a_bundle,
        a_path_and_a_bundle_are_refused,
        a_name_that_is_no_id_asks_for_one,
        nothing_here_is_said_in_one_line,
    ]
}

/// A working directory with bundles in it, for the ways in which a person names one.
struct Shelf {
    directory: Directory,
    bundle: Bundle,
}

impl Shelf {
    fn new(name: &str) -> Self {
        only_rt("naming a bundle by its directory is our own");
        let bundle = Bundle::new().sh("exit 9");
        let root = bundle.rootfs();
        let bundle = bundle.set("/root/path", json!(root));
        bundle.write();
        let directory = Directory::new();
        let inner = directory.join(name);
        fs::create_dir(&inner).unwrap();
        fs::copy(bundle.path().join("config.json"), inner.join("config.json")).unwrap();
        Self { directory, bundle }
    }

    fn call(&self, below: &str, words: &[&str]) -> Outcome {
        let runtime = self.bundle.runtime();
        call_in(runtime, &self.directory.join(below), words)
    }

    fn ids(&self) -> String {
        let runtime = self.bundle.runtime();
        let ids = runtime.call(&["list", "-q"]).run().assert_ok().stdout;
        for id in ids.lines() {
            runtime.call(&["delete", "--force", id]).run().assert_ok();
        }
        ids
    }
}

fn an_id_is_taken_with_config_here() {
    let shelf = Shelf::new("web");
    shelf.call("web", &["create", "other"]).assert_ok();
    assert_eq!(shelf.ids(), "other\n");
    // Even where a directory of that name lies.
    fs::create_dir(shelf.directory.join("web/other")).unwrap();
    shelf.call("web", &["create", "other"]).assert_ok();
    assert_eq!(shelf.ids(), "other\n");
}

fn a_directory_of_that_name_is_a_bundle() {
    let shelf = Shelf::new("web");
    shelf.call("", &["run", "web"]).assert_code(9);
    shelf.call("", &["create", "web"]).assert_ok();
    assert_eq!(shelf.ids(), "web\n");
}

fn a_path_is_a_bundle() {
    let shelf = Shelf::new("web");
    std::os::unix::fs::symlink("web", shelf.directory.join("link")).unwrap();
    let absolute = shelf.directory.join("web");
    let absolute = absolute.to_str().unwrap();
    for (below, word) in [
        ("", "./web"),
        ("", "web/"),
        ("web", "."),
        ("web", "../web/"),
        ("", absolute),
        ("", "./link"),
    ] {
        shelf.call(below, &["create", word]).assert_ok();
        assert_eq!(shelf.ids(), "web\n", "{word} in {below}");
    }
}

fn a_path_and_a_bundle_are_refused() {
    let shelf = Shelf::new("web");
    let outcome = shelf
        .call("", &["create", "-b", "web", "./web"])
        .assert_code(1);
    assert_eq!(
        outcome.stderr,
        "rt create: ./web: is a bundle, and so is --bundle: give -b DIR ID\n"
    );
}

fn a_name_that_is_no_id_asks_for_one() {
    let shelf = Shelf::new("my web");
    let path = shelf.directory.join("my web");
    let line = format!(
        "bundle {}: its name \"my web\" is no container ID: give -b DIR ID\n",
        path.display()
    );
    for word in ["my web", "./my web"] {
        let outcome = shelf.call("", &["run", word]).assert_code(1);
        assert_eq!(outcome.stderr, format!("rt run: {line}"));
    }
    shelf
        .call("", &["run", "-b", "my web", "web"])
        .assert_code(9);
}

fn nothing_here_is_said_in_one_line() {
    let shelf = Shelf::new("web");
    let outcome = shelf.call("", &["run", "wep"]).assert_code(1);
    let here = shelf.directory.path().display();
    assert_eq!(
        outcome.stderr,
        format!(
            "rt run: wep: no config.json in {here}, and no directory \"wep\": give -b DIR ID\n"
        )
    );
}
