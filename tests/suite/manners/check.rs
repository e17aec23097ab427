//! `check`: says what `create` would say, and changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::harness::{
    Bundle, HostState, Kind, Outcome, Runtime, View, needs_strace, only_rt, skip, trials,
};
use crate::runner::Test;
use crate::users::map;
use crate::users::rootless::callers::{ALL, Caller, CallerKind};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_accepted_bundle_is_ok,
        the_bundle_is_the_working_directory_by_default,
        a_misspelt_property_is_a_warning,
        warnings_of_create_are_listed,
        every_unsupported_field_is_listed,
        every_missing_path_is_listed,
        invalid_files_are_refused_as_by_create,
        impossible_plans_are_refused_as_by_create,
        missing_files_are_refused_as_by_create,
        what_mounts_and_hooks_may_supply_is_not_refused,
        a_cgroup_in_use_is_refused_as_by_create,
        a_missing_controller_is_refused_as_by_create,
        cgroup_v2_alone_is_answered_as_by_create,
        global_flags_are_honoured,
        ordinary_users_are_answered_as_by_create,
        nothing_is_made,
    ]
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
        "warning: linux.resources.memory.kernel: ignored: kernel memory has no limit of its own any more",
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

fn every_unsupported_field_is_listed() {
    let absent = "/no/such/source";
    let bundle = rt()
        .bind(absent.as_ref(), "/a", &["rbind", "remount"])
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .set("/linux/intelRdt", json!({"closID": "a"}));
    let index = bundle.config().items("/mounts").len() - 1;
    let expected = [
        "rt check: linux.intelRdt: not applied by this version".to_owned(),
        "rt check: linux.personality: not applied by this version".to_owned(),
        format!("rt check: mounts[{index}].options: remount: not applied by this version"),
        format!("rt check: mounts[{index}]: bind source {absent}: not found (ENOENT)"),
    ];
    assert_eq!(agreed(&bundle), expected);
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
    for line in [
        place("network"),
        place("ipc"),
        format!("rt check: mounts[{index}]: bind source /no/such/a: not found (ENOENT)"),
        format!(
            "rt check: mounts[{}]: bind source /no/such/b: not found (ENOENT)",
            index + 1
        ),
        "rt check: process.args[0]: exec: \"nosuch\": executable file not found in $PATH"
            .to_owned(),
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
}

fn invalid_files_are_refused_as_by_create() {
    let bundle = rt();
    let write = |text: &str| fs::write(bundle.path().join("config.json"), text).unwrap();
    write("{\"ociVersion\": }");
    let line = "rt check: config.json: line 1 column 16: expected value";
    assert_eq!(agreed_as_written(&bundle), [line]);
    write("[]");
    assert_eq!(
        agreed_as_written(&bundle),
        ["rt check: config.json: not a JSON object"]
    );
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    let missing = agreed_as_written(&bundle);
    assert!(
        missing[0].ends_with("/config.json: not found (ENOENT)"),
        "{missing:?}"
    );

    refused(&rt().set("/ociVersion", json!("2.0.0")), "ociVersion: ");
    let line = "rt check: process: required";
    assert_eq!(agreed(&rt().remove("/process")), [line]);
    refused(&rt().remove("/root"), "root: required");
    refused(&rt().set("/process/cwd", json!(3)), "process.cwd: ");
    refused(&rt().set("/process/args", json!([])), "process.args: ");
    refused(&rt().set("/windows", json!({"a": 1})), "windows: ");
    refused(
        &rt().set("/linux/namespaces/-", json!({"type": "moon"})),
        "linux.namespaces[",
    );
    refused(
        &rt().set("/linux/devices", json!([{"type": "c", "path": "/dev/a"}])),
        "linux.devices[0]",
    );
}

fn impossible_plans_are_refused_as_by_create() {
    refused(
        &map(rt(), &[(0, 100_000, 65_536)]).user(70_000, 0),
        "process.user.uid: ",
    );
    refused(&rt().namespace("user", None), "linux.uidMappings: ");
    refused(&rt().without_namespace("uts"), "hostname: ");
    refused(
        &rt().set("/linux/sysctl", json!({"net.x": "1", "vm.x": "1"})),
        "linux.sysctl",
    );
    refused(&rt().without_namespace("mount"), "root.readonly: ");
    refused(
        &rt().set("/process/env/-", json!("NOVALUE")),
        "process.env[2]: ",
    );
    refused(&rt().set("/process/cwd", json!("data")), "process.cwd: ");
    refused(
        &rt().mount(json!({"destination": "/", "type": "tmpfs"})),
        "mounts[7]: ",
    );
    refused(
        &rt().set("/annotations", json!({"rt.rootfs.overlay": "maybe"})),
        "annotations: ",
    );
    refused(
        &rt().set("/linux/rootfsPropagation", json!("sideways")),
        "linux.rootfsPropagation: ",
    );
    refused(
        &rt().set("/linux/cgroupsPath", json!("/")),
        "linux.cgroupsPath: ",
    );
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 8}]);
    refused(&rt().set("/process/rlimits", limit), "process.rlimits[0]: ");
    let above_nr_open = json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1_u64 << 40}]);
    refused(
        &rt().set("/process/rlimits", above_nr_open),
        "process.rlimits[0]: RLIMIT_NOFILE: ",
    );
    refused(
        &rt().set("/linux/resources/memory/swappiness", json!(101)),
        "linux.resources.memory.swappiness: ",
    );
    let hook = json!({"poststop": [{"path": "relative"}]});
    refused(&rt().set("/hooks", hook), "hooks.poststop[0].path: ");
}

