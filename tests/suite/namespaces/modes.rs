//! Namespaces new, joined by path, or shared with the host, in any combination; and their settings.

use std::fs;

use crate::runner::Test;
use serde_json::{Value, json};

use crate::harness::{
    Bundle, Holder, HostState, Kind, Report, differs, namespace_of, only_rt, trials,
};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        new_namespaces_are_new,
        shared_namespaces_are_the_hosts,
        joined_namespaces_are_those_of_the_path,
        every_combination_of_two_kinds_works,
        a_joined_pid_namespace_shows_its_processes,
        loopback_is_up_in_a_new_network_namespace,
        loopback_is_left_alone_in_a_joined_network_namespace,
        hostname_and_domainname_are_set,
        hostname_without_a_uts_namespace_is_refused,
        hostname_in_the_hosts_uts_namespace_by_path_is_refused,
        domainname_without_a_uts_namespace_is_refused,
        sysctls_are_set_inside_and_not_outside,
        a_sysctl_of_a_namespace_that_is_not_there_is_refused,
        a_sysctl_in_the_hosts_network_namespace_by_path_is_refused,
        a_path_of_the_wrong_type_is_refused,
        a_path_that_is_missing_is_refused,
        a_duplicate_namespace_is_refused,
        a_cgroup_namespace_starts_at_the_containers_cgroup,
    ]
}

/// The names of the kinds in config.json and in /proc/PID/ns, and the flags of unshare(1).
const KINDS: [(&str, &str, &str); 5] = [
    ("pid", "pid", "--pid"),
    ("network", "net", "--net"),
    ("ipc", "ipc", "--ipc"),
    ("uts", "uts", "--uts"),
    ("cgroup", "cgroup", "--cgroup"),
];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    New,
    Joined,
    Shared,
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

fn with(
    bundle: Bundle,
    holder: &Holder,
    (kind, link, _): (&str, &str, &str),
    mode: Mode,
) -> Bundle {
    match mode {
        Mode::New => bundle.namespace(kind, None),
        Mode::Joined => bundle.namespace(kind, Some(&holder.path(link))),
        Mode::Shared => bundle.without_namespace(kind),
    }
}

fn check(seen: &Report, holder: &Holder, link: &str, mode: Mode) {
    let (actual, host) = (seen.namespace(link), namespace_of("self", link));
    let joined = holder.namespace(link);
    match mode {
        Mode::New => assert!(
            actual != host && actual != joined,
            "{link}: {actual} is not new"
        ),
        Mode::Joined => assert_eq!(actual, joined, "{link}"),
        Mode::Shared => assert_eq!(actual, host, "{link}"),
    }
}

fn all_in_one_mode(mode: Mode) {
    let holder = Holder::of_each_kind();
    let bundle = KINDS
        .into_iter()
        .fold(neutral(), |bundle, kind| with(bundle, &holder, kind, mode));
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    for (_, link, _) in KINDS {
        check(&seen, &holder, link, mode);
    }
    assert_ne!(seen.namespace("mnt"), namespace_of("self", "mnt"));
    assert_eq!(seen.namespace("user"), namespace_of("self", "user"));
    before.assert_unchanged(&bundle);
}

fn new_namespaces_are_new() {
    all_in_one_mode(Mode::New);
}

fn shared_namespaces_are_the_hosts() {
    all_in_one_mode(Mode::Shared);
}

fn joined_namespaces_are_those_of_the_path() {
    all_in_one_mode(Mode::Joined);
}

/// Combinations of three kinds are not tested: they exercise no code that pairs do not.
fn every_combination_of_two_kinds_works() {
    let holder = Holder::of_each_kind();
    let modes = [Mode::New, Mode::Joined, Mode::Shared];
    for (index, one) in KINDS.into_iter().enumerate() {
        for other in KINDS.into_iter().skip(index + 1) {
            for (mode, other_mode) in modes.into_iter().flat_map(|a| modes.map(|b| (a, b))) {
                if mode == other_mode {
                    continue;
                }
                let bundle = with(
                    with(neutral(), &holder, one, mode),
                    &holder,
                    other,
                    other_mode,
                );
                let seen = bundle.probe();
                check(&seen, &holder, one.1, mode);
                check(&seen, &holder, other.1, other_mode);
            }
        }
    }
}

fn a_joined_pid_namespace_shows_its_processes() {
    let holder = Holder::new(&["--pid", "--fork"]);
    let bundle = Bundle::new().namespace("pid", Some(&holder.path("pid")));
    let seen = bundle.probe();
    assert!(seen["pid"].as_i64().unwrap() > 1);
    assert_eq!(seen.namespace("pid"), holder.namespace("pid"));
    let said = bundle.sh("cat /proc/1/comm").run().assert_ok().stdout;
    assert_eq!(said, "sleep\n");
}

fn loopback_is_up_in_a_new_network_namespace() {
    let seen = Bundle::new().probe();
    assert_eq!(seen["interfaces"], json!({ "lo": { "up": true } }));
}

/// The owner of the namespace configures its interfaces.
fn loopback_is_left_alone_in_a_joined_network_namespace() {
    let holder = Holder::new(&["--net"]);
    let seen = Bundle::new()
        .namespace("network", Some(&holder.path("net")))
        .probe();
    assert_eq!(seen["interfaces"]["lo"]["up"], false);
}

