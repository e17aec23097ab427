//! CheckpointContainer, and a container from the archive that it writes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use super::{Container, Pod};
use crate::checkpoint::COUNT;
use crate::command::{self, wait_until};
use crate::containerd::{Containerd, Test};
use crate::image;

pub(super) const TESTS: &[Test] = &[
    ("checkpoint", checkpoint),
    ("checkpoint_restored", restored),
];

fn counter(image: &str) -> Value {
    json!({ "image": { "image": image }, "command": ["sh", "-c", COUNT] })
}

/// The last number in the log.
fn counted(container: &Container) -> usize {
    let log = container.log();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let last = whole.lines().last().and_then(|line| line.split(' ').nth(3));
    last.map_or(0, |number| number.parse().unwrap())
}

#[track_caller]
fn wait_for_more(container: &Container) {
    let before = counted(container);
    wait_until("the container counts on", 30, || {
        counted(container) > before + 2
    });
}

/// Writes an archive. The container runs on.
#[track_caller]
fn archive(daemon: &Containerd, container: &Container) -> String {
    let file = format!("{}.tar", container.id);
    let file = daemon.scratch("archives").join(file);
    let location = file.to_str().unwrap();
    let request = json!({ "location": location, "timeout": 30 });
    container.call("CheckpointContainer", request);
    location.to_owned()
}

fn checkpoint(daemon: &Containerd) {
    let pod = Pod::new(daemon, "checkpoint");
    let container = pod.run("one", counter(crate::containerd::BUSYBOX));
    wait_for_more(&container);
    let pid = container.pid();
    let file = archive(daemon, &container);
    let listed = command::run(Command::new("tar").args(["-tf", &file])).ok();
    assert!(listed.contains("checkpoint/inventory.img"), "{listed}");
    wait_for_more(&container);
    assert_eq!(container.pid(), pid);
    assert_eq!(container.state(), "CONTAINER_RUNNING");
}

/// Another pod has a container whose image is the archive.
fn restored(daemon: &Containerd) {
    let image = pulled_image(daemon);
    let pod = Pod::new(daemon, "checkpoint_first");
    let container = pod.run("one", counter(&image));
    wait_for_more(&container);
    let before = counted(&container);
    let file = archive(daemon, &container);
    drop(pod);
    let pod = Pod::new(daemon, "checkpoint_second");
    let ends_if_started = json!({ "image": { "image": file }, "command": ["false"] });
    let container = pod.run("one", ends_if_started);
    wait_until("the container counts on", 30, || {
        counted(&container) > before + 2
    });
    assert_eq!(container.state(), "CONTAINER_RUNNING");
    assert_eq!(container.sh("echo in"), "in");
}

/// An image that containerd can pull by its digest, as it does before a restore. It has the layers and asks the registry
/// for the manifest only.
fn pulled_image(daemon: &Containerd) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!(
        "localhost:{}/checkpoint",
        listener.local_addr().unwrap().port()
    );
    let layer = image::busybox_archive(daemon.path());
    let config = json!({ "Env": ["PATH=/bin"], "Labels": { "name": name } });
    let tagged = format!("{name}:1");
    daemon.import("k8s.io", &tagged, &layer, &config);
    let ctr = |args: &[&str]| command::run(daemon.command("k8s.io").args(args)).ok();
    let table = ctr(&["image", "ls"]);
    let row = table.lines().find(|row| row.starts_with(&tagged)).unwrap();
    let columns: Vec<String> = row.split_whitespace().map(str::to_owned).collect();
    let (kind, digest) = (columns[1].clone(), columns[2].clone());
    ctr(&["image", "tag", &tagged, &format!("{name}@{digest}")]);
    let manifest = ctr(&["content", "get", &digest]);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _answered = answer(stream, &kind, &digest, &manifest);
        }
    });
    tagged
}

/// Answers any request with a manifest.
fn answer(stream: TcpStream, kind: &str, digest: &str, manifest: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let length = manifest.len();
    let body = if request.starts_with("GET") {
        manifest
    } else {
        ""
    };
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Docker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n{body}"
    )
}
