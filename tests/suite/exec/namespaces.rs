//! The namespaces, ids and root of an exec process are those of the container, whether its
//! namespaces are new, joined or shared.

use crate::runner::Test;
use serde_json::{Value, json};

use super::{exec, probe, running, sh};
use crate::harness::{
    Bundle, Container, Holder, HostState, Kind, View, differs, namespace_of, only_rt, trials,
};

pub(super) fn tests() -> Vec<Test> {
    trials![
        exec_joins_all_namespaces_of_the_container,
        exec_works_with_each_kind_shared,
        exec_works_with_each_kind_joined_by_path,
        exec_works_with_all_kinds_joined_by_path,
        exec_joins_all_namespaces_in_the_v2_view,
        exec_works_in_a_pod_member,
        exec_works_with_a_new_user_namespace,
        exec_works_with_a_map_without_id_0,
        exec_works_with_a_user_namespace_joined_with_all_others,
        exec_works_with_a_new_user_namespace_beside_joined_namespaces,
        an_unmapped_id_is_refused,
        exec_joins_a_time_namespace_with_offsets,
        exec_joins_a_cgroup_namespace,
        exec_enters_the_root_without_a_mount_namespace,
        exec_enters_the_root_of_a_container_without_pivot_root,
        exec_enters_an_overlay_root,
        masked_and_read_only_paths_apply_to_exec,
        exec_joins_the_session_keyring_of_the_container,
        exec_keeps_the_callers_keyring_with_no_new_keyring,
        exec_sees_the_interfaces_and_devices_of_the_container,
    ]
}

pub(crate) const LINKS: [&str; 8] = ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user", "time"];

/// Checks that an exec process is in the namespaces and the root of init, with and without
/// `--process`.
#[track_caller]
pub(crate) fn assert_inside(bundle: &Bundle, container: &Container) {
    let pid = container.pid().to_string();
    for seen in [probe(bundle, &[]), super::probe_described(bundle, &[])] {
        for link in LINKS {
            assert_eq!(seen.namespace(link), namespace_of(&pid, link), "{link}");
        }
        assert_eq!(seen["cwd"], "/");
        assert_eq!(
            seen["ppid"],
            if has_no_new_pid_namespace(bundle) {
                seen["ppid"].clone()
            } else {
                json!(0)
            }
        );
    }
    let root = sh(bundle, &[], "ls -d /probe /bin/busybox; ls -di /");
    assert!(
        root.starts_with("/probe\n/bin/busybox\n") || root.contains("/probe"),
        "{root}"
    );
}

fn has_no_new_pid_namespace(bundle: &Bundle) -> bool {
    let own = |entry: &&Value| entry["type"] == "pid" && entry.get("path").is_none();
    !bundle
        .config()
        .items("/linux/namespaces")
        .iter()
        .any(|entry| own(&entry))
}

/// The template without the settings and mounts that need one of [`KINDS`].
fn neutral() -> Bundle {
    Bundle::new()
        .remove("/hostname")
        .without_mount("/dev/mqueue")
        .without_mount("/sys")
        .without_mount("/sys/fs/cgroup")
        .remove("/linux/maskedPaths")
}

const KINDS: [(&str, &str); 5] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
];

fn exec_joins_all_namespaces_of_the_container() {
    let (bundle, container) = running(Bundle::new().namespace("cgroup", None).hostname("web"));
    assert_inside(&bundle, &container);
    assert_eq!(probe(&bundle, &[])["hostname"], "web");
}

fn exec_works_with_each_kind_shared() {
    for (kind, _) in KINDS {
        let (bundle, container) = running(neutral().without_namespace(kind));
        assert_inside(&bundle, &container);
        container.end();
    }
    let none = KINDS.iter().fold(neutral(), |bundle, (kind, _)| {
        bundle.without_namespace(kind)
    });
    let (bundle, container) = running(none);
    assert_inside(&bundle, &container);
}