fn missing_files_are_refused_as_by_create() {
    refused(&rt().set("/root/path", json!("absent")), "root.path: ");
    refused(
        &rt().writable().set("/root/path", json!("/")),
        "root.path: ",
    );
    refused(
        &rt().namespace("network", Some("/proc/self/ns/uts")),
        "linux.namespaces[",
    );
    let bundle = rt().namespace("uts", Some("/proc/self/ns/uts"));
    refused(&bundle, "hostname: ");
    let not_proc = rt()
        .without_mount("/proc")
        .bind("/".as_ref(), "/proc", &["rbind"]);
    refused(
        &not_proc,
        "mounts[6]: bind source /: \"/proc\" cannot be mounted because it is not of type proc",
    );
    let bundle = rt();
    let in_root = bundle.rootfs().join("absent");
    refused(
        &bundle.bind(&in_root, "/a", &["rbind"]),
        "mounts[7]: bind source ",
    );

    let exec = "process.args[0]: exec: ";
    refused(
        &rt().args(&["nosuch"]),
        &format!("{exec}\"nosuch\": executable file not found in $PATH"),
    );
    refused(
        &rt().args(&["/bin/nosuch"]),
        &format!("{exec}\"/bin/nosuch\": no such file or directory"),
    );
    refused(
        &rt().args(&["/bin"]),
        &format!("{exec}\"/bin\": is a directory"),
    );
    refused(
        &rt().args(&["/etc/passwd"]),
        &format!("{exec}\"/etc/passwd\": permission denied"),
    );
    refused(
        &rt().args(&["/etc/passwd/x"]),
        &format!("{exec}\"/etc/passwd/x\": "),
    );
    let dangling = rt().symlink("link", "/bin/nosuch").args(&["/link"]);
    refused(
        &dangling,
        &format!("{exec}\"/link\": no such file or directory"),
    );
    let cycle = rt().symlink("a", "b").symlink("b", "a").args(&["/a"]);
    refused(&cycle, &format!("{exec}\"/a\": "));
    refused(
        &rt().set("/process/cwd", json!("/etc/passwd")),
        "process.cwd: ",
    );
    refused(
        &rt().set("/process/cwd", json!("/etc/passwd/x")),
        "process.cwd: ",
    );
}

