//! `idmap`, `ridmap`, `uidMappings` and `gidMappings` of a mount: whose files they are in the container.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, Holder, Traces, only_rt, skip, trials};
use crate::security::sweep;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_map_of_its_own,
        a_map_without_an_option_is_of_the_one_mount,
        idmap_leaves_out_what_is_mounted_below,
        ridmap_reaches_what_is_mounted_below,
        the_map_of_the_containers_user_namespace,
        the_map_of_a_joined_user_namespace,
        a_map_of_its_own_in_a_user_namespace,
        several_mounts_with_maps,
        other_options_hold_too,
        what_an_earlier_mount_put_on_the_source_is_mapped,
        users_and_groups_by_several_ranges,
        a_process_that_joins_sees_the_same,
        maps_that_are_none_are_refused,
        a_mount_that_is_no_bind_is_refused,
        a_file_system_that_maps_no_ids_is_refused,
        killed_anywhere_it_leaves_nothing,
    ]
}

/// A tmpfs, which maps ids wherever the tests run, with another one below it. In
/// both is a file of root, one of 7:8, and one whose owner no map here has.
fn volume() -> Directory {
    only_rt("came with runc 1.2");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    if version < (6, 3) {
        skip("this kernel does not map the ids of a tmpfs (Linux 6.3)");
    }
    let volume = Directory::new();
    for place in [volume.path(), &volume.join("below")] {
        let none = None::<&str>;
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for (name, uid, gid) in [("root", 0, 0), ("seven", 7, 8), ("far", 50_000, 50_000)] {
            fs::write(place.join(name), "").unwrap();
            chown(place.join(name), Some(uid), Some(gid)).unwrap();
        }
        fs::create_dir_all(volume.join("below")).unwrap();
    }
    volume
}

/// Ids from 0 on, as they are on the file system, become those from `outside` on.
fn map(outside: u32) -> Value {
    json!([{"containerID": 0, "hostID": outside, "size": 1000}])
}

/// A bundle with the volume on /mnt, mapped by `maps`, if there are any.
fn with(volume: &Path, options: &[&str], maps: Option<Value>) -> Bundle {
    let mut mount =
        json!({"destination": "/mnt", "type": "bind", "source": volume, "options": options});
    if let Some(maps) = maps {
        mount["uidMappings"] = maps.clone();
        mount["gidMappings"] = maps;
    }
    Bundle::new().folder("mnt").mount(mount)
}

const OWNERS: &str =
    "for f in /mnt/root /mnt/seven /mnt/far /mnt/below/root; do stat -c %u:%g $f; done";

#[track_caller]
fn assert_owners(bundle: Bundle, owners: [&str; 4]) {
    let bundle = bundle.sh(OWNERS);
    let before = Traces::of(&bundle);
    let said = bundle.run().assert_ok().stdout;
    assert_eq!(said.lines().collect::<Vec<_>>(), owners);
    before.assert_unchanged(&bundle);
}

/// Who has no id in a map.
const NOBODY: &str = "65534:65534";

fn a_map_of_its_own() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind", "idmap"], Some(map(3000)));
    let script = format!("{OWNERS}; touch /mnt/new; touch /mnt/below/new");
    let bundle = bundle.user(3005, 3006).sh(&script);
    fs::set_permissions(
        volume.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let said = bundle.run();
    let owners = "3000:3000\n3007:3008\n65534:65534\n0:0\n";
    assert_eq!(said.stdout, owners, "{said}");
    let new = fs::metadata(volume.join("new")).unwrap();
    assert_eq!(
        (new.uid(), new.gid()),
        (5, 6),
        "what it writes is mapped back"
    );
    // Its own id is none of the file system's.
    let bundle = with(volume.path(), &["bind", "idmap"], Some(map(3000)));
    let said = bundle.sh("touch /mnt/mine 2>&1").run();
    assert!(said.stdout.contains("Value too large"), "{said}");
}

