//! Volumes, mounts, secrets, copies, commits and builds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::RunAs::{Both, Root};
use super::{IMAGE, Podman, Test};
use crate::layer::{LayeredImage, RandomImage};

pub(super) const TESTS: &[Test] = &[
    ("volume", Both, volume),
    ("volume_read_only", Both, volume_read_only),
    ("volume_named", Both, volume_named),
    ("volume_options", Both, volume_options),
    ("volume_propagation", Root, volume_propagation),
    ("volume_overlay", Both, volume_overlay),
    ("volume_chowned", Root, volume_chowned),
    ("volume_relabelled", Both, volume_relabelled),
    ("volume_idmapped", Root, volume_idmapped),
    ("volumes_from", Both, volumes_from),
    ("volume_of_a_file", Both, volume_of_a_file),
    ("mount_of_an_image", Both, mount_of_an_image),
    ("tmpfs", Both, tmpfs),
    ("workdir", Both, workdir),
    ("hosts_and_resolv", Both, hosts),
    ("env", Both, env),
    ("secrets", Both, secrets),
    ("copy", Both, copy),
    ("diff", Both, diff),
    ("commit", Both, commit),
    ("export_and_import", Both, export),
    ("rootfs", Both, rootfs),
    ("build", Both, build),
    ("layer_of_rt_diff", Both, layer_of_rt_diff),
    ("random_layer_of_rt_diff", Root, random_layer_of_rt_diff),
];

fn volume(p: &Podman) {
    let files = p.files("volume");
    fs::write(files.join("in"), "seen").unwrap();
    let option = format!("{}:/data", files.display());
    assert_eq!(
        p.sh(&["-v", &option], "cat /data/in; echo back >/data/out"),
        "seen"
    );
    assert_eq!(fs::read_to_string(files.join("out")).unwrap(), "back\n");
    let owner = p.user().map_or(0, |user| user.uid);
    assert_eq!(fs::metadata(files.join("out")).unwrap().uid(), owner);
}

fn volume_read_only(p: &Podman) {
    let files = p.files("volume_read_only");
    let option = format!("{}:/data:ro", files.display());
    let output = p.run(&["-v", &option], "touch /data/x").fails(1);
    assert!(output.contains("Read-only file system"), "{output}");
    let option = format!("type=bind,src={},dst=/data,ro", files.display());
    p.run(&["--mount", &option], "touch /data/x").fails(1);
}

fn volume_named(p: &Podman) {
    p.ok(&["volume", "create", "named"]);
    p.sh(&["-v", "named:/data"], "echo kept >/data/file");
    assert_eq!(p.sh(&["-v", "named:/other"], "cat /other/file"), "kept");
    // Podman copies the image's files into a new volume.
    assert_eq!(
        p.sh(&["-v", "copied:/etc"], "head -n 1 /etc/group"),
        "root:x:0:"
    );
    p.ok(&["volume", "rm", "named", "copied"]);
}

fn volume_options(p: &Podman) {
    let files = p.files("volume_options");
    let option = format!("{}:/data:nodev,noexec,nosuid", files.display());
    let output = p.sh(
        &["-v", &option],
        "grep ' /data ' /proc/self/mounts; cp /bin/busybox /data/echo; /data/echo ran 2>&1 || true",
    );
    assert!(output.contains("nosuid,nodev,noexec"), "{output}");
    assert!(output.ends_with("Permission denied"), "{output}");
}

