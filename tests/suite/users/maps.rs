//! `linux.uidMappings` and `linux.gidMappings`: ids in the container and on the host.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::runner::Test;
use serde_json::{Value, json};

use super::{COUNT, FIRST, map, mapped, mappings, numbers, owned};
use crate::harness::{Bundle, HostState, Kind, differs, namespace_of, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        the_configured_maps_are_written,
        a_map_of_340_ranges_is_written,
        all_ids_can_be_mapped,
        an_identity_map_still_creates_a_user_namespace,
        root_in_the_container_has_the_mapped_ids_on_the_host,
        files_created_in_the_container_have_the_mapped_owner_on_the_host,
        files_of_unmapped_ids_appear_as_owned_by_the_overflow_ids,
        root_in_the_container_cannot_read_files_of_unmapped_ids,
        the_process_has_the_mapped_ids_on_the_host,
        supplementary_groups_are_set_and_setgroups_is_allowed,
        all_capabilities_are_available_even_if_the_caller_lacks_some,
        a_map_without_id_0_works,
        a_joined_user_namespace_needs_no_mappings,
        mappings_of_a_joined_user_namespace_may_be_repeated,
    ]
}

fn the_configured_maps_are_written() {
    let uids = [(0, 100_000, 1000), (1000, 300_000, 1), (5000, 200_000, 99)];
    let gids = [(0, 400_000, 2000), (4_000_000_000, 7, 1)];
    let bundle = Bundle::new()
        .namespace("user", None)
        .set("/linux/uidMappings", mappings(&uids))
        .set("/linux/gidMappings", mappings(&gids));
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(numbers(&seen["uid_map"]), uids);
    assert_eq!(numbers(&seen["gid_map"]), gids);
    assert_ne!(seen.namespace("user"), namespace_of("self", "user"));
    before.assert_unchanged(&bundle);
}

/// user_namespaces(7): 340 lines since Linux 4.15.
fn a_map_of_340_ranges_is_written() {
    let ranges: Vec<(u32, u32, u32)> = (0..340).map(|n| (n, n, 1)).collect();
    let seen = map(Bundle::new(), &ranges).probe();
    assert_eq!(numbers(&seen["uid_map"]), ranges);
    assert_eq!(numbers(&seen["gid_map"]), ranges);
}

fn all_ids_can_be_mapped() {
    differs(Kind::Runc, "its sum overflows a signed 32-bit integer");
    let all = [(0, 0, u32::MAX)];
    let seen = map(Bundle::new(), &all).probe();
    assert_eq!(numbers(&seen["uid_map"]), all);
}

/// The container is still restricted: it cannot create a device, for example.
fn an_identity_map_still_creates_a_user_namespace() {
    let bundle = map(Bundle::new(), &[(0, 0, COUNT)]).capabilities(&["CAP_MKNOD"]);
    let seen = bundle.probe();
    assert_ne!(seen.namespace("user"), namespace_of("self", "user"));
    assert_eq!(seen["devices"]["null"]["uid"], 0);
    let bundle = bundle.args(&["/probe", "mknod", "/dev/new", "c", "1", "3"]);
    assert_eq!(bundle.run().assert_ok().stdout, "EPERM\n");
}

/// The uids, gids and groups of a process, as in /proc/PID/status.
fn ids_of(pid: i32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    vec![ids("Uid:"), ids("Gid:"), ids("Groups:")]
}

fn root_in_the_container_has_the_mapped_ids_on_the_host() {
    let seen = mapped().probe();
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(0), &json!(0)));
    assert_eq!(seen["uids"], json!([0, 0, 0, 0]));
    let bundle = mapped().args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let id = FIRST.to_string();
    let four = [id.as_str(); 4].join(" ");
    assert_eq!(ids_of(container.pid()), [four.as_str(), &four, ""]);
}

