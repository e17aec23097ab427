//! Configurations that a user namespace does not allow: the error is one line that names the
//! place, and nothing is left behind.

use crate::runner::Test;
use serde_json::{Value, json};

use super::{COUNT, FIRST, map, mapped, mappings, refused};
use crate::harness::{Bundle, Holder, Kind, differs, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        an_unmapped_user_is_refused,
        an_unmapped_group_is_refused,
        an_unmapped_additional_group_is_refused,
        mappings_without_a_user_namespace_are_refused,
        a_user_namespace_without_mappings_is_refused,
        only_one_of_the_two_lists_is_refused,
        an_empty_range_is_refused,
        ranges_that_overlap_in_the_container_are_refused,
        ranges_that_overlap_on_the_host_are_refused,
        a_range_beyond_the_last_id_is_refused,
        more_ranges_than_the_kernel_accepts_are_refused,
        a_map_longer_than_the_kernel_accepts_is_refused,
        mappings_that_differ_from_those_of_a_joined_user_namespace_are_refused,
        a_joined_user_namespace_without_maps_is_refused,
        the_runtimes_own_user_namespace_can_be_joined_by_path,
        a_user_that_a_joined_namespace_does_not_map_is_refused,
        a_proc_mount_without_a_pid_namespace_is_refused,
        a_sysfs_mount_without_a_network_namespace_is_refused,
        an_mqueue_mount_without_an_ipc_namespace_is_refused,
        a_devpts_mount_with_an_unmapped_gid_is_refused,
        a_file_system_that_only_root_on_the_host_can_mount_is_refused,
        a_mount_point_that_only_root_on_the_host_can_create_is_refused,
    ]
}

fn an_unmapped_user_is_refused() {
    let bundle = map(Bundle::new(), &[(0, FIRST, 5)]).without_mount("/dev/pts");
    refused(bundle.user(5, 0), &["process.user.uid: 5 is not mapped"]);
}

fn an_unmapped_group_is_refused() {
    let bundle = map(Bundle::new(), &[(0, FIRST, 5)]).without_mount("/dev/pts");
    refused(bundle.user(0, 6), &["process.user.gid: 6 is not mapped"]);
}

fn an_unmapped_additional_group_is_refused() {
    let user = json!({ "uid": 0, "gid": 0, "additionalGids": [0, 65_536] });
    let place = "process.user.additionalGids[1]: 65536 is not mapped";
    refused(mapped().set("/process/user", user), &[place]);
}

/// config-linux.md: mappings are "from the host to the container" of a user namespace.
fn mappings_without_a_user_namespace_are_refused() {
    only_rt("crun and the old runc ignore them");
    let bundle = mapped().without_namespace("user");
    refused(bundle, &["linux.uidMappings", "user namespace"]);
    let bundle = mapped()
        .without_namespace("user")
        .remove("/linux/uidMappings");
    refused(bundle, &["linux.gidMappings"]);
}

fn a_user_namespace_without_mappings_is_refused() {
    differs(Kind::Crun, "it uses the caller's ids in /etc/subuid");
    refused(
        Bundle::new().namespace("user", None),
        &["linux.uidMappings: required"],
    );
    for empty in [json!([]), Value::Null] {
        let bundle = mapped().set("/linux/uidMappings", empty.clone());
        let bundle = bundle.set("/linux/gidMappings", empty);
        refused(bundle, &["linux.uidMappings: required"]);
    }
}

fn only_one_of_the_two_lists_is_refused() {
    differs(Kind::Crun, "it invents the missing one");
    refused(
        mapped().remove("/linux/uidMappings"),
        &["linux.uidMappings: required"],
    );
    refused(
        mapped().remove("/linux/gidMappings"),
        &["linux.gidMappings: required"],
    );
}

