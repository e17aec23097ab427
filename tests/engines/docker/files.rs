//! Files: volumes and their propagation, tmpfs, copies, a read-only root.

use std::fs;
use std::path::Path;

use super::{Test, tests};
use crate::command;
use crate::dockerd::{BUSYBOX, Dockerd};
use crate::layer::{LayeredImage, RandomImage};

pub(super) fn all() -> Vec<Test> {
    tests![
        volume,
        volume_read_only,
        anonymous_volume,
        named_volume,
        volume_of_a_file,
        volumes_from,
        mount_bind,
        mount_tmpfs,
        mount_volume,
        tmpfs,
        read_only,
        propagation_private,
        propagation_slave,
        propagation_shared,
        copy_in_and_out,
        copy_from_a_running_container,
        no_such_source,
        mount_source_of_the_wrong_type,
        layer_of_rt_diff,
        random_layer_of_rt_diff,
    ]
}

/// Creates a directory on the host with a file in it.
fn directory(docker: &Dockerd, name: &str) -> String {
    let path = docker.path(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "from outside\n").unwrap();
    path.display().to_string()
}

fn volume(docker: &Dockerd) {
    let path = directory(docker, "volume");
    let output = docker.sh(
        &format!("-v {path}:/mnt/deep/in"),
        "cat /mnt/deep/in/file; echo inside > /mnt/deep/in/made",
    );
    assert_eq!(output, "from outside");
    assert_eq!(
        fs::read_to_string(format!("{path}/made")).unwrap(),
        "inside\n"
    );
}

fn volume_read_only(docker: &Dockerd) {
    let path = directory(docker, "volume_read_only");
    let output = docker.run(
        &format!("-v {path}:/mnt:ro"),
        &["sh", "-c", "cat /mnt/file; : > /mnt/made"],
    );
    assert_eq!(output.stdout, "from outside\n");
    assert!(
        output.status != 0 && output.stderr.contains("ead-only"),
        "{output:?}"
    );
}

/// Docker copies the image's files into a new volume.
fn anonymous_volume(docker: &Dockerd) {
    assert_eq!(
        docker.sh("-v /home", "ls /home; grep -c ' /home ' /proc/mounts"),
        "user\n1"
    );
}

fn named_volume(docker: &Dockerd) {
    docker.docker(&["volume", "create", "named"]).ok();
    docker.sh("-v named:/mnt", "echo kept > /mnt/file");
    assert_eq!(
        docker.sh("-v named:/elsewhere", "cat /elsewhere/file"),
        "kept"
    );
    docker.docker(&["volume", "rm", "named"]).ok();
}

fn volume_of_a_file(docker: &Dockerd) {
    let path = directory(docker, "volume_of_a_file");
    let output = docker.sh(
        &format!("-v {path}/file:/etc/passwd:ro -v {path}/file:/etc/new"),
        "cat /etc/passwd /etc/new",
    );
    assert_eq!(output, "from outside\nfrom outside");
}

fn volumes_from(docker: &Dockerd) {
    let container = docker.sleeper("volumes_from", "-v /shared");
    container.sh("echo theirs > /shared/file");
    assert_eq!(
        docker.sh("--volumes-from volumes_from", "cat /shared/file"),
        "theirs"
    );
}

fn mount_bind(docker: &Dockerd) {
    let path = directory(docker, "mount_bind");
    let options = format!("--mount type=bind,source={path},target=/mnt,readonly");
    let output = docker.run(&options, &["sh", "-c", "cat /mnt/file; : > /mnt/made"]);
    assert!(
        output.status != 0 && output.stdout == "from outside\n",
        "{output:?}"
    );
}

fn mount_tmpfs(docker: &Dockerd) {
    let options = "--mount type=tmpfs,target=/mnt,tmpfs-size=1048576,tmpfs-mode=1750";
    let output = docker.sh(
        options,
        "stat -c %a /mnt; df -k /mnt | tail -1 | awk '{print $2}'",
    );
    assert_eq!(output, "1750\n1024");
}

fn mount_volume(docker: &Dockerd) {
    let options = "--mount type=volume,target=/home";
    assert_eq!(docker.sh(options, "ls /home"), "user");
}

fn tmpfs(docker: &Dockerd) {
    let output = docker.sh(
        "--tmpfs /mnt:size=2m,mode=0711,uid=1000,noexec",
        "stat -c '%a %u' /mnt; df -k /mnt | tail -1 | awk '{print $2}'; grep ' /mnt ' /proc/mounts",
    );
    assert!(output.starts_with("711 1000\n2048\n"), "{output}");
    assert!(
        output.contains("noexec") && output.contains("nosuid") && output.contains("nodev"),
        "{output}"
    );
}

fn read_only(docker: &Dockerd) {
    let script = "for f in /tmp/a /run/a /etc/hosts /dev/shm/a; do touch $f && echo $f; done";
    let output = docker.run("--read-only --tmpfs /run", &["sh", "-c", script]);
    // `--read-only` makes Docker's own files, such as /etc/hosts, read-only too.
    assert_eq!(output.stdout, "/run/a\n/dev/shm/a\n", "{output:?}");
    assert!(
        output.stderr.contains("/tmp/a: Read-only file system"),
        "{output:?}"
    );
}