fn hostname_and_domainname_are_set() {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let bundle = Bundle::new().hostname("web-1.example");
    assert_eq!(bundle.probe()["hostname"], "web-1.example");
    if Kind::under_test() == Kind::Rt {
        let seen = bundle.set("/domainname", json!("example.org")).probe();
        assert_eq!(seen["domainname"], "example.org");
        let both = |of_sysctl: &str| {
            let sysctl = json!({ "kernel.domainname": of_sysctl });
            let bundle = Bundle::new().set("/domainname", json!("example.org"));
            bundle.set("/linux/sysctl", sysctl)
        };
        assert_eq!(both("example.org").probe()["domainname"], "example.org");
        let text =
            "linux.sysctl: kernel.domainname: is not the name in domainname; remove one of them";
        both("example.net").assert_refused(&[text]);
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        own
    );
    let holder = Holder::new(&["--uts"]);
    let joined = Bundle::new()
        .namespace("uts", Some(&holder.path("uts")))
        .hostname("pod");
    assert_eq!(
        joined.probe()["hostname"],
        "pod",
        "in a joined namespace too"
    );
}

fn hostname_without_a_uts_namespace_is_refused() {
    let bundle = Bundle::new().without_namespace("uts").hostname("web");
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("hostname");
    before.assert_unchanged(&bundle);
}

fn hostname_in_the_hosts_uts_namespace_by_path_is_refused() {
    only_rt("Debian's runc changes the host's name");
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let bundle = Bundle::new()
        .namespace("uts", Some("/proc/self/ns/uts"))
        .hostname(own.trim());
    bundle.args(&["/bin/true"]).run().assert_refused("hostname");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        own
    );
}

fn domainname_without_a_uts_namespace_is_refused() {
    only_rt("Debian's ones are older than domainname");
    let own = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    let bundle = || {
        Bundle::new()
            .remove("/hostname")
            .set("/domainname", json!(own.trim()))
    };
    for bundle in [
        bundle().without_namespace("uts"),
        bundle().namespace("uts", Some("/proc/self/ns/uts")),
    ] {
        bundle
            .args(&["/bin/true"])
            .assert_refused(&["domainname: "]);
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/domainname").unwrap(),
        own
    );
}

fn sysctls_are_set_inside_and_not_outside() {
    let keys = [
        ("net.ipv4.ip_unprivileged_port_start", "7"),
        ("net/ipv4/ip_forward", "1"),
        ("kernel.domainname", "suite"),
        ("kernel.msgmax", "4096"),
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "20"),
    ];
    let read =
        |key: &str| fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap();
    let on_host: Vec<String> = keys.iter().map(|(key, _)| read(key)).collect();
    let table: serde_json::Map<String, Value> = keys
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let script: Vec<String> = keys
        .iter()
        .map(|(key, _)| format!("/probe sysctl {}", key.replace('/', ".")))
        .collect();
    let bundle = Bundle::new()
        .set("/linux/sysctl", Value::Object(table))
        .sh(&script.join("; "));
    let said = bundle.run().assert_ok().stdout;
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        keys.map(|(_, value)| value)
    );
    assert_eq!(
        keys.iter().map(|(key, _)| read(key)).collect::<Vec<_>>(),
        on_host
    );
}

fn a_sysctl_of_a_namespace_that_is_not_there_is_refused() {
    let cases = [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.msgmax"),
        ("uts", "kernel.domainname"),
        ("user", "user.max_uts_namespaces"),
    ];
    for (kind, key) in cases {
        let bundle = neutral().without_namespace(kind);
        let bundle = bundle
            .set("/linux/sysctl", json!({ key: "1" }))
            .args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused(key);
        before.assert_unchanged(&bundle);
    }
}

/// A path may name a namespace of the host, and then the sysctl would change the host.
fn a_sysctl_in_the_hosts_network_namespace_by_path_is_refused() {
    differs(Kind::Crun, "it checks the kind only");
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let bundle = Bundle::new()
        .namespace("network", Some("/proc/self/ns/net"))
        .set(
            "/linux/sysctl",
            json!({ "net.ipv4.ip_forward": own.trim() }),
        )
        .args(&["/bin/true"]);
    bundle.run().assert_refused("net.ipv4.ip_forward");
}

fn a_path_of_the_wrong_type_is_refused() {
    for (kind, path) in [
        ("network", "/proc/self/ns/uts"),
        ("uts", "/proc/self/ns/ipc"),
        ("pid", "/proc/self/ns/net"),
        ("ipc", "/etc/passwd"),
    ] {
        let bundle = neutral().namespace(kind, Some(path)).args(&["/bin/true"]);
        let before = HostState::of(&bundle);
        bundle.run().assert_refused("");
        before.assert_unchanged(&bundle);
    }
}

fn a_path_that_is_missing_is_refused() {
    let bundle = Bundle::new().namespace("network", Some("/no/such/ns"));
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("/no/such/ns");
    before.assert_unchanged(&bundle);
}

/// config-linux.md: "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error."
fn a_duplicate_namespace_is_refused() {
    let bundle = Bundle::new()
        .set("/linux/namespaces/-", json!({ "type": "ipc" }))
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("ipc");
    before.assert_unchanged(&bundle);
}

/// In the namespace every path in /proc/self/cgroup is `/`.
fn a_cgroup_namespace_starts_at_the_containers_cgroup() {
    let seen = Bundle::new().namespace("cgroup", None).probe();
    for line in seen["cgroups"].as_array().unwrap() {
        let line = line.as_str().unwrap();
        let controller = line.split(':').nth(1).unwrap();
        assert!(line.ends_with(":/"), "{controller}: {line}");
    }
    let seen = Bundle::new().without_namespace("cgroup").probe();
    let all = seen["cgroups"].as_array().unwrap();
    assert!(
        all.iter()
            .any(|line| line.as_str().unwrap().contains(":/suite-")),
        "{all:?}"
    );
}
