//! File systems that are made of directories and devices of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::runner::Test;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::harness::{Bundle, Directory, HostState, Kind, differs, needs, only_rt, skip, trials};

pub(crate) fn tests() -> Vec<Test> {
    trials![
        an_overlay_merges_directories_of_the_host,
        an_overlay_without_an_upper_layer_works,
        an_overlay_in_a_user_namespace_works,
        long_layer_paths_work,
        an_overlay_with_many_long_layers_works,
        a_missing_layer_among_many_is_named,
        long_options_reach_a_file_system,
        options_longer_than_a_page_are_refused,
        long_options_reach_a_file_system_on_a_host_device,
        a_missing_layer_is_refused,
        an_unknown_option_of_an_overlay_is_refused,
        a_relative_layer_is_refused,
        a_block_device_of_the_host_is_mounted,
        a_missing_device_is_refused,
        a_path_as_the_source_of_a_virtual_file_system_is_ignored,
    ]
}

/// Directories for an overlay: `lower` and `second` with a file each, `upper` and `work`.
struct Layers(Directory);

impl Layers {
    /// On a tmpfs, because the host's root may be an overlay itself.
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

    /// The options that Podman passes for a volume with `:O`.
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

fn an_overlay_merges_directories_of_the_host() {
    let layers = Layers::new();
    let options = layers.options(&layers.path(""));
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(overlay(options))
        .sh(WRITING);
    let before = HostState::of(&bundle);
    assert_eq!(bundle.run().assert_ok().stdout, "lowerfile\nnew\n");
    before.assert_unchanged(&bundle);
    assert_eq!(layers.text("lower/file"), "lower");
    assert_eq!(layers.text("upper/file"), "inside\n");
    assert_eq!(layers.text("upper/new"), "new\n");
    let seen = bundle.probe().mount("/mnt");
    assert_eq!((seen.kind(), seen.source()), ("overlay", "overlay"));
    assert_eq!(seen.propagation(), "");
}

fn an_overlay_without_an_upper_layer_works() {
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

/// fsconfig(2) takes 255 bytes of a value; mount(2) takes more.
fn long_layer_paths_work() {
    let layers = Layers::new();
    let deep = layers.path(&"x".repeat(200)).join("y".repeat(200));
    layers.fill(&deep);
    let mut mount = overlay(layers.options(&deep));
    mount["source"] = json!(deep.join("merge"));
    let bundle = Bundle::new().folder("mnt").mount(mount).sh(WRITING);
    let before = HostState::of(&bundle);
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
    let error = refused_option("lowerdir=/nowhere/lower");
    bundle.assert_refused(&[&format!("mounts[{index}]{error}: not found (ENOENT)")]);
}

/// Options that the kernel checks before the clone are named in errors as well as later ones.
fn an_unknown_option_of_an_overlay_is_refused() {
    let layers = Layers::new();
    let mut options = layers.options(&layers.path(""));
    let option = "redirect_dir=sometimes";
    options.as_array_mut().unwrap().push(json!(option));
    let bundle = Bundle::new().folder("mnt").mount(overlay(options));
    let error = refused_option(option);
    bundle.assert_refused(&["mounts[", &format!("]{error}: invalid argument (EINVAL;")]);
}

/// Since Linux 6.5 overlayfs checks each option as it is set (fs/overlayfs/params.c), before that
/// all options at the end.
fn refused_option(option: &str) -> String {
    let name = nix::sys::utsname::uname().unwrap();
    let release = name.release().to_str().unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    if version >= (6, 5) {
        format!(".options: mount overlay on /mnt with {option:?}")
    } else {
        ": mount overlay on /mnt".to_owned()
    }
}

/// Layers that hold the files `0` to `39`; each has a file `top` too.
fn many_layers(layers: &Layers) -> Vec<String> {
    let layer = |n: usize| {
        let path = layers.path(&format!("a/rather/long/path/of/a/snapshot/{n}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(n.to_string()), "").unwrap();
        fs::write(path.join("top"), n.to_string()).unwrap();
        path.display().to_string()
    };
    (0..40).map(layer).collect()
}

fn an_overlay_with_many_long_layers_works() {
    differs(Kind::Crun, "it cannot pass more than fsconfig(2) takes");
    let layers = Layers::new();
    let list = format!("lowerdir={}", many_layers(&layers).join(":"));
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let bundle = || Bundle::new().folder("mnt").mount(overlay(json!([list])));
    let mapped = bundle()
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map);
    for bundle in [bundle(), mapped] {
        let bundle = bundle.sh("ls /mnt | busybox wc -l; cat /mnt/top");
        let before = HostState::of(&bundle);
        assert_eq!(bundle.run().assert_ok().stdout, "41\n0");
        before.assert_unchanged(&bundle);
    }
}

fn a_missing_layer_among_many_is_named() {
    let layers = Layers::new();
    let list = format!("lowerdir={}:/nowhere", many_layers(&layers).join(":"));
    let bundle = Bundle::new().folder("mnt").mount(overlay(json!([list])));
    let bundle = bundle.args(&["/bin/true"]);
    bundle.assert_refused(&["mounts[7]", "/mnt", ":/nowhere", "not found"]);
}

/// fsconfig(2) takes 255 bytes of each value, mount(2) one page of all options.
fn long_options_reach_a_file_system() {
    differs(Kind::Crun, "it cannot pass more than fsconfig(2) takes");
    let zeros = "0".repeat(300);
    let tmpfs = |source: &str| {
        json!({ "destination": "/mnt", "type": "tmpfs", "source": source,
            "options": ["nosuid", "noexec", format!("size={zeros}200000"), "mode=750", "rprivate"] })
    };
    for (source, flags) in [("short", &[][..]), (&"long".repeat(70), &["--no-pivot"])] {
        let bundle = Bundle::new().folder("mnt").mount(tmpfs(source));
        let before = HostState::of(&bundle);
        let seen = bundle.probe_with(flags).mount("/mnt");
        seen.assert_options(&["nosuid", "noexec", "size=64k", "mode=750"]);
        assert_eq!(seen.source(), source);
        before.assert_unchanged(&bundle);
    }
}

/// mount(2) would use the first page and ignore the rest.
fn options_longer_than_a_page_are_refused() {
    only_rt("other runtimes mount with truncated options");
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(json!({ "destination": "/mnt", "type": "tmpfs",
        "source": "tmpfs", "options": [format!("size={}1", "0".repeat(4100))] }));
    bundle
        .args(&["/bin/true"])
        .assert_refused(&["mounts[7]", "/mnt", "longer than 4095 bytes"]);
}

fn long_options_reach_a_file_system_on_a_host_device() {
    differs(Kind::Crun, "it cannot pass more than fsconfig(2) takes");
    let home = Directory::new();
    let device = ext4(&home.join("image"));
    let mount = json!({ "destination": "/mnt", "type": "ext4", "source": device.0,
        "options": [format!("stripe={}", "0".repeat(300)), "ro", "nodev"] });
    let bundle = Bundle::new().folder("mnt").mount(mount);
    let before = HostState::of(&bundle);
    let seen = bundle.probe().mount("/mnt");
    assert_eq!(seen.source(), device.0);
    seen.assert_options(&["ro", "nodev"]);
    before.assert_unchanged(&bundle);
}

fn a_relative_layer_is_refused() {
    only_rt("other runtimes resolve them from their working directory");
    let layers = Layers::new();
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(overlay(layers.options(Path::new("here"))));
    let text = "options: lowerdir=here/lower: not an absolute path";
    bundle.run().assert_refused(text);
}

/// A loop device that is detached when dropped.
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
            _ => skip("no loop device is available"),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["--detach", &self.0]).status());
    }
}

