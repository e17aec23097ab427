//! ID-mapped mounts: `idmap`, `ridmap`, `uidMappings` and `gidMappings`.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, Holder, HostState, only_rt, skip, trials};
use crate::security::sweep;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_mount_has_a_mapping_of_its_own,
        a_mapping_without_idmap_applies_to_one_mount,
        idmap_excludes_mounts_below,
        ridmap_includes_mounts_below,
        idmap_alone_uses_the_containers_user_namespace,
        idmap_alone_uses_a_joined_user_namespace,
        a_mapping_in_a_user_namespace_is_combined_with_its_own,
        several_mounts_have_different_mappings,
        other_options_apply_with_idmap,
        an_earlier_mount_on_the_source_is_mapped,
        mappings_can_have_several_ranges,
        an_exec_process_sees_the_mapped_owners,
        invalid_mappings_are_refused,
        idmap_on_other_than_bind_mounts_is_refused,
        a_file_system_without_idmap_support_is_refused,
        a_killed_create_leaves_nothing,
    ]
}

/// A tmpfs, which supports ID-mapped mounts on any host, with another one below it. Each holds a
/// file of root, one of 7:8, and one whose owner is in no mapping.
fn volume() -> Directory {
    only_rt("new in runc 1.2");
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

/// Maps ids from 0 on, in the file system, to ids from `outside` on.
fn map(outside: u32) -> Value {
    json!([{"containerID": 0, "hostID": outside, "size": 1000}])
}

/// A bundle with the volume on /mnt, mapped by `maps` if there are any.
fn mapped_bind(volume: &Path, options: &[&str], maps: Option<Value>) -> Bundle {
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
    let before = HostState::of(&bundle);
    let output = bundle.run().assert_ok().stdout;
    assert_eq!(output.lines().collect::<Vec<_>>(), owners);
    before.assert_unchanged(&bundle);
}

/// The overflow ids, which stand for ids without a mapping.
const OVERFLOW_IDS: &str = "65534:65534";

fn a_mount_has_a_mapping_of_its_own() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind", "idmap"], Some(map(3000)));
    let script = format!("{OWNERS}; touch /mnt/new; touch /mnt/below/new");
    let bundle = bundle.user(3005, 3006).sh(&script);
    fs::set_permissions(
        volume.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let output = bundle.run();
    let owners = "3000:3000\n3007:3008\n65534:65534\n0:0\n";
    assert_eq!(output.stdout, owners, "{output}");
    let new = fs::metadata(volume.join("new")).unwrap();
    assert_eq!(
        (new.uid(), new.gid()),
        (5, 6),
        "the owner of a new file is not mapped back"
    );
    // The user's own id has no mapping in the file system.
    let bundle = mapped_bind(volume.path(), &["bind", "idmap"], Some(map(3000)));
    let output = bundle.sh("touch /mnt/mine 2>&1").run();
    assert!(output.stdout.contains("Value too large"), "{output}");
}

fn a_mapping_without_idmap_applies_to_one_mount() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind"], Some(map(3000)));
    assert_owners(bundle, ["3000:3000", "3007:3008", OVERFLOW_IDS, "0:0"]);
}

fn idmap_excludes_mounts_below() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind", "idmap"], Some(map(3000)));
    assert_owners(bundle, ["3000:3000", "3007:3008", OVERFLOW_IDS, "0:0"]);
}

fn ridmap_includes_mounts_below() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind", "ridmap"], Some(map(3000)));
    assert_owners(
        bundle,
        ["3000:3000", "3007:3008", OVERFLOW_IDS, "3000:3000"],
    );
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map(100_000))
        .set("/linux/gidMappings", map(100_000))
}

/// Files of root in the volume belong to root in the container, and so do new ones.
fn idmap_alone_uses_the_containers_user_namespace() {
    let volume = volume();
    let bundle = in_user_namespace(mapped_bind(volume.path(), &["rbind", "ridmap"], None));
    assert_owners(bundle, ["0:0", "7:8", OVERFLOW_IDS, "0:0"]);
    let bundle = in_user_namespace(mapped_bind(volume.path(), &["rbind", "idmap"], None));
    bundle.sh("touch /mnt/new").run().assert_ok();
    assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), 0);
}

fn idmap_alone_uses_a_joined_user_namespace() {
    let volume = volume();
    let lines = "0 200000 1000";
    let holder = Holder::with_maps(&["--user"], lines, lines);
    let bundle = mapped_bind(volume.path(), &["rbind", "ridmap"], None);
    let bundle = bundle.namespace("user", Some(&holder.path("user")));
    assert_owners(bundle, ["0:0", "7:8", OVERFLOW_IDS, "0:0"]);
}

