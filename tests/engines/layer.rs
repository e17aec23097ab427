//! An image whose upper layer comes from `rt diff --tar`: the engine's container has the files of the container that
//! the layer was made of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::changes::{self, Random};
use crate::command;
use crate::environment::Runtime;
use crate::image;
use crate::same::{assert_same, copy};

/// Changes files of the image in all the ways that a layer has a form for.
const CHANGES: &str = "
    cd /data
    echo new > added; echo more >> changed; rm deleted; chmod 4711 mode
    chown 1000:2000 owner; ln -s ../etc/passwd link; ln added hard; mkfifo fifo
    rm -r opaque; mkdir -m 700 opaque; echo new > opaque/new
    rm -r becomes-file; echo file > becomes-file; rm becomes-directory; mkdir becomes-directory
    long=$(printf '%0150d' 1); mkdir -p $long/$long; echo deep > $long/$long/file
    touch -d '2001-02-03 04:05:06' time; echo x > 'a b'; mv old-name new-name
    dd if=/dev/zero of=sparse bs=1 count=0 seek=30M 2>&1; echo end >> sparse
    chmod 711 /";

/// Prints types, modes, owners, times, links, contents and targets. Podman gives the root a mode of its own, so the
/// root is left out.
const FACTS: &str = "
    find /data -exec stat -c '%n %F %a %u:%g %Y' {} ';' | sort
    find /data -type f -exec stat -c '%n %h %s' {} ';' | sort
    find /data -type f -exec md5sum {} ';' | sort
    readlink /data/link";

/// An archive for `docker load`, and what [`FACTS`] prints in a container of it.
pub(crate) struct LayeredImage {
    pub(crate) archive: PathBuf,
    pub(crate) facts: String,
}

/// The same, after many random changes.
pub(crate) struct RandomImage {
    pub(crate) archive: PathBuf,
    /// A copy of the container's /data.
    expected: PathBuf,
}

impl LayeredImage {
    /// Makes an image with this name in `directory`.
    pub(crate) fn build(directory: &Path, name: &str) -> LayeredImage {
        let image = Image::new(directory);
        fill(&image.rootfs());
        let mut facts = String::new();
        let archive = image.archive(name, |container| {
            container.exec(&["sh", "-ec", CHANGES]);
            facts = container.exec(&["sh", "-c", FACTS]);
        });
        LayeredImage { archive, facts }
    }

    /// The arguments after `run --rm` that print the facts.
    pub(crate) fn arguments(name: &str) -> [&str; 4] {
        [name, "sh", "-c", FACTS]
    }
}

impl RandomImage {
    /// Makes an image with this name in `directory`.
    pub(crate) fn build(directory: &Path, name: &str) -> RandomImage {
        let image = Image::new(directory);
        let expected = directory.join("expected");
        fs::create_dir(image.rootfs().join("data")).unwrap();
        changes::fill(&image.rootfs().join("data"));
        let archive = image.archive(name, |container| {
            let data = container.root().join("data");
            changes::change(&data, 500, &mut Random::new(12));
            changes::add_sparse(&data);
            copy(&data, &expected);
        });
        // Go's `archive/tar` and what the engines make of it know no time before 1970.
        raise_times(&expected);
        RandomImage { archive, expected }
    }

    /// `process` is the directory in /proc of a process in a container of the image.
    ///
    /// # Panics
    /// When its files differ from those that were changed.
    #[track_caller]
    pub(crate) fn assert_same_in(&self, process: &Path) {
        assert_same(&self.expected, &process.join("root/data"));
    }
}

/// Sets times before 1970 to its beginning.
fn raise_times(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            raise_times(&entry.unwrap().path());
        }
    }
    if metadata.mtime() < 0 {
        let (here, zero) = (nix::fcntl::AT_FDCWD, TimeSpec::new(0, 0));
        utimensat(here, path, &zero, &zero, UtimensatFlags::NoFollowSymlink).unwrap();
    }
}

/// The directory in which an image is made.
struct Image<'a>(&'a Path);