/// The host's root mount may be private, so the test mounts in another mount namespace.
fn volume_propagation(p: &Podman) {
    let files = p.files("volume_propagation");
    let name = "volume_propagation";
    let script = r#"
        set -e
        mount --bind "$FILES" "$FILES"; mount --make-shared "$FILES"; mkdir "$FILES/sub" "$FILES/back"
        "$@" run -d --name $NAME --cap-add SYS_ADMIN --security-opt seccomp=unconfined -v "$FILES:/data:$HOW" IMAGE sleep 1000 >/dev/null
        mount -t tmpfs none "$FILES/sub"; echo from outside >"$FILES/sub/file"
        "$@" exec $NAME cat /data/sub/file || true
        "$@" exec $NAME mount -t tmpfs none /data/back && "$@" exec $NAME touch /data/back/inside
        ls "$FILES/back"
        "$@" rm -f -t 0 $NAME >/dev/null; umount "$FILES/sub"; rmdir "$FILES/sub"
    "#;
    let script = script.replace("IMAGE", IMAGE);
    for (how, seen) in [
        ("rslave", "from outside"),
        ("rshared", "from outside\ninside"),
        ("rprivate", ""),
    ] {
        let inner = p.command(&[]);
        let mut shell = std::process::Command::new("unshare");
        shell.args(["-m", "sh", "-c", &script, "sh"]);
        shell.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            shell.env(name, value.unwrap());
        }
        let files = files.join(how);
        fs::create_dir(&files).unwrap();
        shell.env("FILES", &files).env("NAME", name).env("HOW", how);
        assert_eq!(crate::command::run(&mut shell).ok(), seen, "{how}");
    }
}

fn volume_overlay(p: &Podman) {
    let files = p.files("volume_overlay");
    fs::write(files.join("in"), "seen").unwrap();
    p.chown(&files.join("in"));
    let option = format!("{}:/data:O", files.display());
    let output = p.sh(
        &["-v", &option],
        "cat /data/in; echo changed >/data/in; cat /data/in",
    );
    assert_eq!(output, "seenchanged");
    assert_eq!(fs::read_to_string(files.join("in")).unwrap(), "seen");
}

fn volume_chowned(p: &Podman) {
    let files = p.files("volume_chowned");
    let option = format!("{}:/data:U", files.display());
    let options = ["-v", &option, "--user", "user"];
    assert_eq!(
        p.sh(&options, "touch /data/mine; stat -c %u:%g /data /data/mine"),
        "1000:1000\n1000:1000"
    );
}

fn volume_relabelled(p: &Podman) {
    let files = p.files("volume_relabelled");
    for label in ["z", "Z"] {
        let option = format!("{}:/data:{label}", files.display());
        p.sh(&["-v", &option], "touch /data/x");
    }
}

fn volume_idmapped(p: &Podman) {
    let files = p.files("volume_idmapped");
    let option = format!("{}:/data:idmap", files.display());
    let options = [
        "--uidmap",
        "0:300000:5000",
        "--gidmap",
        "0:300000:5000",
        "-v",
        &option,
    ];
    assert_eq!(p.sh(&options, "stat -c %u /data; touch /data/x"), "0");
    assert_eq!(fs::metadata(files.join("x")).unwrap().uid(), 0);
}

fn volumes_from(p: &Podman) {
    let c = p.start(
        "volumes_from",
        &["-v", "/shared"],
        "echo from >/shared/file; sleep 1000",
    );
    let output = p.sh(
        &["--volumes-from", &c.name],
        "until cat /shared/file 2>/dev/null; do sleep 0.1; done",
    );
    assert_eq!(output, "from");
}

fn volume_of_a_file(p: &Podman) {
    let files = p.files("volume_of_a_file");
    fs::write(files.join("file"), "single").unwrap();
    let option = format!("{}:/etc/new/file:ro", files.join("file").display());
    assert_eq!(p.sh(&["-v", &option], "cat /etc/new/file"), "single");
}

fn mount_of_an_image(p: &Podman) {
    let option = format!("type=image,src={IMAGE},dst=/image,rw=true");
    assert_eq!(
        p.sh(
            &["--mount", &option],
            "head -n 1 /image/etc/group; touch /image/x"
        ),
        "root:x:0:"
    );
}

fn tmpfs(p: &Podman) {
    let output = p.sh(
        &["--tmpfs", "/scratch:size=2m,mode=1770,noexec"],
        "stat -c %a /scratch; grep ' /scratch ' /proc/mounts",
    );
    assert!(output.starts_with("1770\n"), "{output}");
    assert!(
        output.contains("size=2048k") && output.contains("noexec"),
        "{output}"
    );
    let output = p.sh(
        &["--mount", "type=tmpfs,dst=/etc,tmpcopyup"],
        "ls /etc/group",
    );
    assert_eq!(output, "/etc/group");
}

