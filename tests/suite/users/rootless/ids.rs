//! The ids that a user may map: its own and, with newuidmap(1), its subordinate ids.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::runner::Test;
use serde_json::json;

use super::callers::{COUNT, Caller, CallerKind, FIRST_SUBORDINATE, OTHER, USER};
use crate::harness::{Bundle, HostState, Kind, differs, only_rt, trials};
use crate::users::{mappings, numbers, refused};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_user_maps_its_own_id_without_newuidmap,
        a_user_may_map_its_own_id_to_any_container_id,
        setgroups_is_denied_when_only_the_users_group_is_mapped,
        subordinate_ids_are_mapped,
        subordinate_ids_can_be_mapped_without_the_users_own_id,
        processes_and_files_have_subordinate_ids_on_the_host,
        root_of_a_user_namespace_maps_the_ids_of_that_namespace,
        root_of_a_user_namespace_needs_no_new_user_namespace,
        a_rootless_manager_joins_the_namespaces_of_a_pod,
        a_rootless_manager_joins_a_pid_namespace_in_its_user_namespace,
        ids_of_other_users_are_refused,
        a_range_outside_the_subordinate_ids_is_refused,
        a_missing_newuidmap_is_reported,
        newuidmap_is_not_searched_in_path_or_bundle,
        an_unmapped_user_is_refused,
        a_user_without_subordinate_ids_is_told,
        ids_that_the_callers_namespace_lacks_are_named,
    ]
}

/// Sets the same mappings for users and groups.
fn mapped(bundle: Bundle, entries: &[(u32, u32, u32)]) -> Bundle {
    bundle
        .set("/linux/uidMappings", mappings(entries))
        .set("/linux/gidMappings", mappings(entries))
}

fn a_user_maps_its_own_id_without_newuidmap() {
    let caller = Caller::new(CallerKind::Plain);
    let seen = caller.bundle().probe();
    assert_eq!(numbers(&seen["uid_map"]), [(0, USER, 1)]);
    assert_eq!(numbers(&seen["gid_map"]), [(0, USER, 1)]);
    assert_eq!(seen["setgroups"], "deny");
}

fn a_user_may_map_its_own_id_to_any_container_id() {
    only_rt("Debian's want a mapping for 0");
    let caller = Caller::new(CallerKind::Plain);
    let bundle = mapped(caller.bundle(), &[(1000, USER, 1)]).user(1000, 1000);
    let seen = bundle.probe();
    assert_eq!(seen["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gids"], json!([1000, 1000, 1000, 1000]));
}

/// user_namespaces(7): an unprivileged user must deny setgroups(2) to map its own group.
fn setgroups_is_denied_when_only_the_users_group_is_mapped() {
    let caller = Caller::new(CallerKind::Plain);
    let user = json!({ "uid": 0, "gid": 0, "additionalGids": [0] });
    let bundle = caller
        .bundle()
        .set("/process/user", user)
        .args(&["/bin/true"]);
    let before = HostState::of(&bundle);
    let outcome = bundle.run().assert_refused("");
    if Kind::under_test() == Kind::Rt {
        let line = outcome.one_line();
        assert!(line.contains("process.user.additionalGids"), "{line}");
    }
    before.assert_unchanged(&bundle);
}

const OWN_AND_SUBORDINATE: [(u32, u32, u32); 2] = [(0, USER, 1), (1, FIRST_SUBORDINATE, COUNT)];

fn subordinate_ids_are_mapped() {
    let caller = Caller::new(CallerKind::Subordinate);
    let groups = match Kind::under_test() {
        // Rootless runc refuses additional groups.
        Kind::Runc => json!([]),
        _ => json!([5, 2000]),
    };
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": groups });
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE).set("/process/user", user);
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(numbers(&seen["uid_map"]), OWN_AND_SUBORDINATE);
    assert_eq!(numbers(&seen["gid_map"]), OWN_AND_SUBORDINATE);
    assert_eq!(seen["setgroups"], "allow");
    assert_eq!(seen["uids"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["groups"], groups);
    before.assert_unchanged(&bundle);
}

fn subordinate_ids_can_be_mapped_without_the_users_own_id() {
    differs(
        Kind::Runc,
        "it changes the owner of the standard streams too early",
    );
    let caller = Caller::new(CallerKind::Subordinate);
    let entries = [
        (0, FIRST_SUBORDINATE, 1000),
        (1000, FIRST_SUBORDINATE + 5000, 1),
    ];
    let bundle = mapped(caller.bundle(), &entries);
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(numbers(&seen["uid_map"]), entries);
    assert_eq!((&seen["uid"], &seen["groups"]), (&json!(0), &json!([])));
    let bundle = bundle.args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let pid = container.pid();
    assert_eq!(
        fs::metadata(format!("/proc/{pid}")).unwrap().uid(),
        FIRST_SUBORDINATE
    );
    // The caller may not signal this uid, but root of the user namespace that it owns may.
    container.end();
    before.assert_unchanged(&bundle);
}

