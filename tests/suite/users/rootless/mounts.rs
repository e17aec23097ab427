//! Mounts whose sources init opens, because a rootless runtime may not copy the host's mounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::runner::Test;
use serde_json::json;

use super::callers::{ALL, Caller, CallerKind, USER};
use crate::harness::{Directory, HostState, only_rt, trials};

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_bind_includes_an_earlier_mount_on_its_source,
        more_binds_than_the_descriptor_limit_work,
        long_mount_options_are_passed_to_the_file_system,
        a_directory_that_the_caller_may_not_search_is_named,
        layers_are_kept_and_volumes_are_made,
        a_layer_that_the_caller_cannot_read_is_refused,
    ]
}

fn a_bind_includes_an_earlier_mount_on_its_source() {
    only_rt("others open the sources before they mount");
    let volume = Directory::new();
    fs::write(volume.join("file"), "from the volume").unwrap();
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle();
        let data = bundle.rootfs().join("data");
        let bundle = bundle
            .folder("data")
            .folder("shown")
            .bind(volume.path(), "/data", &["rbind"])
            .bind(&data, "/shown", &["bind", "ro"])
            .sh("cat /shown/file");
        let before = HostState::of(&bundle);
        let said = bundle.run().assert_ok();
        assert_eq!(said.stdout, "from the volume", "{caller_kind:?}");
        before.assert_unchanged(&bundle);
    }
}

fn more_binds_than_the_descriptor_limit_work() {
    only_rt("others open the sources before they mount");
    let limited = ["sh", "-c", "ulimit -n 512; exec \"$@\"", "sh"];
    let volume = Directory::new();
    let run = json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" });
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = (0..600).fold(caller.bundle().mount(run.clone()), |bundle, n| {
            let source = volume.join(&n.to_string());
            fs::write(&source, n.to_string()).unwrap();
            bundle.bind(&source, &format!("/run/m{n}"), &["bind", "ro"])
        });
        let bundle = bundle.remove("/process/rlimits");
        let bundle = bundle.sh("cd /run; for n in 0 127 128 599; do cat m$n; echo; done");
        let before = HostState::of(&bundle);
        let said = bundle.call_through(&limited, "run", &[]).run().assert_ok();
        assert_eq!(said.stdout, "0\n127\n128\n599\n", "{caller_kind:?}");
        before.assert_unchanged(&bundle);
    }
}

fn long_mount_options_are_passed_to_the_file_system() {
    only_rt("the callers are those of rt");
    let size = format!("size={}200000", "0".repeat(300));
    for caller_kind in ALL {
        let tmpfs = json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", size] });
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle().folder("mnt").mount(tmpfs);
        let seen = bundle.probe().mount("/mnt");
        seen.assert_options(&["nosuid", "size=64k"]);
    }
}

fn a_directory_that_the_caller_may_not_search_is_named() {
    only_rt("the error text is rt's");
    let closed = Directory::new();
    fs::create_dir(closed.join("data")).unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let bundle = Caller::new(CallerKind::Plain).bundle();
    let at = closed.path().display();
    let text = format!(
        "bind {at}/data on /tmp: open the source: permission denied \
         (EACCES; {at} has mode 0700, owner 0:0; uid {USER} needs the x bit)"
    );
    let bundle = bundle.bind(&closed.join("data"), "/tmp", &["bind"]);
    bundle.args(&["/bin/true"]).assert_refused(&[&text]);
}

fn layers_are_kept_and_volumes_are_made() {
    only_rt("the annotations are rt's own");
    for caller_kind in ALL {
        let caller = Caller::new(caller_kind);
        let bundle = caller.bundle();
        let (top, volume) = (
            bundle.path().join("top"),
            bundle.path().join("volumes/data"),
        );
        fs::create_dir(&top).unwrap();
        fs::write(top.join("which"), "top\n").unwrap();
        let script = "cat /which; echo run >> /log; wc -l < /log; echo run >> /data/log; wc -l < /data/log; \
                      rm -f /old; test -e /old || echo gone";
        let bundle = bundle
            .writable()
            .file("old", "")
            .set("/annotations/rt.rootfs.lower", json!("top"))
            .set("/annotations/rt.rootfs.overlay", json!("changes"))
            .set("/annotations/rt.volumes.create", json!("true"))
            .bind(&volume, "/data", &["rbind"])
            .sh(script);
        let before = HostState::of(&bundle);
        for count in 1..3 {
            let said = bundle.run().assert_ok().stdout;
            assert_eq!(
                said,
                format!("top\n{count}\n{count}\ngone\n"),
                "{caller_kind:?}"
            );
        }
        before.assert_unchanged(&bundle);
        assert!(bundle.path().join("changes/upper/log").exists());
    }
}

fn a_layer_that_the_caller_cannot_read_is_refused() {
    only_rt("the annotation is rt's own");
    let caller = Caller::new(CallerKind::Plain);
    let bundle = caller.bundle();
    let top = bundle.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o700)).unwrap();
    let top = top.display();
    let bundle = bundle
        .set("/annotations/rt.rootfs.lower", json!("top"))
        .set("/annotations/rt.rootfs.overlay", json!("ephemeral"))
        .args(&["/bin/true"]);
    bundle.assert_refused(&[&format!(
        ": annotations: rt.rootfs.lower: {top}: permission denied (EACCES; {top} has mode 0700, owner 0:0; uid {USER} needs the x bit)"
    )]);
}