/// The same list for users and groups; the place is that of the users.
#[track_caller]
fn refused_list(entries: &[(u32, u32, u32)], texts: &[&str]) {
    refused(map(Bundle::new(), entries), texts);
    let bundle = mapped().set("/linux/gidMappings", mappings(entries));
    let texts: Vec<String> = texts
        .iter()
        .map(|text| text.replace("uid", "gid"))
        .collect();
    refused(
        bundle,
        &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

fn an_empty_range_is_refused() {
    refused_list(
        &[(0, FIRST, COUNT), (70_000, 1, 0)],
        &["linux.uidMappings[1]"],
    );
}

fn ranges_that_overlap_in_the_container_are_refused() {
    let place = "linux.uidMappings[1]";
    refused_list(&[(0, FIRST, 10), (9, 300_000, 10)], &[place]);
    refused_list(&[(5, FIRST, 10), (0, 300_000, 20)], &[place]);
    refused_list(
        &[(0, FIRST, 10), (20, 0, 1), (0, 300_000, 1)],
        &["linux.uidMappings[2]"],
    );
}

fn ranges_that_overlap_on_the_host_are_refused() {
    refused_list(
        &[(0, FIRST, 10), (10, FIRST + 9, 10)],
        &["linux.uidMappings[1]"],
    );
}

fn a_range_beyond_the_last_id_is_refused() {
    refused_list(
        &[(0, 4_294_967_290, 6)],
        &["linux.uidMappings[0]", "4294967290"],
    );
    refused_list(
        &[(0, 0, 1), (4_294_967_295, 7, 1)],
        &["linux.uidMappings[1]", "4294967295"],
    );
}

fn more_ranges_than_the_kernel_accepts_are_refused() {
    let ranges: Vec<(u32, u32, u32)> = (0..341).map(|n| (n, n, 1)).collect();
    refused_list(&ranges, &["linux.uidMappings", "340"]);
}

/// user_namespaces(7): the text of a map must be shorter than a page.
fn a_map_longer_than_the_kernel_accepts_is_refused() {
    let ranges: Vec<(u32, u32, u32)> = (0..200)
        .map(|n| (1_000_000_000 + n, 2_000_000_000 + n, 1))
        .collect();
    let bundle = map(Bundle::new(), &ranges).user(1_000_000_000, 1_000_000_000);
    refused(bundle.without_mount("/dev/pts"), &["linux.uidMappings"]);
}

fn joined(uids: &str, gids: &str) -> (Holder, Bundle) {
    let holder = Holder::with_maps(&["--user"], uids, gids);
    let bundle = Bundle::new().namespace("user", Some(&holder.path("user")));
    (holder, bundle)
}

/// The configuration was written for another user namespace.
fn mappings_that_differ_from_those_of_a_joined_user_namespace_are_refused() {
    only_rt("Debian's do not compare them");
    let maps = format!("0 {FIRST} {COUNT}");
    let (_holder, bundle) = joined(&maps, &maps);
    let other = mappings(&[(0, FIRST + 1, COUNT)]);
    let bundle = bundle.set("/linux/uidMappings", other.clone());
    let bundle = bundle.set("/linux/gidMappings", other);
    refused(bundle, &["linux.uidMappings"]);
}

fn a_joined_user_namespace_without_maps_is_refused() {
    differs(Kind::Crun, "it runs as nobody");
    let holder = Holder::new(&["--user"]);
    let bundle = Bundle::new().namespace("user", Some(&holder.path("user")));
    refused(bundle, &["linux.namespaces[5]"]);
}

/// setns(2) fails with EINVAL for the caller's own user namespace, so the runtime must not
/// enter it.
fn the_runtimes_own_user_namespace_can_be_joined_by_path() {
    only_rt("Debian's want mappings");
    let bundle = Bundle::new().namespace("user", Some("/proc/self/ns/user"));
    let seen = bundle.probe();
    assert_eq!(
        seen.namespace("user"),
        crate::harness::namespace_of("self", "user")
    );
    assert_eq!(seen["devices"]["null"]["uid"], 0);
}

fn a_user_that_a_joined_namespace_does_not_map_is_refused() {
    differs(Kind::Crun, "it runs as nobody");
    let maps = format!("0 {FIRST} 10");
    let (_holder, bundle) = joined(&maps, &maps);
    let bundle = bundle.without_mount("/dev/pts").user(10, 0);
    refused(bundle, &["process.user.uid", "10"]);
}

fn a_proc_mount_without_a_pid_namespace_is_refused() {
    differs(Kind::Crun, "it uses the host's");
    let bundle = mapped().without_namespace("pid");
    refused(bundle, &["mounts[0]", "/proc", "pid namespace"]);
}

fn a_sysfs_mount_without_a_network_namespace_is_refused() {
    differs(Kind::Crun, "it uses the host's");
    let bundle = mapped().without_namespace("network");
    refused(bundle, &["mounts[5]", "/sys", "network namespace"]);
}

fn an_mqueue_mount_without_an_ipc_namespace_is_refused() {
    differs(Kind::Crun, "it uses the host's");
    let bundle = mapped().without_namespace("ipc");
    refused(bundle, &["mounts[4]", "/dev/mqueue", "ipc namespace"]);
}

/// The template has gid=5, and the namespace maps one id.
fn a_devpts_mount_with_an_unmapped_gid_is_refused() {
    let bundle = map(Bundle::new(), &[(0, FIRST, 1)]);
    refused(bundle, &["mounts[2]", "gid=", "mapped"]);
}

fn a_file_system_that_only_root_on_the_host_can_mount_is_refused() {
    let mount = json!({ "destination": "/tmp", "type": "ext4", "source": "/dev/none" });
    refused(mapped().mount(mount), &["mounts[7]", "/tmp"]);
}

/// The root file system belongs to root on the host, which is not mapped.
fn a_mount_point_that_only_root_on_the_host_can_create_is_refused() {
    differs(
        Kind::Runc,
        "the old one makes them before it enters the namespace",
    );
    let mount = json!({ "destination": "/new/place", "type": "tmpfs", "source": "tmpfs" });
    refused(mapped().mount(mount), &["mounts[7]", "/new/place"]);
}