fn exec_works_with_each_kind_joined_by_path() {
    let holder = Holder::of_each_kind();
    for (kind, link) in KINDS {
        let bundle = neutral().namespace(kind, Some(&holder.path(link)));
        let (bundle, container) = running(bundle);
        assert_inside(&bundle, &container);
        assert_eq!(probe(&bundle, &[]).namespace(link), holder.namespace(link));
        container.end();
    }
}

fn exec_works_with_all_kinds_joined_by_path() {
    let holder = Holder::of_each_kind();
    let all = KINDS.iter().fold(neutral(), |bundle, (kind, link)| {
        bundle.namespace(kind, Some(&holder.path(link)))
    });
    let (bundle, container) = running(all);
    assert_inside(&bundle, &container);
}

fn exec_joins_all_namespaces_in_the_v2_view() {
    let runtime = crate::harness::Runtime::new().view(View::V2);
    let bundle = Bundle::with_runtime(&runtime).namespace("cgroup", None);
    let (bundle, container) = running(bundle);
    assert_inside(&bundle, &container);
}

fn exec_works_in_a_pod_member() {
    let (pod, first) = running(Bundle::new().hostname("pod"));
    let path = |link: &str| format!("/proc/{}/ns/{link}", first.pid());
    let member = KINDS[..4].iter().fold(
        Bundle::with_runtime(pod.runtime()).remove("/hostname"),
        |bundle, (kind, link)| bundle.namespace(kind, Some(&path(link))),
    );
    let (member, container) = running(member);
    assert_inside(&member, &container);
    assert_eq!(probe(&member, &[])["hostname"], "pod");
    assert_ne!(
        probe(&member, &[]).namespace("mnt"),
        probe(&pod, &[]).namespace("mnt")
    );
}

fn mappings(entries: &[(u32, u32, u32)]) -> Value {
    let entry = |(container, host, size): &(u32, u32, u32)| json!({ "containerID": container, "hostID": host, "size": size });
    entries.iter().map(entry).collect()
}

fn mapped(entries: &[(u32, u32, u32)]) -> Bundle {
    Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", mappings(entries))
        .set("/linux/gidMappings", mappings(entries))
}

fn exec_works_with_a_new_user_namespace() {
    let (bundle, container) = running(mapped(&[(0, 100_000, 65_536)]));
    assert_inside(&bundle, &container);
    let seen = probe(&bundle, &["-u", "1000:1001"]);
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(1000), &json!(1001)));
    let kept = bundle.runtime().home().join("exec.pid");
    let flags = ["-d", "--pid-file", kept.to_str().unwrap()];
    exec(&bundle, &flags, &["/bin/sleep", "1001"]).assert_ok();
    let pid = std::fs::read_to_string(kept).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(
        status.contains("Uid:\t100000\t100000\t100000\t100000\n"),
        "{status}"
    );
    let zero: Vec<u64> = probe(&bundle, &["--cap", "CAP_SYS_ADMIN"])["uids"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(zero, [0; 4]);
    let granted = probe(&bundle, &["--cap", "CAP_SYS_ADMIN"]).capabilities("effective");
    assert!(granted.contains(&"CAP_SYS_ADMIN".to_owned()), "{granted:?}");
}

fn exec_works_with_a_map_without_id_0() {
    only_rt("runc takes uid 0, which is not mapped");
    let (bundle, container) = running(
        mapped(&[(1000, 101_000, 10)])
            .without_mount("/dev/pts")
            .user(1000, 1000),
    );
    assert_inside(&bundle, &container);
    assert_eq!(probe(&bundle, &["-u", "1001:1002"])["uid"], 1001);
}

