//! `spec`: the template of config.json.

use std::fs;
use std::process::Command;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{call, call_in};
use crate::harness::{Bundle, Config, Directory, Kind, Runtime, differs, needs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_template_runs,
        the_template_is_that_of_runc,
        an_existing_config_is_not_overwritten,
        bundle_sets_the_directory_of_the_template,
    ]
}

fn the_template_runs() {
    let home = Directory::new();
    call_in(&Runtime::new(), home.path(), &["spec"]).assert_ok();
    let text = fs::read_to_string(home.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["process"]["terminal"], true);
    config["process"]["terminal"] = json!(false);
    let config = Config::parse(&config.to_string());
    Bundle::new()
        .with_config(config)
        .args(&["/bin/sh", "-c", "exit 6"])
        .run()
        .assert_code(6);
}

/// Differences are the version of the specification, the host name, which is `rt`, and the ambient
/// capabilities, which newer versions of runc omit.
fn the_template_is_that_of_runc() {
    only_rt("the test compares rt with runc");
    needs("runc", "runc");
    for flags in [&["spec"] as &[&str], &["spec", "--rootless"]] {
        let (ours, theirs) = (Directory::new(), Directory::new());
        call_in(&Runtime::new(), ours.path(), flags).assert_ok();
        let mut runc = Command::new("/usr/sbin/runc");
        let status = runc
            .args(flags)
            .current_dir(theirs.path())
            .status()
            .unwrap();
        assert!(status.success());
        let ours = fs::read_to_string(ours.join("config.json")).unwrap();
        let theirs = fs::read_to_string(theirs.join("config.json")).unwrap();
        let ours: Vec<&str> = ours.lines().collect();
        let missing: Vec<&str> = theirs.lines().filter(|line| !ours.contains(line)).collect();
        assert_eq!(
            missing,
            [
                "\t\"ociVersion\": \"1.0.2-dev\",",
                "\t\t\t\"ambient\": [",
                "\t\"hostname\": \"runc\","
            ]
        );
        let added = ours
            .iter()
            .filter(|line| !theirs.lines().any(|other| other == **line));
        let expected = ["\t\"ociVersion\": \"1.3.0\",", "\t\"hostname\": \"rt\","];
        assert!(added.eq(&expected), "{ours:?}");
    }
}

fn an_existing_config_is_not_overwritten() {
    let home = Directory::new();
    fs::write(home.join("config.json"), "mine").unwrap();
    let outcome = call_in(&Runtime::new(), home.path(), &["spec"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    if Kind::under_test() != Kind::Crun {
        let text = "File config.json exists. Remove it first";
        assert!(outcome.one_line().contains(text), "{outcome}");
    }
    assert_eq!(
        fs::read_to_string(home.join("config.json")).unwrap(),
        "mine"
    );
}

fn bundle_sets_the_directory_of_the_template() {
    differs(Kind::Crun, "its indentation differs");
    let home = Directory::new();
    let directory = home.path().to_str().unwrap();
    call(&["spec", "--bundle", directory]).assert_ok();
    let text = fs::read_to_string(home.join("config.json")).unwrap();
    assert!(
        serde_json::from_str::<Value>(&text).is_ok() && text.starts_with("{\n\t"),
        "{text}"
    );
}