fn a_map_without_an_option_is_of_the_one_mount() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind"], Some(map(3000)));
    assert_owners(bundle, ["3000:3000", "3007:3008", NOBODY, "0:0"]);
}

fn idmap_leaves_out_what_is_mounted_below() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind", "idmap"], Some(map(3000)));
    assert_owners(bundle, ["3000:3000", "3007:3008", NOBODY, "0:0"]);
}

fn ridmap_reaches_what_is_mounted_below() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind", "ridmap"], Some(map(3000)));
    assert_owners(bundle, ["3000:3000", "3007:3008", NOBODY, "3000:3000"]);
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map(100_000))
        .set("/linux/gidMappings", map(100_000))
}

/// A volume is root's inside as it is outside, and so is what root writes.
fn the_map_of_the_containers_user_namespace() {
    let volume = volume();
    let bundle = in_user_namespace(with(volume.path(), &["rbind", "ridmap"], None));
    assert_owners(bundle, ["0:0", "7:8", NOBODY, "0:0"]);
    let bundle = in_user_namespace(with(volume.path(), &["rbind", "idmap"], None));
    bundle.sh("touch /mnt/new").run().assert_ok();
    assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), 0);
}

fn the_map_of_a_joined_user_namespace() {
    let volume = volume();
    let lines = "0 200000 1000";
    let holder = Holder::with_maps(&["--user"], lines, lines);
    let bundle = with(volume.path(), &["rbind", "ridmap"], None);
    let bundle = bundle.namespace("user", Some(&holder.path("user")));
    assert_owners(bundle, ["0:0", "7:8", NOBODY, "0:0"]);
}

fn a_map_of_its_own_in_a_user_namespace() {
    let volume = volume();
    // What is 7 there is 100012 outside, which is 12 inside.
    let bundle = with(volume.path(), &["rbind", "idmap"], Some(map(100_005)));
    let bundle = in_user_namespace(bundle);
    assert_owners(bundle, ["5:5", "12:13", NOBODY, NOBODY]);
}

/// Two of them with the same maps.
fn several_mounts_with_maps() {
    let volume = volume();
    let mount = |place: &str, outside: u32| {
        json!({"destination": place, "source": volume.path(), "options": ["bind", "idmap"],
               "uidMappings": map(outside), "gidMappings": map(outside)})
    };
    let mounts = [("/one", 3000), ("/two", 4000), ("/three", 3000)];
    let bundle = mounts.iter().fold(Bundle::new(), |bundle, (place, outside)| {
        let plain = json!({"destination": format!("{place}-plain"), "source": volume.path(), "options": ["bind"]});
        bundle.mount(plain).mount(mount(place, *outside))
    });
    let bundle = bundle.writable().sh("stat -c '%n %u' /*/root");
    let said = bundle.run().assert_ok().stdout;
    let mut seen: Vec<&str> = said.lines().collect();
    seen.sort_unstable();
    let expected = [
        "/one-plain/root 0",
        "/one/root 3000",
        "/three-plain/root 0",
        "/three/root 3000",
        "/two-plain/root 0",
        "/two/root 4000",
    ];
    assert_eq!(seen, expected);
}

fn other_options_hold_too() {
    let volume = volume();
    let options = ["rbind", "ro", "nosuid", "ridmap", "rnoexec", "rslave"];
    let seen = with(volume.path(), &options, Some(map(3000))).probe();
    let mount = seen.mount("/mnt");
    for option in ["ro", "nosuid", "noexec", "idmapped"] {
        let has = mount.options().iter().any(|own| own == option);
        // Linux 6.15 began to show it.
        assert!(
            has || option == "idmapped",
            "{option}: {:?}",
            mount.options()
        );
    }
    assert!(!seen.mount("/mnt/below").has("ro"));
}