/// A loop device with a new ext4 file system.
fn ext4(image: &Path) -> Loop {
    fs::File::create(image).unwrap().set_len(4 << 20).unwrap();
    needs("mkfs.ext4", "e2fsprogs");
    let made = Command::new("mkfs.ext4").arg("-q").arg(image).status();
    assert!(made.unwrap().success(), "mkfs.ext4");
    Loop::new(image)
}

fn a_block_device_of_the_host_is_mounted() {
    let home = Directory::new();
    let device = ext4(&home.join("image"));
    let mount = |options: Value| json!({ "destination": "/mnt", "type": "ext4", "source": device.0, "options": options });
    let bundle = Bundle::new()
        .folder("mnt")
        .mount(mount(json!(["rw", "noatime"])));
    let before = HostState::of(&bundle);
    let bundle = bundle.sh("echo inside > /mnt/file; mount | busybox grep ' /mnt '");
    let output = bundle.run().assert_ok().stdout;
    assert!(
        output.starts_with(&format!("{} on /mnt type ext4 (rw,noatime", device.0)),
        "{output}"
    );
    before.assert_unchanged(&bundle);
    let bundle = Bundle::new().folder("mnt").mount(mount(json!(["ro"])));
    let bundle = bundle.sh("cat /mnt/file; /probe write /mnt/file x");
    assert_eq!(bundle.run().assert_ok().stdout, "inside\nEROFS\n");
}

fn a_missing_device_is_refused() {
    let mount = json!({ "destination": "/mnt", "type": "ext4", "source": "/dev/no-such-disk" });
    let bundle = Bundle::new().folder("mnt").mount(mount);
    let before = HostState::of(&bundle);
    bundle.run().assert_refused("mnt");
    before.assert_unchanged(&bundle);
}

/// Many configurations have an arbitrary source for file systems that have none.
fn a_path_as_the_source_of_a_virtual_file_system_is_ignored() {
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