fn what_mounts_and_hooks_may_supply_is_not_refused() {
    let tools = |bundle: Bundle| {
        let source = bundle.rootfs().join("bin");
        bundle
            .folder("opt/tools")
            .symlink("tools", "opt/tools")
            .symlink("programs", "/tools/../tools")
            .bind(&source, "/opt/tools", &["rbind"])
    };
    for program in ["/opt/tools/true", "/tools/true", "/programs/true"] {
        accepted(&tools(rt()).args(&[program]));
    }
    // The link is on the way to the mount point, and not to the program.
    let bundle = rt().folder("opt/tools").symlink("tools", "opt/tools");
    let source = bundle.rootfs().join("bin");
    accepted(
        &bundle
            .bind(&source, "/tools", &["rbind"])
            .args(&["/opt/tools/true"]),
    );
    accepted(
        &tools(rt())
            .args(&["./true"])
            .set("/process/cwd", json!("/opt/tools")),
    );
    let path = json!(["PATH=/nowhere:/tools"]);
    accepted(&tools(rt()).args(&["true"]).set("/process/env", path));
    accepted(&rt().writable().set("/process/cwd", json!("/made/by/init")));
    let bundle = rt()
        .symlink("absolute", "/bin/true")
        .symlink("bin/up", "../../../bin/true");
    accepted(&bundle.args(&["/absolute"]));
    accepted(&rt().symlink("bin/up", "../../../bin/true").args(&["up"]));

    // Init makes this directory for an earlier mount.
    let bundle = rt()
        .writable()
        .mount(json!({"destination": "/made/below", "type": "tmpfs"}));
    let made = bundle.rootfs().join("made");
    accepted(&bundle.bind(&made, "/copy", &["rbind"]));

    // A hook may write the program. `check` runs no hook.
    let bundle = rt().args(&["/bin/late"]);
    let script = format!("cp /bin/true {}/bin/late", bundle.rootfs().display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    accepted(&bundle.set("/hooks/createRuntime", hook));
}

fn a_cgroup_in_use_is_refused_as_by_create() {
    let first = rt().args(&["/probe", "sleep"]);
    let path = json!(format!("/{}/shared", first.id()));
    let first = first.set("/linux/cgroupsPath", path.clone());
    let _container = first.run_detached();
    let second = rt().set("/linux/cgroupsPath", path);
    refused(
        &second,
        "linux.cgroupsPath: container's cgroup is not empty: 1 process(es) found",
    );
}

fn a_missing_controller_is_refused_as_by_create() {
    only_rt("other runtimes have no check");
    let bundle = Bundle::with_runtime(&Runtime::new().view(View::V2));
    let lines = agreed(&bundle.set("/linux/resources/memory/limit", json!(1 << 26)));
    if lines.is_empty() {
        skip("cgroup v2 has a memory controller");
    }
    let line = "rt check: linux.resources.memory.limit: this host has no memory controller (cgroup v2: /sys/fs/cgroup/cgroup.controllers)";
    assert_eq!(lines, [line]);
}

fn cgroup_v2_alone_is_answered_as_by_create() {
    only_rt("other runtimes have no check");
    let v2 = || Bundle::with_runtime(&Runtime::new().view(View::V2));
    accepted(&v2());
    let first = v2().args(&["/probe", "sleep"]);
    let path = json!(format!("/{}/shared", first.id()));
    let first = first.set("/linux/cgroupsPath", path.clone());
    let _container = first.run_detached();
    let place = "linux.cgroupsPath: container's cgroup is not empty: 1 process(es) found";
    refused(&v2().set("/linux/cgroupsPath", path), place);
    // A cgroup with processes has no controllers for others.
    let below = json!(format!("/{}/shared/below", first.id()));
    let limited = v2()
        .set("/linux/cgroupsPath", below)
        .set("/linux/resources/pids/limit", json!(9));
    agreed(&limited);
    for kind in ALL {
        let caller = Caller::in_v2_view(kind);
        accepted(&caller.bundle().args(&["/bin/true"]));
        agreed(&caller.bundle().set("/linux/resources/pids/limit", json!(9)));
    }
}

fn global_flags_are_honoured() {
    only_rt("other runtimes have no check");
    let with = |flag: &str| Bundle::with_runtime(&Runtime::new().global(flag));
    let bundle = with("--cgroup-manager=disabled");
    let line = "rt check: linux.resources.pids.limit: the container has no cgroup (--cgroup-manager disabled)";
    assert_eq!(
        agreed(&bundle.set("/linux/resources/pids/limit", json!(9))),
        [line]
    );
    accepted(&with("--rootless=false"));

    let bundle = with("--debug=false");
    let open = bundle.runtime().home().join("open");
    fs::create_dir(&open).unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&open, open_to_all).unwrap();
    let root = format!("--root={}", open.display());
    let bundle = with(&root);
    let lines = agreed(&bundle);
    let line = format!(
        "rt check: {}: users other than its owner can write to it (mode 0777): containers cannot be kept there",
        open.display()
    );
    assert_eq!(lines, [line]);
    assert_eq!(
        fs::metadata(&open).unwrap().nlink(),
        2,
        "something is in it"
    );

    let log = bundle.runtime().home().join("log");
    let bundle = with(&format!("--log={}", log.display())).args(&["nosuch"]);
    check(&bundle).assert_code(1);
    let text = fs::read_to_string(log).unwrap();
    assert!(
        text.contains("level=error msg=\"rt check: process.args[0]: "),
        "{text}"
    );
}