fn files_created_in_the_container_have_the_mapped_owner_on_the_host() {
    let bundle = owned(mapped()).writable().capabilities(&["CAP_CHOWN"]);
    let bundle = bundle.sh("echo x > /made; mkdir /srv; busybox chown 7:8 /srv");
    bundle.run().assert_ok();
    let owner = |bundle: &Bundle, name: &str| {
        let meta = fs::symlink_metadata(bundle.rootfs().join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner(&bundle, "made"), (FIRST, FIRST));
    assert_eq!(owner(&bundle, "srv"), (FIRST + 7, FIRST + 8));
    let bundle = owned(mapped()).writable().user(1000, 2000);
    let open = bundle.rootfs().join("root");
    std::os::unix::fs::chown(open, Some(FIRST + 1000), Some(FIRST)).unwrap();
    let bundle = bundle.sh("echo x > /root/other");
    bundle.run().assert_ok();
    assert_eq!(owner(&bundle, "root/other"), (FIRST + 1000, FIRST + 2000));
}

fn files_of_unmapped_ids_appear_as_owned_by_the_overflow_ids() {
    let bundle = mapped().sh("stat -c '%u %g' /etc/passwd /proc/1/root; touch /etc/passwd");
    let outcome = bundle.writable().run().assert_code(1);
    assert_eq!(outcome.stdout, "65534 65534\n0 0\n");
}

/// Capabilities in a user namespace do not apply to files with unmapped owners.
fn root_in_the_container_cannot_read_files_of_unmapped_ids() {
    let bundle = mapped()
        .file("secret", "x")
        .args(&["/probe", "read", "/secret"]);
    let bundle = bundle.capabilities(&["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let secret = bundle.rootfs().join("secret");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&secret, closed).unwrap();
    assert_eq!(bundle.run().assert_ok().stdout, "EACCES\n");
    std::os::unix::fs::chown(&secret, Some(FIRST + 9), Some(FIRST)).unwrap();
    assert_eq!(bundle.run().assert_ok().stdout, "x\n");
}

fn the_process_has_the_mapped_ids_on_the_host() {
    let seen = mapped().user(1000, 2000).probe();
    assert_eq!(seen["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gids"], json!([2000, 2000, 2000, 2000]));
    let bundle = mapped().user(1000, 2000).args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let ids = ids_of(container.pid());
    assert_eq!(ids[0], ["101000"; 4].join(" "));
    assert_eq!(ids[1], ["102000"; 4].join(" "));
}

fn supplementary_groups_are_set_and_setgroups_is_allowed() {
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [0, 5, 65_535] });
    let seen = mapped().set("/process/user", user).probe();
    let mut groups: Vec<u64> = seen["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    groups.sort_unstable();
    assert_eq!(groups, [0, 5, 65_535]);
    assert_eq!(seen["setgroups"], "allow");
    assert_eq!(mapped().probe()["groups"], json!([]));
}

/// A new user namespace has all capabilities, even if a sandbox around the runtime has removed
/// some of them.
fn all_capabilities_are_available_even_if_the_caller_lacks_some() {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let last: usize = last.trim().parse().unwrap();
    let names: Vec<&str> = ALL.split(' ').take(last + 1).collect();
    let bundle = mapped().capabilities(&names);
    let call = bundle.probe_call(
        &["setpriv", "--bounding-set", "-sys_time,-audit_control"],
        &[],
    );
    let seen = call.assert_report();
    for set in ["bounding", "permitted", "effective"] {
        assert_eq!(seen.capabilities(set), names, "{set}");
    }
}

/// All capabilities, in numerical order.
const ALL: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL \
    CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST \
    CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO \
    CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE \
    CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE \
    CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM \
    CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE";

/// Neither the process nor init during the setup can have the id 0.
fn a_map_without_id_0_works() {
    only_rt("Debian's want a mapping for 0");
    let bundle = map(Bundle::new(), &[(1000, FIRST, 10)]).without_mount("/dev/pts");
    let bundle = bundle.user(1000, 1009);
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(1000), &json!(1009)));
    assert_eq!(numbers(&seen["uid_map"]), [(1000, FIRST, 10)]);
    assert!(seen.mount("/dev/shm").has("nodev"));
    before.assert_unchanged(&bundle);
}

fn joining() -> (crate::harness::Holder, Bundle) {
    let maps = format!("0 {FIRST} {COUNT}");
    let holder = crate::harness::Holder::with_maps(&["--user"], &maps, &maps);
    let bundle = Bundle::new().namespace("user", Some(&holder.path("user")));
    (holder, bundle)
}

fn a_joined_user_namespace_needs_no_mappings() {
    differs(Kind::Runc, "the old one requires them");
    let (holder, bundle) = joining();
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(seen.namespace("user"), holder.namespace("user"));
    assert_eq!((&seen["uid"], &seen["pid"]), (&json!(0), &json!(1)));
    assert_eq!(numbers(&seen["uid_map"]), [(0, FIRST, COUNT)]);
    let bundle = bundle.args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    assert_eq!(ids_of(container.pid())[0], ["100000"; 4].join(" "));
    container.end();
    before.assert_unchanged(&bundle);
}

fn mappings_of_a_joined_user_namespace_may_be_repeated() {
    let (holder, bundle) = joining();
    let entries = mappings(&[(0, FIRST, COUNT)]);
    let bundle = bundle.set("/linux/uidMappings", entries.clone());
    let bundle = bundle.set("/linux/gidMappings", entries);
    let seen = bundle.probe();
    assert_eq!(seen.namespace("user"), holder.namespace("user"));
    assert_eq!(numbers(&seen["gid_map"]), [(0, FIRST, COUNT)]);
}
