//! Images that the tests build themselves, without a registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{command, environment};

/// The applets of the busybox image.
pub(crate) const APPLETS: &[&str] = &[
    "sh", "true", "false", "cat", "echo", "sleep", "ls", "id", "env", "hostname", "mount", "ps",
    "touch", "rm", "mkdir", "grep", "head", "tail", "wc", "stat", "nc", "wget", "httpd", "ip",
    "ping", "kill", "trap", "tty", "stty", "printf", "test", "dd", "df", "readlink", "seq", "cut",
    "tr", "nproc", "umask", "chmod", "chown", "ln", "cp", "mv", "find", "date", "top", "yes",
    "md5sum", "mknod", "unshare", "free", "sync", "sed", "awk", "sort", "timeout",
];

/// Fills a root file system with Debian's static busybox, links for its applets, and a user `user` (1000:1000)
/// with the supplementary group `extra` (2000).
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
    copy_getent(directory);
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
    fs::write(directory.join("etc/passwd"), passwd).unwrap();
    let group = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n";
    fs::write(directory.join("etc/group"), group).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    fs::set_permissions(directory.join("tmp"), mode).unwrap();
}

/// Copies getent(1) and its libraries: the static busybox cannot resolve names that have several addresses.
fn copy_getent(directory: &Path) {
    let getent = "/usr/bin/getent";
    let libraries = command::run(Command::new("ldd").arg(getent)).ok();
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain([getent]) {
        let copy = directory.join(&file[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

/// Programs that execve(2) refuses although they have the execute permission: name, content, and the error text.
pub(crate) const REFUSED: [(&str, &str, &str); 2] = [
    ("orphan", "#!/no/such\n", "no such file or directory"),
    ("garbage", "\u{1}\u{2}garbage", "exec format error"),
];

/// Writes the programs of [`REFUSED`] to a directory.
pub(crate) fn write_refused_programs(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (name, content, _) in REFUSED {
        let file = directory.join(name);
        fs::write(&file, content).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(file, mode).unwrap();
    }
}

/// The busybox image as a tar archive, for `docker import` and similar commands.
pub(crate) fn busybox_archive(directory: &Path) -> PathBuf {
    let (rootfs, archive) = (directory.join("busybox"), directory.join("busybox.tar"));
    if !archive.exists() {
        busybox(&rootfs);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&rootfs).arg("-cf").arg(&archive).arg(".");
        command::run(&mut tar).ok();
    }
    archive
}

/// The packages that the Debian image has besides the minimal system. The list is part of the archive's name, so
/// that a changed list makes a new archive.
const PACKAGES: &str = "nginx";

/// Files of packages that no test reads.
const UNNEEDED: &[&str] = &[
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
];

/// An archive of the host's Debian release with nginx, fetched from the mirror that the host's apt uses. Building
/// it takes a minute, so it is kept below target/engines.
///
/// # Errors
/// The reason, when a program is missing, apt has no mirror, or debootstrap fails.
pub(crate) fn debian_archive() -> Result<PathBuf, String> {
    static ARCHIVE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    ARCHIVE.get_or_init(build_debian).clone()
}

fn build_debian() -> Result<PathBuf, String> {
    if let Some(reason) = environment::missing_program(&["debootstrap", "apt-get", "tar"]) {
        return Err(reason);
    }
    let (mirror, release) = mirror()?;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/engines");
    let archive = kept.join(format!("debian-{release}-{PACKAGES}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let rootfs = kept.join(format!("debian.{}", std::process::id()));
    fs::create_dir_all(&kept).unwrap();
    let result = bootstrap(&rootfs, &mirror, &release).and_then(|()| pack(&rootfs, &archive));
    let _ = fs::remove_dir_all(&rootfs);
    result.map(|()| archive)
}

/// The mirror and the release of the host's own packages.
fn mirror() -> Result<(String, String), String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format"]);
    targets.args(["$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"]);
    targets.arg("Identifier: Packages");
    let targets = command::run(&mut targets).ok();
    let mut repositories = targets.lines().filter_map(|line| {
        let mut fields = line.strip_prefix("Debian main ")?.split(' ');
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    // Skip `bookworm-updates` and `bookworm-security`.
    let release = repositories.find(|(release, _)| !release.contains('-'));
    let (release, mirror) = release.ok_or("apt knows no mirror of Debian")?;
    Ok((mirror, release))
}

fn bootstrap(rootfs: &Path, mirror: &str, release: &str) -> Result<(), String> {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}")]);
    debootstrap.arg(release).arg(rootfs).arg(mirror);
    let output = command::run_for(&mut debootstrap, b"", Duration::from_secs(600));
    if output.status != 0 {
        let last = output.stdout.lines().chain(output.stderr.lines()).last();
        let last = last.unwrap_or_default();
        return Err(format!("no Debian from {mirror}: {last}"));
    }
    for path in UNNEEDED {
        let _ = fs::remove_dir_all(rootfs.join(path));
    }
    Ok(())
}

fn pack(rootfs: &Path, archive: &Path) -> Result<(), String> {
    let unfinished = rootfs.with_extension("tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(rootfs).arg("-cf").arg(&unfinished);
    command::run(tar.args(["--numeric-owner", "--exclude=./dev/*", "."])).ok();
    fs::rename(&unfinished, archive).map_err(|e| format!("{}: {e}", archive.display()))
}