/// The content of a file on a file system that the host mounts below a volume after the container has started.
fn file_on_a_later_mount(docker: &Dockerd, name: &str) -> String {
    let path = directory(docker, name);
    fs::create_dir_all(format!("{path}/sub")).unwrap();
    docker.host.sh(&format!(
        "mount --bind {path} {path}; mount --make-shared {path}"
    ));
    let container = docker.sleeper(name, &format!("-v {path}:/mnt:{name}"));
    docker.host.sh(&format!(
        "mount -t tmpfs late {path}/sub; echo late > {path}/sub/file"
    ));
    let output = container.sh("cat /mnt/sub/file 2>/dev/null || echo nothing");
    drop(container);
    docker
        .host
        .sh(&format!("umount -l {path}/sub; umount -l {path}"));
    output
}

fn propagation_private(docker: &Dockerd) {
    assert_eq!(file_on_a_later_mount(docker, "rprivate"), "nothing");
}

fn propagation_slave(docker: &Dockerd) {
    assert_eq!(file_on_a_later_mount(docker, "rslave"), "late");
}

/// Mounts propagate in both directions.
fn propagation_shared(docker: &Dockerd) {
    assert_eq!(file_on_a_later_mount(docker, "rshared"), "late");
    let path = directory(docker, "both");
    fs::create_dir_all(format!("{path}/sub")).unwrap();
    docker.host.sh(&format!(
        "mount --bind {path} {path}; mount --make-shared {path}"
    ));
    let options =
        format!("--cap-add SYS_ADMIN --security-opt apparmor=unconfined -v {path}:/mnt:rshared");
    let container = docker.sleeper("both", &options);
    container.sh("mount -t tmpfs inside /mnt/sub && echo inside > /mnt/sub/file");
    assert_eq!(docker.host.sh(&format!("cat {path}/sub/file")), "inside");
    drop(container);
    docker
        .host
        .sh(&format!("umount -l {path}/sub; umount -l {path}"));
}

fn copy_in_and_out(docker: &Dockerd) {
    let path = directory(docker, "copy_in_and_out");
    let container = docker.container("copy");
    docker
        .docker(&["create", "--name", "copy", BUSYBOX, "cat", "/etc/copied"])
        .ok();
    docker
        .docker(&["cp", &format!("{path}/file"), "copy:/etc/copied"])
        .ok();
    assert_eq!(container.call("start -a", &[]).ok(), "from outside");
    docker
        .docker(&["cp", "copy:/etc/copied", &format!("{path}/back")])
        .ok();
    assert_eq!(
        fs::read_to_string(format!("{path}/back")).unwrap(),
        "from outside\n"
    );
}

fn copy_from_a_running_container(docker: &Dockerd) {
    let path = directory(docker, "copy_from_a_running_container");
    let container = docker.sleeper("copy_running", "-v /kept");
    docker
        .docker(&["cp", &format!("{path}/file"), "copy_running:/kept/"])
        .ok();
    assert_eq!(
        container.sh("cat /kept/file; echo changed > /etc/changed"),
        "from outside"
    );
    let mut client = docker.client();
    let archive = command::run(client.args(["cp", "copy_running:/etc/changed", "-"]));
    assert!(archive.stdout.contains("changed\n"), "{archive:?}");
}

fn no_such_source(docker: &Dockerd) {
    let output = docker
        .run(
            "--mount type=bind,source=/no/such/source,target=/mnt",
            &["true"],
        )
        .fails(125);
    assert!(output.contains("/no/such/source"), "{output}");
}

/// Docker adds its hint when the runtime's message contains "not a directory".
fn mount_source_of_the_wrong_type(docker: &Dockerd) {
    let path = directory(docker, "mount_source_of_the_wrong_type");
    for (source, target) in [
        (path.clone(), "/etc/passwd"),
        (format!("{path}/file"), "/bin"),
    ] {
        let volume = format!("-v {source}:{target}");
        let output = docker.run(&volume, &["true"]).fails(125);
        let help = "Are you trying to mount a directory onto a file (or vice-versa)?";
        assert!(output.contains("not a directory"), "{output}");
        assert!(output.contains(help), "{output}");
    }
}

/// The image's upper layer is what `rt diff --tar` has written.
fn layer_of_rt_diff(docker: &Dockerd) {
    let name = "localhost/layered";
    let image = LayeredImage::build(&docker.path("layer_of_rt_diff"), name);
    docker
        .docker(&["load", "-q", "-i", image.archive.to_str().unwrap()])
        .ok();
    let run = [&["run", "--rm"][..], &LayeredImage::arguments(name)];
    assert_eq!(docker.docker(&run.concat()).ok(), image.facts);
    docker.docker(&["rmi", name]).ok();
}

fn random_layer_of_rt_diff(docker: &Dockerd) {
    let name = "localhost/random";
    let image = RandomImage::build(&docker.path("random_layer_of_rt_diff"), name);
    docker
        .docker(&["load", "-q", "-i", image.archive.to_str().unwrap()])
        .ok();
    let container = docker.docker(&["run", "-d", name, "sleep", "1000"]).ok();
    let inspect = ["inspect", "-f", "{{.State.Pid}}", container.trim()];
    let pid = docker.docker(&inspect).ok();
    // The daemon is in a pid namespace of its own.
    let proc = format!("/proc/{}/root/proc", docker.host.init());
    image.assert_same_in(&Path::new(&proc).join(pid.trim()));
    docker.docker(&["rm", "-f", container.trim()]).ok();
    docker.docker(&["rmi", name]).ok();
}