fn processes_and_files_have_subordinate_ids_on_the_host() {
    let caller = Caller::new(CallerKind::Subordinate);
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE).writable();
    let bundle = bundle.capabilities(&["CAP_CHOWN"]);
    let bundle = bundle
        .sh("echo x > /made && busybox chown 1000:2000 /made && stat -c '%u %g' /made / /etc");
    let outcome = bundle.run().assert_ok();
    assert_eq!(outcome.stdout, "1000 2000\n0 0\n65534 65534\n");
    let made = fs::metadata(bundle.rootfs().join("made")).unwrap();
    assert_eq!(
        (made.uid(), made.gid()),
        (FIRST_SUBORDINATE + 999, FIRST_SUBORDINATE + 1999)
    );
}

fn root_of_a_user_namespace_maps_the_ids_of_that_namespace() {
    let caller = Caller::new(CallerKind::Manager);
    let entries = [(0, 1, 1000), (1000, 0, 1)];
    let bundle = mapped(caller.bundle(), &entries).user(1000, 7);
    let before = HostState::of(&bundle);
    let seen = bundle.probe();
    assert_eq!(numbers(&seen["uid_map"]), entries);
    assert_eq!((&seen["uid"], &seen["gid"]), (&json!(1000), &json!(7)));
    let bundle = bundle.args(&["/probe", "sleep"]);
    let container = bundle.run_detached();
    let owner = fs::metadata(format!("/proc/{}", container.pid())).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (USER, FIRST_SUBORDINATE + 7));
    container.end();
    before.assert_unchanged(&bundle);
}

/// Rootless managers such as Podman create the user namespace themselves.
fn root_of_a_user_namespace_needs_no_new_user_namespace() {
    for caller_kind in [CallerKind::NamespaceRoot, CallerKind::Manager] {
        let caller = Caller::new(caller_kind);
        let bundle = caller
            .bundle()
            .without_namespace("user")
            .remove("/linux/uidMappings")
            .remove("/linux/gidMappings");
        let before = HostState::of(&bundle);
        let seen = bundle.probe();
        assert_eq!(
            (&seen["uid"], &seen["pid"]),
            (&json!(0), &json!(1)),
            "{caller_kind:?}"
        );
        assert_eq!(seen["devices"]["null"]["type"], "c", "{caller_kind:?}");
        assert_eq!(seen.mount("/dev/null").root(), "/null");
        before.assert_unchanged(&bundle);
        if caller_kind == CallerKind::Manager {
            let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] });
            let seen = bundle.set("/process/user", user).probe();
            assert_eq!((&seen["uid"], &seen["groups"]), (&json!(1000), &json!([7])));
        }
    }
}

/// The second container joins the namespaces of the first, including its user namespace.
fn a_rootless_manager_joins_the_namespaces_of_a_pod() {
    for caller_kind in [
        CallerKind::Plain,
        CallerKind::Subordinate,
        CallerKind::Manager,
    ] {
        let caller = Caller::new(caller_kind);
        let first = caller.bundle().args(&["/probe", "sleep"]);
        let pid = first.run_detached().pid();
        let mut second = caller.bundle();
        for (kind, link) in [
            ("user", "user"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ] {
            second = second.namespace(kind, Some(&format!("/proc/{pid}/ns/{link}")));
        }
        let before = HostState::of(&second);
        let seen = second.probe();
        for link in ["user", "ipc", "uts", "pid"] {
            let theirs = crate::harness::namespace_of(&pid.to_string(), link);
            assert_eq!(seen.namespace(link), theirs, "{caller_kind:?}: {link}");
        }
        before.assert_unchanged(&second);
    }
}

/// Podman's containers share the user namespace that Podman has created. A runtime in it that has
/// set the pid namespace of a container for its children may not set the host's again, in which
/// hooks must run.
fn a_rootless_manager_joins_a_pid_namespace_in_its_user_namespace() {
    for caller_kind in [CallerKind::NamespaceRoot, CallerKind::Manager] {
        let caller = Caller::new(caller_kind);
        let bundle = || {
            let bundle = caller.bundle().without_namespace("user");
            bundle
                .remove("/linux/uidMappings")
                .remove("/linux/gidMappings")
        };
        let first = bundle().args(&["/probe", "sleep"]);
        let pid = first.run_detached().pid();
        let by_path = |kind| format!("/proc/{pid}/ns/{kind}");
        let second = bundle()
            .namespace("uts", Some(&by_path("uts")))
            .namespace("pid", Some(&by_path("pid")));
        let before = HostState::of(&second);
        let seen = second.probe();
        for link in ["uts", "pid"] {
            let theirs = crate::harness::namespace_of(&pid.to_string(), link);
            assert_eq!(seen.namespace(link), theirs, "{caller_kind:?}: {link}");
        }
        before.assert_unchanged(&second);
    }
}

/// newuidmap(1) lets a user map its own id and its subordinate ids only.
fn ids_of_other_users_are_refused() {
    let other = mappings(&[(0, OTHER, 1)]);
    let bundle = Caller::new(CallerKind::Subordinate).bundle();
    let texts = [
        "linux.uidMappings: newuidmap: uid range [0-1) -> [4002-4003) not allowed \
         (/etc/subuid grants lodger 500000:65536)",
    ];
    refused(bundle.set("/linux/uidMappings", other.clone()), &texts);
    // newuidmap(1) does not find this user in /etc/passwd.
    let bundle = Caller::new(CallerKind::Plain).bundle();
    let texts = ["linux.uidMappings: newuidmap: Cannot determine"];
    refused(bundle.set("/linux/uidMappings", other), &texts);
    let bundle = Caller::new(CallerKind::Subordinate).bundle();
    let groups = mappings(&[(0, USER, 1), (1, 0, 1)]);
    let bundle = mapped(bundle, &OWN_AND_SUBORDINATE).set("/linux/gidMappings", groups);
    refused(bundle, &["linux.gidMappings", "newgidmap", "not allowed"]);
}

fn a_range_outside_the_subordinate_ids_is_refused() {
    let caller = Caller::with_range("500000:10");
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE);
    refused(bundle, &["linux.uidMappings", "newuidmap", "not allowed"]);
    let bundle = mapped(caller.bundle(), &[(0, USER, 1), (1, FIRST_SUBORDINATE, 10)]);
    assert_eq!(
        numbers(&bundle.probe()["uid_map"]),
        [(0, USER, 1), (1, FIRST_SUBORDINATE, 10)]
    );
}