fn a_mapping_in_a_user_namespace_is_combined_with_its_own() {
    let volume = volume();
    // Id 7 is mapped to 100012, which is id 12 in the user namespace.
    let bundle = mapped_bind(volume.path(), &["rbind", "idmap"], Some(map(100_005)));
    let bundle = in_user_namespace(bundle);
    assert_owners(bundle, ["5:5", "12:13", OVERFLOW_IDS, OVERFLOW_IDS]);
}

/// Two of the mounts have the same mapping.
fn several_mounts_have_different_mappings() {
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
    let output = bundle.run().assert_ok().stdout;
    let mut seen: Vec<&str> = output.lines().collect();
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

fn other_options_apply_with_idmap() {
    let volume = volume();
    let options = ["rbind", "ro", "nosuid", "ridmap", "rnoexec", "rslave"];
    let seen = mapped_bind(volume.path(), &options, Some(map(3000))).probe();
    let mount = seen.mount("/mnt");
    for option in ["ro", "nosuid", "noexec", "idmapped"] {
        let has = mount.options().iter().any(|own| own == option);
        // mountinfo shows `idmapped` since Linux 6.15.
        assert!(
            has || option == "idmapped",
            "{option}: {:?}",
            mount.options()
        );
    }
    assert!(!seen.mount("/mnt/below").has("ro"));
}

fn an_earlier_mount_on_the_source_is_mapped() {
    let (volume, bundle) = (volume(), Bundle::new());
    let data = bundle.rootfs().join("data");
    let mut mount = json!({"destination": "/mnt", "source": data, "options": ["rbind,idmap"]});
    mount["uidMappings"] = map(3000);
    mount["gidMappings"] = map(3000);
    let bundle = bundle.folder("data").folder("mnt");
    let bundle = bundle.bind(volume.path(), "/data", &["rbind"]).mount(mount);
    assert_owners(bundle, ["3000:3000", "3007:3008", OVERFLOW_IDS, "0:0"]);
}

fn mappings_can_have_several_ranges() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind", "idmap"], Some(Value::Null))
        .set(
            "/mounts/7/uidMappings",
            json!([{"containerID": 0, "hostID": 10, "size": 7}, {"containerID": 7, "hostID": 40, "size": 1}]),
        )
        .set("/mounts/7/gidMappings", json!([{"containerID": 8, "hostID": 8, "size": 1}]));
    assert_owners(bundle, ["10:65534", "40:8", OVERFLOW_IDS, "0:0"]);
}

fn an_exec_process_sees_the_mapped_owners() {
    let volume = volume();
    let bundle = in_user_namespace(mapped_bind(volume.path(), &["rbind", "ridmap"], None));
    let (bundle, _container) = crate::exec::running(bundle);
    let output = crate::exec::sh(&bundle, &[], OWNERS);
    assert_eq!(output, format!("0:0\n7:8\n{OVERFLOW_IDS}\n0:0\n"));
}

fn invalid_mappings_are_refused() {
    only_rt("new in runc 1.2");
    let directory = Directory::new();
    let bind = |maps: Value| {
        mapped_bind(directory.path(), &["bind", "idmap"], None).set("/mounts/7/uidMappings", maps)
    };
    let place = "mounts[7].uidMappings";
    let both = |maps: &Value| bind(maps.clone()).set("/mounts/7/gidMappings", maps.clone());
    let entry =
        |inside: u32, size: u32| json!({"containerID": inside, "hostID": inside, "size": size});
    for (bundle, text) in [
        (
            mapped_bind(directory.path(), &["bind", "idmap"], None),
            "mounts[7].options: idmap: needs uidMappings and gidMappings, or a user namespace",
        ),
        (
            bind(map(1)),
            "mounts[7].gidMappings: required with mounts[7].uidMappings",
        ),
        (
            both(&json!([entry(0, 0)])),
            &format!("{place}[0].size: 0 maps no id"),
        ),
        (
            both(&json!([entry(0, 5), entry(4, 2)])),
            &format!("{place}[1]: overlaps [0]: containerID 4 to 5, and 0 to 4"),
        ),
        (
            both(&json!([entry(u32::MAX - 2, 9)])),
            &format!("{place}[0]: containerID 4294967293 and size 9 lead beyond the last id"),
        ),
    ] {
        bundle.args(&["/bin/true"]).assert_refused(&[text]);
    }
}

fn idmap_on_other_than_bind_mounts_is_refused() {
    only_rt("new in runc 1.2");
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

fn a_file_system_without_idmap_support_is_refused() {
    only_rt("new in runc 1.2");
    let bundle =
        mapped_bind("/sys".as_ref(), &["bind", "idmap"], Some(map(1))).args(&["/bin/true"]);
    bundle.assert_refused(&[
        "mounts[7]: bind /sys on /mnt: map its ids: invalid argument (EINVAL",
        "does this kernel map the ids of that file system?",
    ]);
}

fn a_killed_create_leaves_nothing() {
    let volume = volume();
    let bundle = mapped_bind(volume.path(), &["rbind", "ridmap"], Some(map(3000)));
    sweep(bundle, "create", |_| ());
}
