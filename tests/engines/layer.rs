//! An image whose upper layer comes from `rt diff --tar`: the engine's container has the files of the container that
//! the layer was made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::command;
use crate::environment::Runtime;
use crate::image;

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

impl LayeredImage {
    /// Makes an image with this name in `directory`.
    pub(crate) fn build(directory: &Path, name: &str) -> LayeredImage {
        let _ = fs::remove_dir_all(directory); // From a first attempt.
        let (bundle, image) = (directory.join("bundle"), directory.join("image"));
        let rootfs = bundle.join("rootfs");
        fs::create_dir_all(&image).unwrap();
        fill(&rootfs);
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(&rootfs)
            .arg("-cf")
            .arg(image.join("lower.tar"));
        command::run(tar.arg(".")).ok();
        let facts = change(&bundle, &image.join("upper.tar"));
        write_manifest(&image, name);
        let archive = directory.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&image).arg("-cf").arg(&archive);
        tar.args(["manifest.json", "config.json", "lower.tar", "upper.tar"]);
        command::run(&mut tar).ok();
        LayeredImage { archive, facts }
    }

    /// The arguments after `run --rm` that print the facts.
    pub(crate) fn arguments(name: &str) -> [&str; 4] {
        [name, "sh", "-c", FACTS]
    }
}

fn fill(rootfs: &Path) {
    image::busybox(rootfs);
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

/// Changes the files in a container on an overlay, and writes the layer. Returns the facts.
fn change(bundle: &Path, layer: &Path) -> String {
    let rt = |args: &[&str]| {
        let mut command = Command::new(Runtime::Rt.path());
        command.arg("--root").arg(bundle.join("state")).args(args);
        command::run(command.current_dir(bundle)).ok()
    };
    rt(&["spec"]);
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
    // The cgroup has this name, so no two containers may have the same.
    static CONTAINERS: AtomicU32 = AtomicU32::new(0);
    let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
    let id = format!("layer-{}-{number}", std::process::id());
    rt(&["run", "--detach", &id]);
    rt(&["exec", &id, "sh", "-ec", CHANGES]);
    let facts = rt(&["exec", &id, "sh", "-c", FACTS]);
    rt(&["diff", "--tar", layer.to_str().unwrap(), &id]);
    rt(&["delete", "--force", &id]);
    facts
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
