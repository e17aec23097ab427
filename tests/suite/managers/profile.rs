//! AppArmor, if the host has it: loads a profile for the test and checks that it is enforced.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::setup::Setup;
use crate::harness::{Config, Report, skip, wait_until};

/// Whether the kernel enforces AppArmor profiles.
pub(super) fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|enabled| enabled.trim() == "Y")
}

/// A loaded profile, which is removed on drop.
pub(super) struct Profile(String);

/// The file that the profile does not allow to write.
const DENIED: &str = "/denied";

impl Profile {
    /// Loads a profile with the name in the configuration. Skips the test if the host has no AppArmor.
    pub(super) fn load(config: &Config) -> Option<Self> {
        let name = config.get("/process/apparmorProfile").as_str()?;
        if !has_apparmor() {
            skip("the host has no AppArmor");
        }
        let text = format!(
            "profile \"{name}\" flags=(attach_disconnected) {{\n  file,\n  capability,\n  network,\n  \
             mount,\n  umount,\n  pivot_root,\n  signal,\n  ptrace,\n  unix,\n  deny {DENIED} w,\n}}\n"
        );
        parse("--replace", &text);
        Some(Self(text))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parse("--remove", &self.0);
    }
}

fn parse(action: &str, text: &str) {
    let mut parser = Command::new("apparmor_parser");
    let parser = parser.args(["--skip-cache", action]).stdin(Stdio::piped());
    let mut parser = parser.spawn().expect("start apparmor_parser");
    let mut stdin = parser.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).expect("write the profile");
    drop(stdin);
    let status = parser.wait().expect("wait for apparmor_parser");
    assert!(status.success(), "apparmor_parser {action}: {status}");
}

/// Asserts that the profile is enforced: its name is visible inside, and it denies a write.
pub(super) fn check(config: &Config, seen: &Report) {
    let Some(name) = config.get("/process/apparmorProfile").as_str() else {
        return;
    };
    let enforced = format!("{name} (enforce)");
    assert_eq!(seen["apparmor"], enforced);
    assert_eq!(seen.asked(&write(DENIED)), "EACCES");
    assert_eq!(seen.asked(&write(GRANTED)), "ok");
}

/// Asserts that the process has the profile in the host's view.
pub(super) fn check_outside(config: &Config) {
    let Some(name) = config.get("/process/apparmorProfile").as_str() else {
        return;
    };
    let mut setup = Setup::new(config.clone(), &[]);
    setup.bundle = setup.bundle.args(&["/probe", "sleep"]);
    let created = setup.create();
    let label = format!("/proc/{}/attr/current", created.container.pid());
    created.container.start().assert_ok();
    let enforced = format!("{name} (enforce)");
    wait_until("the process to be confined", || {
        let label = fs::read_to_string(&label).unwrap();
        label.trim_end_matches(['\n', '\0']) == enforced
    });
    created.container.end();
}

/// A file in the same directory that the profile allows to write.
const GRANTED: &str = "/granted";

fn write(path: &str) -> String {
    format!("write {path}")
}

/// The questions for the probe if the configuration has a profile.
pub(super) fn questions(config: &Config) -> Vec<String> {
    match config.get("/process/apparmorProfile") {
        Value::String(_) => [DENIED, GRANTED].map(write).into(),
        _ => Vec::new(),
    }
}
