//! Ids, working directory, environment and arguments of the process.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{Bundle, HostState, Report, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        user_and_groups_are_as_configured,
        the_umask_is_as_configured,
        the_cwd_is_as_configured,
        a_missing_cwd_is_created,
        the_cwd_may_be_a_symbolic_link,
        a_cwd_that_only_root_may_enter_works,
        the_environment_is_exactly_as_configured,
        home_comes_from_passwd_unless_set,
        home_is_found_in_a_long_passwd,
        home_is_found_without_a_shell,
        an_environment_of_one_mebibyte_reaches_the_program,
        the_program_is_found_in_path,
        arguments_reach_the_program_unchanged,
        a_missing_program_is_refused_by_create,
    ]
}

fn user_and_groups_are_as_configured() {
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [2000, 3000] });
    let seen = Bundle::new().set("/process/user", user).probe();
    assert_eq!(seen["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gids"], json!([1001, 1001, 1001, 1001]));
    assert_eq!(groups(&seen), [2000, 3000]);
}

/// The supplementary groups without the primary one, which some runtimes add to them.
pub(super) fn groups(seen: &Report) -> Vec<u64> {
    let all = seen["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64);
    all.filter(|group| seen["gid"] != *group).collect()
}

fn the_umask_is_as_configured() {
    let seen = Bundle::new()
        .set("/process/user/umask", json!(0o027))
        .probe();
    assert_eq!(seen["umask"], 0o027);
}

fn the_cwd_is_as_configured() {
    let seen = Bundle::new()
        .folder("var/data")
        .set("/process/cwd", json!("/var/data"))
        .probe();
    assert_eq!(seen["cwd"], "/var/data");
}

fn a_missing_cwd_is_created() {
    let bundle = Bundle::new()
        .writable()
        .set("/process/cwd", json!("/not/yet/there"));
    assert_eq!(bundle.probe()["cwd"], "/not/yet/there");
}

fn the_cwd_may_be_a_symbolic_link() {
    let bundle = Bundle::new().folder("real").symlink("link", "/real");
    assert_eq!(
        bundle.set("/process/cwd", json!("/link")).probe()["cwd"],
        "/real"
    );
}

/// The directory is entered before the change of user (runc #2086).
fn a_cwd_that_only_root_may_enter_works() {
    let bundle = Bundle::new()
        .folder("closed")
        .user(1000, 1000)
        .set("/process/cwd", json!("/closed"));
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(bundle.rootfs().join("closed"), closed).unwrap();
    assert_eq!(bundle.probe()["cwd"], "/closed");
}

fn the_environment_is_exactly_as_configured() {
    let env = json!(["PATH=/bin", "A=1", "EMPTY=", "WITH=a=b c", "HOME=/x"]);
    let bundle = Bundle::new().set("/process/env", env.clone());
    let call = bundle
        .probe_call(&[], &[])
        .with(|command| command.env("LEAKED", "1"));
    assert_eq!(sorted(&call.assert_report()["env"]), sorted(&env));
}

fn sorted(list: &Value) -> Vec<String> {
    let mut items: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect();
    items.sort();
    items
}

fn home_comes_from_passwd_unless_set() {
    let worker = || Bundle::new().user(1000, 1000);
    assert_eq!(
        worker().probe().env("HOME").as_deref(),
        Some("/home/worker")
    );
    let set = worker()
        .set("/process/env/-", json!("HOME=/elsewhere"))
        .probe();
    assert_eq!(set.env("HOME").as_deref(), Some("/elsewhere"));
    let unknown = Bundle::new().user(4321, 0).probe();
    assert_eq!(unknown.env("HOME").as_deref(), Some("/"));
}

fn home_is_found_in_a_long_passwd() {
    let others = (0..40_000).map(|n| format!("u{n}:x:{}:100::/h/{n}:/bin/sh\n", n + 10_000));
    let passwd = others.collect::<String>() + "me:x:1000:1000::/home/me:/bin/sh\n";
    assert!(passwd.len() > 1 << 20);
    let seen = Bundle::new().file("etc/passwd", &passwd).user(1000, 1000);
    assert_eq!(seen.probe().env("HOME").as_deref(), Some("/home/me"));
}

/// An entry of /etc/passwd may end with the directory, as in getpwuid(3).
fn home_is_found_without_a_shell() {
    let passwd = "root:x:0:0:root:/root\nme:x:1000:1000::/home/me\n";
    let seen = Bundle::new().file("etc/passwd", passwd).user(1000, 1000);
    assert_eq!(seen.probe().env("HOME").as_deref(), Some("/home/me"));
}

/// The kernel allows 128 KiB for one string, and a quarter of the stack limit for all.
fn an_environment_of_one_mebibyte_reaches_the_program() {
    let values: Vec<String> = (0..16)
        .map(|n| format!("V{n}={}", "x".repeat(64 * 1024)))
        .collect();
    let seen = Bundle::new().set("/process/env", json!(values)).probe();
    for value in &values {
        let (name, text) = value.split_once('=').unwrap();
        assert_eq!(
            seen.env(name).map(|seen| seen.len()),
            Some(text.len()),
            "{name}"
        );
    }
}

fn the_program_is_found_in_path() {
    let bundle = Bundle::new()
        .executable("opt/tool/hello", "#!/bin/sh\necho found\n")
        .file("bin/hello", "not executable")
        .set("/process/env", json!(["PATH=/nowhere:/bin:/opt/tool"]))
        .args(&["hello"]);
    assert_eq!(bundle.run().assert_ok().stdout, "found\n");
}

fn arguments_reach_the_program_unchanged() {
    let words = [
        "/bin/sh",
        "-c",
        "for a in \"$0\" \"$@\"; do echo \"[$a]\"; done",
        "zero",
        "",
        "a b",
        "ü\t",
        "--x",
    ];
    let said = Bundle::new().args(&words).run().assert_ok().stdout;
    assert_eq!(said, "[zero]\n[]\n[a b]\n[ü\t]\n[--x]\n");
}

fn a_missing_program_is_refused_by_create() {
    for (program, text) in [
        ("nosuchprogram", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let bundle = Bundle::new().args(&[program]);
        let before = HostState::of(&bundle);
        bundle.call("create", &[]).run().assert_refused(text);
        before.assert_unchanged(&bundle);
    }
}