fn workdir(p: &Podman) {
    assert_eq!(p.sh(&["-w", "/home/user"], "pwd"), "/home/user");
    // Since version 3.0 Podman does not create a missing working directory.
    p.run(&["-w", "/absent"], "pwd").fails(126);
}

fn hosts(p: &Podman) {
    let options = [
        "--add-host",
        "other:10.1.2.3",
        "--hostname",
        "me",
        "--dns",
        "10.9.8.7",
    ];
    let output = p.sh(
        &[&options[..], &["--network", "slirp4netns"]].concat(),
        "cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname",
    );
    assert!(
        output.contains("10.1.2.3") && output.contains("10.9.8.7"),
        "{output}"
    );
    assert!(output.ends_with("\nmeme"), "{output}");
}

fn env(p: &Podman) {
    let files = p.files("env");
    fs::write(files.join("list"), "FROM_FILE=1\n").unwrap();
    let list = files.join("list");
    let options = [
        "-e",
        "A=b c",
        "--env-file",
        list.to_str().unwrap(),
        "--unsetenv",
        "TERM",
    ];
    assert_eq!(
        p.sh(&options, "echo $A $FROM_FILE \"<$TERM>\" $PATH $container"),
        "b c 1 <> /bin podman"
    );
}

fn secrets(p: &Podman) {
    let file = p.files("secrets").join("word");
    fs::write(&file, "the word").unwrap();
    p.ok(&["secret", "create", "hidden", file.to_str().unwrap()]);
    let options = [
        "--secret",
        "hidden,mode=0400",
        "--secret",
        "hidden,type=env,target=WORD",
    ];
    let script = "cat /run/secrets/hidden; echo; echo $WORD; stat -c %a /run/secrets/hidden";
    assert_eq!(p.sh(&options, script), "the word\nthe word\n400");
    p.ok(&["secret", "rm", "hidden"]);
}

fn copy(p: &Podman) {
    let files = p.files("copy");
    fs::write(files.join("in"), "going in").unwrap();
    p.chown(&files.join("in"));
    let c = p.start(
        "copy",
        &["-v", "copied-to:/volume", "--tmpfs", "/mem"],
        "sleep 1000",
    );
    let inside = |path: &str| format!("copy:{path}");
    for place in ["/tmp/in", "/volume/in"] {
        p.ok(&["cp", files.join("in").to_str().unwrap(), &inside(place)]);
        assert_eq!(c.sh(&[], &format!("cat {place}")), "going in");
    }
    c.sh(&[], "echo coming out >/tmp/out");
    p.ok(&[
        "cp",
        &inside("/tmp/out"),
        files.join("out").to_str().unwrap(),
    ]);
    assert_eq!(
        fs::read_to_string(files.join("out")).unwrap(),
        "coming out\n"
    );
}

fn diff(p: &Podman) {
    let c = p.start(
        "diff",
        &[],
        "echo >/added; rm /etc/group; echo >>/etc/passwd; sleep 1000",
    );
    crate::command::wait_until("the changes are written", 10, || {
        c.exec(&[], "tail -n 1 /etc/passwd").stdout == "\n"
    });
    let output = p.ok(&["diff", &c.name]);
    for line in ["A /added", "D /etc/group", "C /etc/passwd"] {
        assert!(output.lines().any(|seen| seen == line), "{output}");
    }
}

fn commit(p: &Podman) {
    let c = p.start("commit", &[], "echo kept >/file; sleep 1000");
    crate::command::wait_until("the file is written", 10, || {
        c.exec(&[], "test -s /file").status == 0
    });
    p.ok(&[
        "commit",
        "-q",
        "-c",
        "CMD [\"cat\", \"/file\"]",
        &c.name,
        "localhost/committed",
    ]);
    assert_eq!(c.inspect("{{.State.Status}}"), "running");
    assert_eq!(p.ok(&["run", "--rm", "localhost/committed"]), "kept");
    p.ok(&["rmi", "localhost/committed"]);
}

