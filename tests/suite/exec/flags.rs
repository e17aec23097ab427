//! The flags of `exec` that change the container's `process`.

use crate::runner::Test;
use serde_json::json;

use super::{exec, probe, running, sh};
use crate::harness::{Bundle, Kind, Report, differs, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        without_flags_the_process_is_like_init,
        user_accepts_a_uid,
        user_accepts_a_uid_and_a_gid,
        user_refuses_anything_but_numbers,
        home_is_the_home_of_the_user,
        additional_gids_are_added,
        additional_gids_refuses_anything_but_numbers,
        env_adds_variables_and_the_last_one_wins,
        env_refuses_a_variable_without_a_name_or_value,
        cwd_sets_the_working_directory,
        cwd_refuses_a_relative_path,
        cwd_does_not_create_the_directory,
        cap_adds_capabilities_but_not_inheritable_ones,
        cap_adds_ambient_capabilities_if_the_process_has_inheritable_ones,
        cap_for_an_unprivileged_user_is_in_the_bounding_set_only,
        an_unknown_capability_is_a_warning,
        no_new_privs_sets_the_attribute,
        long_and_short_names_of_a_flag_can_be_mixed,
        the_umask_is_that_of_init,
        flags_are_parsed_as_by_go,
        arguments_after_the_id_belong_to_the_program,
        two_dashes_before_the_id_end_the_flags,
        apparmor_is_refused_on_a_host_without_it,
    ]
}

fn without_flags_the_process_is_like_init() {
    let bundle = Bundle::new()
        .user(1000, 1001)
        .set("/process/user/additionalGids", json!([2000]))
        .set("/process/cwd", json!("/etc"))
        .set("/process/oomScoreAdj", json!(321))
        .set("/process/noNewPrivileges", json!(false))
        .set("/process/env/-", json!("OWN=1"));
    let first = bundle.probe();
    let (bundle, _container) = running(bundle);
    let seen = probe(&bundle, &[]);
    for key in [
        "uids",
        "gids",
        "groups",
        "umask",
        "cwd",
        "env",
        "capabilities",
        "no_new_privs",
        "hostname",
        "seccomp",
        "oom_score_adj",
        "signals",
        "setgroups",
        "rlimits",
        "cpus",
        "interfaces",
        "devices",
        "keyring",
    ] {
        match key {
            // The keyring of another container has another serial number.
            "keyring" => assert!(seen[key].to_string().contains(bundle.id()), "{}", seen[key]),
            _ => assert_eq!(seen[key], first[key], "{key}"),
        }
    }
    assert_eq!(seen["ppid"], 0, "its parent is not in the container");
    assert_eq!(seen["sid"], seen["pid"], "a session of its own");
}

fn user_accepts_a_uid() {
    let (bundle, _container) = running(Bundle::new().user(1000, 1001));
    let seen = probe(&bundle, &["--user", "7"]);
    assert_eq!(seen["uids"], json!([7, 7, 7, 7]));
    assert_eq!(seen["gids"], json!([1001, 1001, 1001, 1001]));
    let zero = probe(&bundle, &["-u", "0"]);
    assert_eq!((&zero["uid"], &zero["gid"]), (&json!(0), &json!(1001)));
}

fn user_accepts_a_uid_and_a_gid() {
    let (bundle, _container) = running(Bundle::new());
    let seen = probe(&bundle, &["-u", "7:8"]);
    assert_eq!(seen["uids"], json!([7, 7, 7, 7]));
    assert_eq!(seen["gids"], json!([8, 8, 8, 8]));
    assert_eq!(seen["groups"], json!([]));
}

/// A name must not be looked up, and a number must not wrap around to 0.
fn user_refuses_anything_but_numbers() {
    let passwd = "4294967296:x:0:0::/:/bin/sh\nwheel:x:0:0::/:/bin/sh\n";
    let (bundle, _container) = running(Bundle::new().file("etc/passwd", passwd));
    for user in [
        "wheel",
        "4294967295",
        "-1",
        "1000x",
        "7:",
        ":7",
        "7:wheel",
        "7:8:9",
        "0x1",
    ] {
        let outcome = exec(&bundle, &["--user", user], &["/bin/id"]);
        assert_eq!(outcome.assert_code(255).stdout, "", "{user}");
    }
    differs(Kind::Runc, "it takes the number modulo 2^32, which is root");
    let outcome = exec(&bundle, &["--user", "4294967296"], &["/bin/id"]);
    outcome
        .assert_code(255)
        .assert_refused("\"4294967296\" is too large")
        .one_line();
}

fn home_is_the_home_of_the_user() {
    let (bundle, _container) = running(Bundle::new());
    let home = |flags: &[&str]| probe(&bundle, flags).env("HOME");
    assert_eq!(home(&[]).as_deref(), Some("/root"));
    assert_eq!(home(&["-u", "1000"]).as_deref(), Some("/home/worker"));
    assert_eq!(
        home(&["-u", "4711"]).as_deref(),
        Some("/"),
        "not in /etc/passwd"
    );
    assert_eq!(home(&["-e", "HOME=/there"]).as_deref(), Some("/there"));
}