impl Image<'_> {
    fn new(directory: &Path) -> Image<'_> {
        let _ = fs::remove_dir_all(directory); // From a first attempt.
        let image = Image(directory);
        fs::create_dir_all(directory.join("image")).unwrap();
        image::busybox(&image.rootfs());
        image
    }

    fn rootfs(&self) -> PathBuf {
        self.0.join("bundle/rootfs")
    }

    /// Makes an archive of two layers: the root, and what `change` does in a container of it.
    fn archive(&self, name: &str, change: impl FnOnce(&Container)) -> PathBuf {
        let (bundle, image) = (self.0.join("bundle"), self.0.join("image"));
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(self.rootfs())
            // With the nanoseconds of times.
            .arg("--format=posix")
            .arg("-cf")
            .arg(image.join("lower.tar"));
        command::run(tar.arg(".")).ok();
        let container = Container::start(&bundle);
        change(&container);
        container.rt(&[
            "diff",
            "--tar",
            image.join("upper.tar").to_str().unwrap(),
            &container.id,
        ]);
        drop(container);
        write_manifest(&image, name);
        let archive = self.0.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&image).arg("-cf").arg(&archive);
        tar.args(["manifest.json", "config.json", "lower.tar", "upper.tar"]);
        command::run(&mut tar).ok();
        archive
    }
}

fn fill(rootfs: &Path) {
    let data = rootfs.join("data");
    for name in ["opaque/old", "becomes-file/old"] {
        fs::create_dir_all(data.join(name)).unwrap();
    }
    for name in [
        "changed",
        "deleted",
        "mode",
        "owner",
        "opaque/file",
        "becomes-directory",
        "time",
        "old-name",
        "untouched",
    ] {
        fs::write(data.join(name), name).unwrap();
    }
}

/// A container on an overlay. Dropping it deletes it.
struct Container<'a> {
    bundle: &'a Path,
    id: String,
}

impl Container<'_> {
    fn start(bundle: &Path) -> Container<'_> {
        // The cgroup has this name, so no two containers may have the same.
        static CONTAINERS: AtomicU32 = AtomicU32::new(0);
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let id = format!("layer-{}-{number}", std::process::id());
        let container = Container { bundle, id };
        container.rt(&["spec"]);
        let config = bundle.join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["process"]["terminal"] = json!(false);
        let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"];
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(capabilities);
        }
        spec["root"]["readonly"] = json!(false);
        spec["annotations"] = json!({ "rt.rootfs.overlay": "ephemeral" });
        fs::write(&config, spec.to_string()).unwrap();
        container.rt(&["run", "--detach", &container.id]);
        container
    }

    fn rt(&self, args: &[&str]) -> String {
        let mut command = Command::new(Runtime::Rt.path());
        command
            .arg("--root")
            .arg(self.bundle.join("state"))
            .args(args);
        command::run(command.current_dir(self.bundle)).ok()
    }

    fn exec(&self, args: &[&str]) -> String {
        self.rt(&[&["exec", &self.id], args].concat())
    }

    /// Its root, through its process.
    fn root(&self) -> PathBuf {
        let state: Value = serde_json::from_str(&self.rt(&["state", &self.id])).unwrap();
        PathBuf::from(format!("/proc/{}/root", state["pid"]))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.rt(&["delete", "--force", &self.id]);
    }
}

/// Writes the configuration of the image and the manifest of `docker save`.
fn write_manifest(image: &Path, name: &str) {
    let digest = |layer: &str| {
        let output = command::run(Command::new("sha256sum").arg(image.join(layer))).ok();
        format!("sha256:{}", output.split(' ').next().unwrap_or_default())
    };
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [digest("lower.tar"), digest("upper.tar")] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [format!("{name}:latest")],
        "Layers": ["lower.tar", "upper.tar"],
    }]);
    fs::write(image.join("config.json"), config.to_string()).unwrap();
    fs::write(image.join("manifest.json"), manifest.to_string()).unwrap();
}