fn exec_works_with_a_user_namespace_joined_with_all_others() {
    differs(Kind::Runc, "Debian's old one enters the others first");
    let flags = [
        "--user",
        "--pid",
        "--fork",
        "--net",
        "--ipc",
        "--uts",
        "--mount-proc",
    ];
    let maps = "0 100000 65536\n";
    let holder = Holder::with_maps(&flags, maps, maps);
    let all = [
        ("user", "user"),
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
    ];
    let bundle = all
        .iter()
        .fold(Bundle::new().remove("/hostname"), |bundle, (kind, link)| {
            bundle.namespace(kind, Some(&holder.path(link)))
        });
    let (bundle, container) = running(bundle);
    assert_inside(&bundle, &container);
}

fn exec_works_with_a_new_user_namespace_beside_joined_namespaces() {
    differs(
        Kind::Runc,
        "Debian's old one enters the user namespace first, and then may not enter the others",
    );
    let holder = Holder::of_each_kind();
    let bundle = mapped(&[(0, 100_000, 65_536)])
        .remove("/hostname")
        .without_mount("/sys")
        .without_mount("/sys/fs/cgroup")
        .namespace("network", Some(&holder.path("net")))
        .namespace("uts", Some(&holder.path("uts")));
    let (bundle, container) = running(bundle);
    assert_inside(&bundle, &container);
}

fn an_unmapped_id_is_refused() {
    let (bundle, _container) = running(mapped(&[(0, 100_000, 10)]));
    let before = HostState::of(&bundle);
    for user in ["10", "0:10", "70000"] {
        exec(&bundle, &["-u", user], &["/bin/true"]).assert_code(255);
    }
    exec(&bundle, &["-g", "4711"], &["/bin/true"]).assert_code(255);
    before.assert_unchanged(&bundle);
}

fn exec_joins_a_time_namespace_with_offsets() {
    only_rt("the old runc knows no time namespaces");
    let offsets = json!({"boottime": {"secs": 1_000_000}, "monotonic": {"secs": 2_000_000}});
    let bundle = Bundle::new()
        .namespace("time", None)
        .set("/linux/timeOffsets", offsets);
    let (bundle, container) = running(bundle);
    assert_inside(&bundle, &container);
    let on_host = std::process::Command::new(bundle.rootfs().join("probe"))
        .arg("report")
        .output()
        .unwrap();
    let on_host = crate::harness::Report::parse(&String::from_utf8_lossy(&on_host.stdout));
    let ahead = probe(&bundle, &[])["clocks"]["boottime"].as_f64().unwrap()
        - on_host["clocks"]["boottime"].as_f64().unwrap();
    assert!((ahead / 1e9 - 1e6).abs() < 10.0, "{ahead}");
}

fn exec_joins_a_cgroup_namespace() {
    for view in [View::Host, View::V2] {
        let runtime = crate::harness::Runtime::new().view(view);
        let bundle = Bundle::with_runtime(&runtime).namespace("cgroup", None);
        let (bundle, _container) = running(bundle);
        let lines = probe(&bundle, &[])["cgroups"].clone();
        let lines: Vec<&str> = lines
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let own = |line: &&str| match view {
            // The view has this hierarchy only.
            View::V2 => line.starts_with("0::"),
            View::Host => !line.starts_with("0::") && !line.contains("name="),
        };
        let outside: Vec<&&str> = lines
            .iter()
            .filter(|line| own(line) && !line.ends_with(":/"))
            .collect();
        assert_eq!(outside, [&""; 0], "{lines:?}");
    }
}

fn without_mounts() -> Bundle {
    Bundle::new()
        .without_namespace("mount")
        .set("/mounts", json!([]))
        .remove("/linux/maskedPaths")
        .remove("/linux/readonlyPaths")
        .writable()
}

fn exec_enters_the_root_without_a_mount_namespace() {
    only_rt("runc refuses such a container");
    let (bundle, container) = running(without_mounts());
    let said = sh(
        &bundle,
        &[],
        "pwd; ls /; test -e /work || echo apart; cd ../../..; ls -d /probe",
    );
    assert!(
        said.starts_with("/\n") && said.ends_with("apart\n/probe\n"),
        "{said}"
    );
    assert_eq!(sh(&bundle, &["--cwd", "/etc"], "pwd"), "/etc\n");
    container.end();
}