fn export(p: &Podman) {
    let files = p.files("export");
    let archive = files.join("all.tar");
    let archive = archive.to_str().unwrap();
    let c = p.start("export", &[], "echo kept >/file");
    p.ok(&["wait", &c.name]);
    p.ok(&["export", "-o", archive, &c.name]);
    p.ok(&[
        "import",
        "-q",
        "-c",
        "ENV PATH=/bin",
        archive,
        "localhost/exported",
    ]);
    assert_eq!(
        p.ok(&["run", "--rm", "localhost/exported", "cat", "/file"]),
        "kept"
    );
    p.ok(&["rmi", "localhost/exported"]);
}

fn rootfs(p: &Podman) {
    let files = p.files("rootfs");
    crate::image::busybox(&files.join("root"));
    let root = files.join("root");
    if let Some(user) = p.user() {
        let owner = format!("{}:{}", user.uid, user.gid);
        let mut chown = std::process::Command::new("chown");
        crate::command::run(chown.args(["-R", &owner]).arg(&root)).ok();
    }
    let overlay = format!("{}:O", root.display());
    let command = [
        "sh",
        "-c",
        "/bin/cat /etc/group | /bin/head -n 1; /bin/echo >/etc/new",
    ];
    let output = p.call(&[&["run", "--rm", "--rootfs", &overlay][..], &command].concat());
    assert_eq!(output.ok(), "root:x:0:");
    assert!(!root.join("etc/new").exists());
}

fn build(p: &Podman) {
    let files = p.files("build");
    let text = format!(
        "FROM {IMAGE} AS first\nARG WORD=none\nWORKDIR /made\nRUN echo $WORD >file && id -u >>file\n\
         FROM {IMAGE}\nCOPY --from=first /made/file /file\nUSER user\nENV A=b\n\
         RUN --mount=type=cache,target=/cache,uid=1000 echo $A >/cache/x && id -u\nCMD [\"cat\", \"/file\"]\n"
    );
    fs::write(files.join("Containerfile"), text).unwrap();
    let args = [
        "build",
        "-q",
        "--build-arg",
        "WORD=given",
        "-t",
        "localhost/built",
        files.to_str().unwrap(),
    ];
    p.ok(&args);
    assert_eq!(p.ok(&["run", "--rm", "localhost/built"]), "given\n0");
    fs::write(
        files.join("Containerfile"),
        format!("FROM {IMAGE}\nRUN exit 7\n"),
    )
    .unwrap();
    let output = p.call(&["build", "-q", files.to_str().unwrap()]);
    assert_ne!(output.status, 0);
    assert!(
        format!("{output:?}").contains("exit status 7"),
        "{output:?}"
    );
    p.ok(&["rmi", "-f", "localhost/built"]);
}

/// The image's upper layer is what `rt diff --tar` has written.
fn layer_of_rt_diff(p: &Podman) {
    let name = "localhost/layered";
    let image = LayeredImage::build(&p.files("layer_of_rt_diff").join("image"), name);
    p.ok(&["load", "-q", "-i", image.archive.to_str().unwrap()]);
    let run = [&["run", "--rm"][..], &LayeredImage::arguments(name)];
    assert_eq!(p.ok(&run.concat()), image.facts);
    p.ok(&["rmi", name]);
}

fn random_layer_of_rt_diff(p: &Podman) {
    let name = "localhost/random";
    let directory = p.files("random_layer_of_rt_diff").join("image");
    let image = RandomImage::build(&directory, name);
    p.ok(&["load", "-q", "-i", image.archive.to_str().unwrap()]);
    let container = p.ok(&["run", "-d", name, "sleep", "1000"]);
    let inspect = ["inspect", "--format", "{{.State.Pid}}", container.trim()];
    image.assert_same_in(&Path::new("/proc").join(p.ok(&inspect).trim()));
    p.ok(&["rm", "-f", "-t", "0", container.trim()]);
    p.ok(&["rmi", name]);
}
