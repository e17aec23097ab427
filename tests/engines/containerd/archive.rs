//! Builds OCI image archives for `ctr image import`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::command;

const IMAGE: &str = "application/vnd.oci.image";

/// Builds an archive of one image with one layer in `directory`. `name` is the image reference, such as
/// `localhost/rt/busybox:1`; `config` is the `config` object of the image configuration.
pub(crate) fn make(directory: &Path, name: &str, layer: &Path, config: &Value) -> PathBuf {
    let tree = directory.join("archive");
    let blobs = tree.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let layer = blob(&blobs, &format!("{IMAGE}.layer.v1.tar"), layer);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = text(&blobs, &format!("{IMAGE}.config.v1+json"), &config);
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut manifest = text(&blobs, &format!("{IMAGE}.manifest.v1+json"), &manifest);
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(tree.join("index.json"), index.to_string()).unwrap();
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    fs::write(tree.join("oci-layout"), layout.to_string()).unwrap();

    let archive = directory.join("archive.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".");
    command::run(&mut tar).ok();
    fs::remove_dir_all(&tree).unwrap();
    archive
}

fn text(blobs: &Path, kind: &str, content: &Value) -> Value {
    let file = blobs.join("unnamed");
    fs::write(&file, content.to_string()).unwrap();
    let described = blob(blobs, kind, &file);
    fs::remove_file(&file).unwrap();
    described
}

/// Moves a file to the path of its digest and returns its descriptor.
fn blob(blobs: &Path, kind: &str, file: &Path) -> Value {
    let sum = command::run(Command::new("sha256sum").arg(file)).ok();
    let (digest, _) = sum.split_once(' ').unwrap();
    let place = blobs.join(digest);
    // Use a hard link, because a layer may be large.
    if fs::hard_link(file, &place).is_err() {
        fs::copy(file, &place).unwrap();
    }
    let size = place.metadata().unwrap().len();
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}

/// The architecture by its name in Go.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