fn exec_enters_the_root_of_a_container_without_pivot_root() {
    let bundle = super::waiting(Bundle::new());
    bundle
        .call("run", &["--detach", "--no-pivot"])
        .run()
        .assert_ok();
    assert_inside(&bundle, &bundle.container());
    let said = sh(
        &bundle,
        &[],
        "cd ../../..; ls -d probe; test -e /work || echo apart",
    );
    assert_eq!(said, "probe\napart\n");
}

fn exec_enters_an_overlay_root() {
    only_rt("the annotation is rt's");
    let bundle = Bundle::new()
        .set("/annotations", json!({"rt.rootfs.overlay": "ephemeral"}))
        .writable();
    let (bundle, container) = running(bundle);
    assert_inside(&bundle, &container);
    sh(&bundle, &[], "echo written >/x");
    assert_eq!(sh(&bundle, &[], "cat /x"), "written\n");
    assert!(!bundle.rootfs().join("x").exists());
}

fn masked_and_read_only_paths_apply_to_exec() {
    let (bundle, _container) = running(Bundle::new());
    let said = sh(
        &bundle,
        &["-u", "0"],
        "echo x >/x || echo ro; cat /proc/kcore | busybox wc -c; echo 1 >/proc/sys/kernel/sysrq || echo ro",
    );
    assert_eq!(said, "ro\n0\nro\n");
    let first =
        std::fs::read_to_string(format!("/proc/{}/mountinfo", bundle.container().pid())).unwrap();
    assert_eq!(
        sh(&bundle, &[], "cat /proc/self/mountinfo"),
        sh(&bundle, &[], "cat /proc/1/mountinfo")
    );
    assert_eq!(
        first.lines().count(),
        sh(&bundle, &[], "cat /proc/self/mountinfo").lines().count()
    );
}

fn keyring(seen: &crate::harness::Report) -> String {
    seen["keyring"].as_str().unwrap_or_default().to_owned()
}

fn exec_joins_the_session_keyring_of_the_container() {
    let bundle = Bundle::new().args(&["/probe", "report", "enter"]);
    let (_reader, stdin) = (std::io::pipe().unwrap(), ());
    let call = bundle
        .call("run", &["--detach"])
        .with(|command| command.stdin(_reader.0));
    let () = stdin;
    let output = call.output().to_owned();
    call.run().assert_ok();
    crate::harness::wait_until("the report", || {
        std::fs::read_to_string(output.with_extension("out"))
            .is_ok_and(|said| said.ends_with("}\n"))
    });
    let said = std::fs::read_to_string(output.with_extension("out")).unwrap();
    let first = keyring(&crate::harness::Report::parse(&said));
    let seen = keyring(&probe(&bundle, &[]));
    assert!(first.ends_with(&format!("_ses.{}", bundle.id())), "{first}");
    assert_eq!(seen.rsplit(';').next(), first.rsplit(';').next());
}

fn exec_keeps_the_callers_keyring_with_no_new_keyring() {
    let bundle = super::waiting(Bundle::new());
    bundle
        .call("run", &["--detach", "--no-new-keyring"])
        .run()
        .assert_ok();
    let seen = keyring(&probe(&bundle, &[]));
    differs(Kind::Runc, "Debian's old one joins a keyring all the same");
    assert!(!seen.ends_with(bundle.id()), "{seen}");
}

fn exec_sees_the_interfaces_and_devices_of_the_container() {
    let (bundle, _container) = running(Bundle::new());
    let seen = probe(&bundle, &[]);
    assert_eq!(
        seen["interfaces"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["lo"]
    );
    assert_eq!(seen["devices"]["null"]["type"], "c");
    let outcome = exec(
        &bundle,
        &[],
        &["/probe", "mknod", "/dev/shm/x", "c", "1", "1"],
    );
    assert_eq!(outcome.assert_ok().stdout, "EPERM\n");
}