fn ordinary_users_are_answered_as_by_create() {
    only_rt("other runtimes have no check");
    for kind in ALL {
        let caller = Caller::new(kind);
        let bundle = || caller.bundle().args(&["/bin/true"]);
        accepted(&bundle());
        refused(
            &bundle().bind("/no/such".as_ref(), "/a", &["rbind"]),
            "mounts[",
        );
        refused(
            &bundle().args(&["nosuch"]),
            "process.args[0]: exec: \"nosuch\": ",
        );
        refused(&bundle().user(7, 0), "process.user.uid: 7 is not mapped");
        refused(&bundle().set("/root/path", json!("absent")), "root.path: ");
        if kind == CallerKind::Plain {
            let line = agreed(
                &bundle()
                    .without_namespace("user")
                    .remove("/linux/uidMappings")
                    .remove("/linux/gidMappings"),
            );
            assert_eq!(
                line,
                [
                    "rt check: linux.namespaces: run rt as root, or add a user namespace (rt spec --rootless writes a config.json with one)"
                ]
            );
        }
        if !caller.is_namespace_root() {
            let memory = bundle().set("/linux/resources/memory/limit", json!(1 << 26));
            refused(
                &memory,
                "linux.resources.memory.limit: a user needs a delegated cgroup",
            );
            let root = bundle().runtime().home().join("closed");
            fs::create_dir(&root).unwrap();
            let runtime = caller
                .runtime
                .clone()
                .global(&format!("--root={}/new", root.display()));
            let config = bundle().config().clone();
            let closed = Bundle::with_runtime(&runtime).with_config(config);
            refused(
                &closed,
                &format!("{}/new (an unprivileged user's containers", root.display()),
            );
            fs::remove_dir(&root).unwrap();
        }
    }
}

/// No file, directory, cgroup or attached mount.
fn nothing_is_made() {
    needs_strace();
    let bundle = rt();
    let source = bundle.rootfs().join("bin");
    let bundle = map(
        bundle.bind(&source, "/a", &["rbind", "ro"]),
        &[(0, 100_000, 65_536)],
    );
    bundle.write();
    let trace = bundle.runtime().home().join("trace");
    let strace = ["strace", "-f", "-o", trace.to_str().unwrap()];
    check_as_written(&bundle, &strace).assert_ok();
    let text = fs::read_to_string(trace).unwrap();
    assert!(text.contains("open_tree("), "the sources are opened");
    for call in [
        "mkdir",
        "mknod",
        "mount(",
        "move_mount(",
        "pivot_root(",
        "symlink",
        "rename",
        "unlink",
        "O_CREAT",
        "O_WRONLY",
        "O_RDWR",
        "execve(\"/usr/bin/new",
    ] {
        let line = text.lines().find(|line| line.contains(call));
        assert_eq!(line, None);
    }
    let written = text.lines().filter(|line| line.contains(" write("));
    assert!(
        written.clone().all(|line| line.contains(" write(1, ")),
        "{written:?}"
    );
    assert_eq!(Kind::under_test(), Kind::Rt);
}