fn additional_gids_are_added() {
    let bundle = Bundle::new().set("/process/user/additionalGids", json!([5]));
    let (bundle, _container) = running(bundle);
    let seen = probe(&bundle, &["-g", "8", "-g=9", "-g", "5"]);
    let groups: Vec<u64> = seen["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|g| g.as_u64())
        .collect();
    let mut own: Vec<u64> = groups.into_iter().filter(|group| *group != 0).collect();
    // Some runtimes keep a duplicate group, and others do not.
    own.dedup();
    assert_eq!(own, [5, 8, 9]);
}

fn additional_gids_refuses_anything_but_numbers() {
    let (bundle, _container) = running(Bundle::new());
    let mut groups = vec!["wheel", "-1", "4294967295"];
    // runc takes it modulo 2^32, which is the group of root.
    groups.extend((Kind::under_test() != Kind::Runc).then_some("4294967296"));
    for group in groups {
        let outcome = exec(&bundle, &["-g", group], &["/bin/id"]);
        assert_ne!(outcome.code(), 0, "{group}\n{outcome}");
    }
}

fn env_adds_variables_and_the_last_one_wins() {
    let (bundle, _container) =
        running(Bundle::new().set("/process/env", json!(["A=0", "PATH=/bin", "Z=0"])));
    let flags = ["-e", "A=1", "-e=B=", "-e", "A=2", "-e", "C=x=y z"];
    let seen = probe(&bundle, &flags);
    let env = seen["env"].as_array().unwrap().iter();
    let mut env: Vec<&str> = env.filter_map(|v| v.as_str()).collect();
    // The order of the variables is not specified.
    env.sort_unstable();
    let expected = ["A=2", "B=", "C=x=y z", "HOME=/root", "PATH=/bin", "Z=0"];
    assert_eq!(env, expected);
}

fn env_refuses_a_variable_without_a_name_or_value() {
    let (bundle, _container) = running(Bundle::new());
    for variable in ["FOO", "=x"] {
        let outcome = exec(&bundle, &["-e", variable], &["/bin/true"]);
        outcome.assert_code(255).assert_refused(variable).one_line();
    }
}

fn cwd_sets_the_working_directory() {
    let (bundle, _container) = running(Bundle::new());
    assert_eq!(sh(&bundle, &["--cwd", "/etc"], "pwd"), "/etc\n");
    assert_eq!(sh(&bundle, &["--cwd", "/etc/../bin/."], "pwd"), "/bin\n");
}

fn cwd_refuses_a_relative_path() {
    let (bundle, _container) = running(Bundle::new());
    for cwd in ["etc", "./etc", ".."] {
        let outcome = exec(&bundle, &["--cwd", cwd], &["/bin/pwd"]);
        let text = match Kind::under_test() {
            Kind::Rt => "is relative; want an absolute path: /",
            _ => "must be an absolute path",
        };
        outcome.assert_code(255).assert_refused(text);
    }
}

/// A missing working directory is created for init only.
fn cwd_does_not_create_the_directory() {
    for bundle in [Bundle::new(), Bundle::new().writable()] {
        let (bundle, _container) = running(bundle);
        let outcome = exec(&bundle, &["--cwd", "/tmp/missing/too"], &["/bin/pwd"]);
        outcome
            .assert_code(255)
            .assert_refused("no such file or directory");
        assert!(!bundle.rootfs().join("tmp/missing").exists());
        let outcome = exec(&bundle, &["--cwd", "/etc/passwd"], &["/bin/pwd"]);
        outcome.assert_code(255).assert_refused("not a directory");
    }
}

const SETS: [&str; 5] = [
    "bounding",
    "permitted",
    "effective",
    "inheritable",
    "ambient",
];

/// CVE-2022-29162.
fn cap_adds_capabilities_but_not_inheritable_ones() {
    let bundle = Bundle::new().capabilities(&["CAP_KILL"]);
    let (bundle, _container) = running(bundle);
    let seen = probe(&bundle, &["--cap", "CAP_CHOWN", "--cap=CAP_FOWNER"]);
    for set in SETS {
        let expected: &[&str] = match set {
            "inheritable" | "ambient" => &[],
            _ => &["CAP_CHOWN", "CAP_FOWNER", "CAP_KILL"],
        };
        assert_eq!(seen.capabilities(set), expected, "{set}");
    }
}

fn cap_adds_ambient_capabilities_if_the_process_has_inheritable_ones() {
    let own = json!(["CAP_KILL"]);
    let bundle = Bundle::new().user(1000, 1000).set(
        "/process/capabilities",
        json!({"bounding": own, "permitted": own, "inheritable": own, "effective": own, "ambient": own}),
    );
    let (bundle, _container) = running(bundle);
    let seen = probe(&bundle, &["--cap", "CAP_CHOWN"]);
    assert_eq!(seen.capabilities("inheritable"), ["CAP_KILL"]);
    assert_eq!(seen.capabilities("bounding"), ["CAP_CHOWN", "CAP_KILL"]);
    // An ambient capability must be inheritable, so the kernel refuses CAP_CHOWN.
    assert_eq!(seen.capabilities("ambient"), ["CAP_KILL"]);
}

fn cap_for_an_unprivileged_user_is_in_the_bounding_set_only() {
    let (bundle, _container) = running(Bundle::new().user(1000, 1000).capabilities(&[]));
    let seen = probe(&bundle, &["--cap", "CAP_CHOWN"]);
    assert_eq!(seen.capabilities("bounding"), ["CAP_CHOWN"]);
    for set in ["permitted", "effective", "inheritable", "ambient"] {
        assert_eq!(
            seen.capabilities(set),
            [""; 0],
            "{set}: execve(2) has cleared it"
        );
    }
}

fn an_unknown_capability_is_a_warning() {
    differs(Kind::Crun, "it does not warn");
    let (bundle, _container) = running(Bundle::new().capabilities(&["CAP_KILL"]));
    for name in ["CAP_FOO", "NET_RAW", "cap_net_raw"] {
        let flags = ["--cap", name, "--cap", "CAP_CHOWN"];
        let outcome = exec(&bundle, &flags, &["/probe", "report"]).assert_ok();
        assert!(outcome.one_line().contains(name), "{outcome}");
        let seen = Report::parse(&outcome.stdout);
        assert_eq!(seen.capabilities("bounding"), ["CAP_CHOWN", "CAP_KILL"]);
    }
}

fn no_new_privs_sets_the_attribute() {
    let (bundle, _container) = running(Bundle::new().set("/process/noNewPrivileges", json!(false)));
    assert_eq!(probe(&bundle, &[])["no_new_privs"], 0);
    assert_eq!(probe(&bundle, &["--no-new-privs"])["no_new_privs"], 1);
}

fn long_and_short_names_of_a_flag_can_be_mixed() {
    differs(Kind::Runc, "it accepts either the long or the short names");
    let (bundle, _container) = running(Bundle::new());
    let flags = [
        "-e",
        "A=1",
        "--env",
        "B=2",
        "-c",
        "CAP_CHOWN",
        "--cap",
        "CAP_FOWNER",
    ];
    let seen = probe(&bundle, &flags);
    assert_eq!(
        (seen.env("A"), seen.env("B")),
        (Some("1".into()), Some("2".into()))
    );
    let bounding = seen.capabilities("bounding");
    assert!(
        ["CAP_CHOWN", "CAP_FOWNER"]
            .iter()
            .all(|name| bounding.iter().any(|own| own == name))
    );
}

/// config.md, "POSIX process".
fn the_umask_is_that_of_init() {
    differs(
        Kind::Runc,
        "Debian's old one does not set the umask of an exec process",
    );
    let (bundle, _container) = running(Bundle::new().set("/process/user/umask", json!(0o27)));
    assert_eq!(probe(&bundle, &[])["umask"], 0o27);
}

fn flags_are_parsed_as_by_go() {
    let (bundle, _container) = running(Bundle::new());
    let said = sh(
        &bundle,
        &["-env", "A=1", "-user=7", "--tty=false", "-detach=0"],
        "echo $A; id -u",
    );
    assert_eq!(said, "1\n7\n");
}

fn arguments_after_the_id_belong_to_the_program() {
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(
        &bundle,
        &[],
        &["/bin/echo", "--cwd", "-u", "--", "--help", "-e"],
    );
    assert_eq!(outcome.assert_ok().stdout, "--cwd -u -- --help -e\n");
    let outcome = exec(&bundle, &[], &["ls", "--help"]);
    assert!(!outcome.stdout.contains("container-id"), "{outcome}");
    let outcome = exec(&bundle, &[], &["--", "ls"]);
    outcome
        .assert_code(255)
        .assert_refused("\"--\": executable file not found in $PATH");
}

fn two_dashes_before_the_id_end_the_flags() {
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &["-u", "7", "--"], &["/bin/id", "-u"]);
    assert_eq!(outcome.assert_ok().stdout, "7\n");
}

fn apparmor_is_refused_on_a_host_without_it() {
    if std::path::Path::new("/sys/kernel/security/apparmor/profiles").exists() {
        crate::harness::skip("this host has AppArmor");
    }
    let (bundle, _container) = running(Bundle::new());
    let outcome = exec(&bundle, &["--apparmor", "some-profile"], &["/bin/true"]);
    let outcome = outcome.assert_code(255);
    assert!(
        outcome.stderr.to_lowercase().contains("apparmor"),
        "{outcome}"
    );
}
