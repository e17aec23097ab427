//! `process.apparmorProfile`: the profile confines the process from execve(2), or `rt` fails.
//!
//! Most tests need a host with AppArmor, and are skipped on others.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::runner::Test;
use serde_json::json;

use crate::harness::{Bundle, HostState, needs, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_profile_is_refused_when_apparmor_is_not_enabled,
        the_process_is_confined,
        a_profile_and_a_seccomp_filter_can_be_combined,
        a_process_that_rt_start_executes_is_confined,
        a_profile_that_is_not_loaded_is_refused_by_name,
        without_a_profile_the_process_is_unconfined,
    ]
}

fn is_on() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.trim() == "Y")
}

fn a_profile_is_refused_when_apparmor_is_not_enabled() {
    if is_on() {
        skip("AppArmor is on here");
    }
    let bundle = Bundle::new().set("/process/apparmorProfile", json!("docker-default"));
    let before = HostState::of(&bundle);
    for verb in ["create", "run"] {
        let outcome = bundle.call(verb, &[]).run().assert_refused("pparmor");
        if outcome.stderr.starts_with("rt ") {
            let text = "process.apparmorProfile: AppArmor is not enabled on this host (profile \"docker-default\")";
            assert_eq!(
                outcome.one_line(),
                format!("rt {verb}: {}: {text}", bundle.id())
            );
        }
        before.assert_unchanged(&bundle);
    }
}

/// A profile that is loaded into the kernel until this value is dropped.
struct Profile {
    name: String,
}

impl Profile {
    /// The profile allows everything except reading /secret.
    fn load() -> Profile {
        if !is_on() {
            skip("the security module is not on here");
        }
        let profile = Profile {
            name: format!("rt-suite-{}", std::process::id()),
        };
        profile.parse("--replace");
        profile
    }

    fn parse(&self, verb: &str) {
        let text = format!(
            "profile {} flags=(attach_disconnected) {{ file, capability, signal, unix, network, \
             mount, umount, deny /secret r, }}\n",
            self.name
        );
        needs("apparmor_parser", "apparmor");
        let mut parser = Command::new("apparmor_parser")
            .args([verb, "--skip-cache"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("apparmor_parser: {e}"));
        parser
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(parser.wait().unwrap().success(), "apparmor_parser {verb}");
    }

    fn bundle(&self) -> Bundle {
        Bundle::new()
            .file("secret", "plain\n")
            .set("/process/apparmorProfile", json!(self.name))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parse("--remove");
    }
}

const LOOK: &str = "cat /proc/self/attr/current; cat /secret; echo $?";

impl Profile {
    /// The output of [`LOOK`] under this profile.
    fn confined(&self) -> String {
        format!("{} (enforce)\n1\n", self.name)
    }
}

fn the_process_is_confined() {
    let profile = Profile::load();
    for uid in [0, 1000] {
        for none in [true, false] {
            let bundle = profile.bundle().sh(LOOK).user(uid, uid);
            let bundle = bundle.set("/process/noNewPrivileges", json!(none));
            let outcome = bundle.run().assert_ok();
            assert_eq!(outcome.stdout, profile.confined(), "{outcome}");
        }
    }
}

fn a_profile_and_a_seccomp_filter_can_be_combined() {
    let profile = Profile::load();
    let docker = include_str!("configs/docker-plain.json");
    let docker: serde_json::Value = serde_json::from_str(docker).unwrap();
    for none in [true, false] {
        let bundle = profile
            .bundle()
            .sh(&format!("{LOOK}; grep Seccomp: /proc/self/status"))
            .set("/process/noNewPrivileges", json!(none))
            .set("/linux/seccomp", docker["linux"]["seccomp"].clone());
        let bundle = bundle.symlink("bin/grep", "busybox");
        let said = format!("{}Seccomp:\t2\n", profile.confined());
        assert_eq!(bundle.run().assert_ok().stdout, said);
    }
}

fn a_process_that_rt_start_executes_is_confined() {
    let profile = Profile::load();
    let bundle = profile.bundle().sh(LOOK);
    let container = bundle.create();
    container.start().assert_ok();
    container.wait_stopped();
    assert_eq!(container.stdout(), profile.confined());
    container.delete().assert_ok();
}

fn a_profile_that_is_not_loaded_is_refused_by_name() {
    if !is_on() {
        skip("the security module is not on here");
    }
    let bundle = Bundle::new().set("/process/apparmorProfile", json!("no-such-profile"));
    let before = HostState::of(&bundle);
    let outcome = bundle.call("create", &[]).run().assert_refused("pparmor");
    if outcome.stderr.starts_with("rt ") {
        // Podman recognizes an AppArmor failure by the path in backticks.
        let text = "process.apparmorProfile: write \"exec no-such-profile\" to \
                    `/proc/self/attr/apparmor/exec`: not found (ENOENT; is the profile loaded?)";
        assert_eq!(
            outcome.one_line(),
            format!("rt create: {}: {text}", bundle.id())
        );
    }
    before.assert_unchanged(&bundle);
}

fn without_a_profile_the_process_is_unconfined() {
    if !is_on() {
        skip("the security module is not on here");
    }
    let bundle = Bundle::new().file("secret", "plain\n").sh(LOOK);
    assert_eq!(bundle.run().assert_ok().stdout, "unconfined\nplain\n0\n");
}
