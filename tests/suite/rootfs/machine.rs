//! File systems that are made of the machine's directories and devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, Kind, Traces, differs, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        an_overlay_merges_directories_of_the_machine,
        an_overlay_may_have_lower_layers_alone,
        an_overlay_in_a_user_namespace_works,
        long_paths_of_layers_work,
        an_overlay_may_have_many_long_layers,
        a_missing_one_of_many_layers_is_named,
        options_of_any_length_reach_a_file_system,
        options_longer_than_a_page_are_refused,
        options_of_any_length_reach_a_device_of_the_machine,
        a_missing_layer_is_refused,
        an_unknown_option_of_an_overlay_is_refused,
        a_relative_layer_is_refused,
        a_device_of_the_machine_is_mounted,
        a_missing_device_is_refused,
        a_name_like_a_path_changes_nothing,
    ]
}

/// `lower` and `second` with a file each, `upper` and `work`, where an overlay can be.
struct Layers(Directory);

impl Layers {
    /// On a file system of their own: the machine's may be an overlay itself.
    fn new() -> Self {
        let directory = Directory::new();
        let (place, none) = (directory.path(), None::<&str>);
        mount(Some("layers"), place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let layers = Self(directory);
        layers.fill(&layers.path(""));
        layers
    }

    fn fill(&self, top: &Path) {
        for name in ["lower", "second", "upper", "work"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::write(top.join("lower/file"), "lower").unwrap();
        fs::write(top.join("second/other"), "second").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// As Podman writes it for a volume with `:O`.
    fn options(&self, top: &Path) -> Value {
        let of = |key: &str, name: &str| format!("{key}={}", top.join(name).display());
        json!([
            of("lowerdir", "lower"),
            of("upperdir", "upper"),
            of("workdir", "work"),
            "private",
        ])
    }
}

fn overlay(options: Value) -> Value {
    json!({ "destination": "/mnt", "type": "overlay", "source": "overlay", "options": options })
}

const WRITING: &str = "cat /mnt/file; echo inside > /mnt/file; echo new > /mnt/new; ls /mnt";

fn an_overlay_merges_directories_of_the_machine() {
    let layers = Layers::new();
    let options = layers.options(&layers.path(""));
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(overlay(options))
        .sh(WRITING);
    let before = Traces::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "lowerfile\nnew\n");
    before.assert_unchanged(&bundle);
    assert_eq!(layers.text("lower/file"), "lower");
    assert_eq!(layers.text("upper/file"), "inside\n");
    assert_eq!(layers.text("upper/new"), "new\n");
    let seen = bundle.probe().mount("/mnt");
    assert_eq!((seen.kind(), seen.source()), ("overlay", "overlay"));
    assert_eq!(seen.propagation(), "");
}

fn an_overlay_may_have_lower_layers_alone() {
    let layers = Layers::new();
    let list = ["lower", "second"].map(|name| layers.path(name).display().to_string());
    let options = json!([
        format!("lowerdir={}", list.join(":")),
        "ro",
        "nosuid",
        "nodev"
    ]);
    let bundle = Bundle::new().folder("mnt").mount(overlay(options));
    let seen = bundle.probe().mount("/mnt");
    seen.assert_options(&["ro", "nosuid", "nodev"]);
    let script = "cat /mnt/file /mnt/other; /probe write /mnt/file x";
    assert_eq!(
        bundle.sh(script).run().assert_ok().stdout,
        "lowersecondEROFS\n"
    );
}

fn an_overlay_in_a_user_namespace_works() {
    let layers = Layers::new();
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let options = layers.options(&layers.path(""));
    let bundle = Bundle::new()
        .mount(overlay(options))
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    assert_eq!(
        bundle.sh(WRITING).run().assert_ok().stdout,
        "lowerfile\nnew\n"
    );
    assert_eq!(layers.text("upper/new"), "new\n");
}

/// fsconfig(2) takes 255 bytes; mount(2) took more.
fn long_paths_of_layers_work() {
    let layers = Layers::new();
    let deep = layers.path(&"x".repeat(200)).join("y".repeat(200));
    layers.fill(&deep);
    let mut mount = overlay(layers.options(&deep));
    mount["source"] = json!(deep.join("merge"));
    let bundle = Bundle::new().folder("mnt").mount(mount).sh(WRITING);
    let before = Traces::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "lowerfile\nnew\n");
    before.assert_unchanged(&bundle);
    assert_eq!(fs::read_to_string(deep.join("upper/new")).unwrap(), "new\n");
}

fn a_missing_layer_is_refused() {
    let layers = Layers::new();
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(overlay(layers.options(Path::new("/nowhere"))));
    let index = bundle.config().items("/mounts").len() - 1;
    let named = refused_option("lowerdir=/nowhere/lower");
    bundle.assert_refused(&[&format!("mounts[{index}]{named}: not found (ENOENT)")]);
}

/// What the kernel looks at before the clone fails as clearly as what it looks at after.
fn an_unknown_option_of_an_overlay_is_refused() {
    let layers = Layers::new();
    let mut options = layers.options(&layers.path(""));
    let option = "redirect_dir=sometimes";
    options.as_array_mut().unwrap().push(json!(option));
    let bundle = Bundle::new().folder("mnt").mount(overlay(options));
    let named = refused_option(option);
    bundle.assert_refused(&["mounts[", &format!("]{named}: invalid argument (EINVAL)")]);
}

/// Since Linux 6.5 an overlay looks at each of its options as it comes (fs/overlayfs/params.c);
/// before, at all of them once the last is there.
fn refused_option(option: &str) -> String {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_str().unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    match version >= (6, 5) {
        true => format!(".options: mount overlay on /mnt with {option:?}"),
        false => ": mount overlay on /mnt".to_owned(),
    }
}

/// Layers with the files `0` to `39`; the file `top` is of the first.
fn many(layers: &Layers) -> Vec<String> {
    let layer = |n: usize| {
        let path = layers.path(&format!("a/rather/long/path/of/a/snapshot/{n}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(n.to_string()), "").unwrap();
        fs::write(path.join("top"), n.to_string()).unwrap();
        path.display().to_string()
    };
    (0..40).map(layer).collect()
}

fn an_overlay_may_have_many_long_layers() {
    differs(Kind::Crun, "it has no more room for them than fsconfig(2)");
    let layers = Layers::new();
    let list = format!("lowerdir={}", many(&layers).join(":"));
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let bundle = || Bundle::new().folder("mnt").mount(overlay(json!([list])));
    let mapped = bundle()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    for bundle in [bundle(), mapped] {
        let bundle = bundle.sh("ls /mnt | busybox wc -l; cat /mnt/top");
        let before = Traces::of(&bundle);
        assert_eq!(bundle.run().assert_ok().stdout, "41\n0");
        before.assert_unchanged(&bundle);
    }
}

fn a_missing_one_of_many_layers_is_named() {
    let layers = Layers::new();
    let list = format!("lowerdir={}:/nowhere", many(&layers).join(":"));
    let bundle = Bundle::new().folder("mnt").mount(overlay(json!([list])));
    let bundle = bundle.args(&["/bin/true"]);
    bundle.assert_refused(&["mounts[7]", "/mnt", ":/nowhere", "not found"]);
}

/// fsconfig(2) takes 255 bytes of each, mount(2) a page of all.
fn options_of_any_length_reach_a_file_system() {
    differs(Kind::Crun, "it has no more room for them than fsconfig(2)");
    let zeros = "0".repeat(300);
    let tmpfs = |source: &str| {
        json!({ "destination": "/mnt", "type": "tmpfs", "source": source,
            "options": ["nosuid", "noexec", format!("size={zeros}200000"), "mode=750", "rprivate"] })
    };
    for (source, flags) in [("short", &[][..]), (&"long".repeat(70), &["--no-pivot"])] {
        let bundle = Bundle::new().folder("mnt").mount(tmpfs(source));
        let before = Traces::of(&bundle);
        let seen = bundle.probe_with(flags).mount("/mnt");
        seen.assert_options(&["nosuid", "noexec", "size=64k", "mode=750"]);
        assert_eq!(seen.source(), source);
        before.assert_unchanged(&bundle);
    }
}

/// mount(2) would take the first page and leave the rest out.
fn options_longer_than_a_page_are_refused() {
    only_rt("others mount with what the kernel has cut off");
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(json!({ "destination": "/mnt", "type": "tmpfs",
        "source": "tmpfs", "options": [format!("size={}1", "0".repeat(4100))] }));
    bundle
        .args(&["/bin/true"])
        .assert_refused(&["mounts[7]", "/mnt", "longer than 4095 bytes"]);
}

fn options_of_any_length_reach_a_device_of_the_machine() {
    differs(Kind::Crun, "it has no more room for them than fsconfig(2)");
    let home = Directory::new();
    let device = ext4(&home.join("image"));
    let mount = json!({ "destination": "/mnt", "type": "ext4", "source": device.0,
        "options": [format!("stripe={}", "0".repeat(300)), "ro", "nodev"] });
    let bundle = Bundle::new().folder("mnt").mount(mount);
    let before = Traces::of(&bundle);
    let seen = bundle.probe().mount("/mnt");
    assert_eq!(seen.source(), device.0);
    seen.assert_options(&["ro", "nodev"]);
    before.assert_unchanged(&bundle);
}

fn a_relative_layer_is_refused() {
    only_rt("others start wherever they happen to be");
    let layers = Layers::new();
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(overlay(layers.options(Path::new("here"))));
    let text = "options: lowerdir=here/lower: not an absolute path";
    bundle.run().assert_refused(text);
}

/// A loop device, gone when dropped.
struct Loop(String);

impl Loop {
    fn new(image: &Path) -> Self {
        let out = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .output();
        match out {
            Ok(out) if out.status.success() => {
                Self(String::from_utf8_lossy(&out.stdout).trim().to_owned())
            }
            _ => skip("no loop device can be had here"),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["--detach", &self.0]).status());
    }
}

/// A device with a new file system, in an image of its own.
fn ext4(image: &Path) -> Loop {
    fs::File::create(image).unwrap().set_len(4 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(image).status();
    if !made.is_ok_and(|status| status.success()) {
        skip("no mkfs.ext4 here");
    }
    Loop::new(image)
}

fn a_device_of_the_machine_is_mounted() {
    let home = Directory::new();
    let device = ext4(&home.join("image"));
    let mount = |options: Value| json!({ "destination": "/mnt", "type": "ext4", "source": device.0, "options": options });
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(mount(json!(["rw", "noatime"])));
    let before = Traces::of(&bundle);
    let bundle = bundle.sh("echo inside > /mnt/file; mount | busybox grep ' /mnt '");
    let said = bundle.run().assert_ok().stdout;
    assert!(
        said.starts_with(&format!("{} on /mnt type ext4 (rw,noatime", device.0)),
        "{said}"
    );
    before.assert_unchanged(&bundle);
    let bundle = Bundle::new().folder("mnt").mount(mount(json!(["ro"])));
    let bundle = bundle.sh("cat /mnt/file; /probe write /mnt/file x");
    assert_eq!(bundle.run().assert_ok().stdout, "inside\nEROFS\n");
}

fn a_missing_device_is_refused() {
    let mount = json!({ "destination": "/mnt", "type": "ext4", "source": "/dev/no-such-disk" });
    let bundle = Bundle::new().folder("mnt").mount(mount);
    let before = Traces::of(&bundle);
    bundle.run().assert_refused("mnt");
    before.assert_unchanged(&bundle);
}

/// Many write the destination, or anything, as the source of what has none.
fn a_name_like_a_path_changes_nothing() {
    let mount = |kind: &str, place: &str| json!({ "destination": place, "type": kind, "source": "/nowhere" });
    let bundle = Bundle::new()
        .mount(mount("tmpfs", "/mnt"))
        .mount(mount("mqueue", "/queue"))
        .mount(mount("proc", "/proc"))
        .mount(mount("devpts", "/pts"));
    let script = "for p in /mnt /queue /proc /pts; do \
        mount | busybox grep -c \"^/nowhere on $p \"; done; cat /proc/1/comm; true";
    assert_eq!(
        bundle.sh(script).run().assert_ok().stdout,
        "1\n1\n1\n1\nsh\n"
    );
}