/// Hides newuidmap and newgidmap in a new mount namespace.
const WITHOUT_NEWUIDMAP: &str = "mount -t tmpfs none \"$0\" && mkdir \"$0/upper\" \"$0/work\" && \
    mount -t overlay -o \"lowerdir=/usr/bin,upperdir=$0/upper,workdir=$0/work\" none /usr/bin && \
    rm /usr/bin/newuidmap /usr/bin/newgidmap && exec \"$@\"";

fn a_missing_newuidmap_is_reported() {
    only_rt("the error text is rt's");
    let place = crate::harness::Directory::new();
    let before = [
        "unshare",
        "-m",
        "sh",
        "-c",
        WITHOUT_NEWUIDMAP,
        place.path().to_str().unwrap(),
    ];
    let caller = Caller::through(crate::harness::View::Host, CallerKind::Subordinate, &before);
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE);
    refused(
        bundle,
        &["linux.uidMappings", "newuidmap", "not installed", "uidmap"],
    );
    // The user can still map its own id.
    assert_eq!(numbers(&caller.bundle().probe()["uid_map"]), [(0, USER, 1)]);
}

/// The caller's PATH, its working directory and the image each have a program of that name.
fn newuidmap_is_not_searched_in_path_or_bundle() {
    only_rt("Debian's search PATH");
    let caller = Caller::new(CallerKind::Subordinate);
    let canary = caller.runtime.home().join("canary");
    let script = format!("#!/bin/sh\ntouch {}\nexit 0\n", canary.display());
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE)
        .executable("bin/newuidmap", &script)
        .executable("usr/bin/newuidmap", &script)
        .executable("../newuidmap", &script);
    chown(bundle.path().join("newuidmap"), Some(USER), Some(USER)).unwrap();
    let path = format!(
        "PATH={}:{}/bin:/usr/bin",
        bundle.path().display(),
        bundle.rootfs().display()
    );
    let call = bundle.probe_call(&[], &[]).with_word("PATH=", &path);
    let seen = call
        .with(|command| command.current_dir(bundle.path()))
        .assert_report();
    assert_eq!(numbers(&seen["uid_map"]), OWN_AND_SUBORDINATE);
    assert!(!canary.exists());
}

fn an_unmapped_user_is_refused() {
    let bundle = Caller::new(CallerKind::Plain).bundle().user(5, 0);
    refused(bundle, &["process.user.uid: 5 is not mapped"]);
}

fn a_user_without_subordinate_ids_is_told() {
    only_rt("the error text is rt's");
    let caller = Caller::with_range("other");
    let bundle = mapped(caller.bundle(), &OWN_AND_SUBORDINATE);
    let text = "linux.uidMappings: newuidmap: uid range [1-65537) -> [500000-565536) not allowed \
                (/etc/subuid grants lodger no ids; add the line lodger:100000:65536)";
    refused(bundle, &[text]);
}

/// Root of a user namespace may map the ids of that namespace only.
fn ids_that_the_callers_namespace_lacks_are_named() {
    only_rt("the error text is rt's");
    let caller = Caller::new(CallerKind::NamespaceRoot);
    let bundle = caller.bundle().namespace("user", None);
    let bundle = mapped(bundle, &[(0, 7, 2)]);
    let text = "operation not permitted (EPERM; the caller's user namespace does not have all 2 ids from hostID 7)";
    refused(bundle, &["linux.uidMappings: write to /proc/", text]);
}
