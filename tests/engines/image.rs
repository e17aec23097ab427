//! Images, made here and without a registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::call;

/// What the image of busybox answers to.
pub(crate) const APPLETS: &[&str] = &[
    "sh", "true", "false", "cat", "echo", "sleep", "ls", "id", "env", "hostname", "mount", "ps",
    "touch", "rm", "mkdir", "grep", "head", "tail", "wc", "stat", "nc", "wget", "httpd", "ip",
    "ping", "kill", "trap", "tty", "stty", "printf", "test", "dd", "df", "readlink", "seq", "cut",
    "tr", "nproc", "umask", "chmod", "chown", "ln", "cp", "mv", "find", "date", "top", "yes",
    "md5sum", "mknod", "unshare", "free", "sync", "sed", "awk",
];

/// A directory with busybox (Debian's, static), its links, and a user `user`
/// (1000:1000), who is in the group `extra` (2000).
pub(crate) fn busybox(directory: &Path) {
    for name in [
        "bin",
        "dev",
        "etc",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "home/user",
        "var/www",
    ] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", directory.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", directory.join("bin").join(applet)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
    fs::write(directory.join("etc/passwd"), passwd).unwrap();
    let group = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n";
    fs::write(directory.join("etc/group"), group).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(directory.join("tmp"), mode).unwrap();
}

/// The same as an archive, for `docker import` and its kin.
pub(crate) fn busybox_archive(directory: &Path) -> PathBuf {
    let (tree, archive) = (directory.join("busybox"), directory.join("busybox.tar"));
    if !archive.exists() {
        busybox(&tree);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".");
        call::run(&mut tar).ok();
    }
    archive
}