fn what_an_earlier_mount_put_on_the_source_is_mapped() {
    let (volume, bundle) = (volume(), Bundle::new());
    let data = bundle.rootfs().join("data");
    let mut mount = json!({"destination": "/mnt", "source": data, "options": ["rbind,idmap"]});
    mount["uidMappings"] = map(3000);
    mount["gidMappings"] = map(3000);
    let bundle = bundle.folder("data").folder("mnt");
    let bundle = bundle.bind(volume.path(), "/data", &["rbind"]).mount(mount);
    assert_owners(bundle, ["3000:3000", "3007:3008", NOBODY, "0:0"]);
}

fn users_and_groups_by_several_ranges() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind", "idmap"], Some(Value::Null))
        .set(
            "/mounts/7/uidMappings",
            json!([{"containerID": 0, "hostID": 10, "size": 7}, {"containerID": 7, "hostID": 40, "size": 1}]),
        )
        .set("/mounts/7/gidMappings", json!([{"containerID": 8, "hostID": 8, "size": 1}]));
    assert_owners(bundle, ["10:65534", "40:8", NOBODY, "0:0"]);
}

fn a_process_that_joins_sees_the_same() {
    let volume = volume();
    let bundle = in_user_namespace(with(volume.path(), &["rbind", "ridmap"], None));
    let (bundle, _container) = crate::exec::running(bundle);
    let said = crate::exec::sh(&bundle, &[], OWNERS);
    assert_eq!(said, format!("0:0\n7:8\n{NOBODY}\n0:0\n"));
}

fn maps_that_are_none_are_refused() {
    only_rt("came with runc 1.2");
    let directory = Directory::new();
    let bind = |maps: Value| {
        with(directory.path(), &["bind", "idmap"], None).set("/mounts/7/uidMappings", maps)
    };
    let place = "mounts[7].uidMappings";
    let both = |maps: &Value| bind(maps.clone()).set("/mounts/7/gidMappings", maps.clone());
    let entry =
        |inside: u32, size: u32| json!({"containerID": inside, "hostID": inside, "size": size});
    for (bundle, text) in [
        (
            with(directory.path(), &["bind", "idmap"], None),
            "mounts[7].options: idmap: needs uidMappings and gidMappings, or a user namespace",
        ),
        (
            bind(map(1)),
            "mounts[7].gidMappings: required with mounts[7].uidMappings",
        ),
        (
            both(&json!([entry(0, 0)])),
            &format!("{place}[0]: maps no id"),
        ),
        (
            both(&json!([entry(0, 5), entry(4, 2)])),
            &format!("{place}[1]: maps an id of [0] again"),
        ),
        (
            both(&json!([entry(u32::MAX - 2, 9)])),
            &format!("{place}[0]: containerID 4294967293 and size 9 lead beyond the last id"),
        ),
    ] {
        bundle.args(&["/bin/true"]).assert_refused(&[text]);
    }
}

fn a_mount_that_is_no_bind_is_refused() {
    only_rt("came with runc 1.2");
    for kind in ["tmpfs", "proc", "cgroup", "mqueue"] {
        let target = if kind == "proc" { "/proc" } else { "/mnt" };
        let mount = json!({"destination": target, "type": kind, "source": kind, "options": ["idmap"],
                           "uidMappings": map(1), "gidMappings": map(1)});
        let bundle = Bundle::new()
            .folder("mnt")
            .mount(mount)
            .args(&["/bin/true"]);
        bundle.assert_refused(&[
            "mounts[7]",
            "idmap: only the ids of a bind mount can be mapped",
        ]);
    }
}

fn a_file_system_that_maps_no_ids_is_refused() {
    only_rt("came with runc 1.2");
    let bundle = with("/sys".as_ref(), &["bind", "idmap"], Some(map(1))).args(&["/bin/true"]);
    bundle.assert_refused(&[
        "mounts[7]: map the ids of /mnt: invalid argument (EINVAL",
        "does this kernel map the ids of that file system?",
    ]);
}

fn killed_anywhere_it_leaves_nothing() {
    let volume = volume();
    let bundle = with(volume.path(), &["rbind", "ridmap"], Some(map(3000)));
    sweep(bundle, "create", |_| ());
}
