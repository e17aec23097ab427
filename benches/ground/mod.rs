//! What benchmarks share: a view of the cgroups that every runtime accepts, and
//! bundles with and without Docker's seccomp profile.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

const PROFILE: &str = include_str!("../../tests/suite/configs/docker-plain.json");

/// Set in the process that has a view of the cgroups that crun accepts, too.
const PREPARED: &str = "RT_BENCH_PREPARED";

/// The runtimes to compare: ours, and those of the machine.
pub(crate) const RUNTIMES: [(&str, &str); 3] = [
    ("rt", env!("CARGO_BIN_EXE_rt")),
    ("runc", "runc"),
    ("crun", "crun"),
];

/// Whether this process has that view already.
pub(crate) fn is_prepared() -> bool {
    std::env::var_os(PREPARED).is_some()
}

/// The rounds that the command line asks for.
pub(crate) fn rounds(default: usize) -> usize {
    let words = std::env::args().skip(1);
    let mut numbers = words.filter_map(|word| word.parse().ok());
    numbers.next().unwrap_or(default)
}

/// The further runtimes that the command line names, as NAME=PROGRAM.
#[allow(dead_code, reason = "not every benchmark compares with those")]
pub(crate) fn programs() -> impl Iterator<Item = (String, String)> {
    std::env::args().skip(1).filter_map(|word| {
        let (name, program) = word.split_once('=')?;
        Some((name.to_owned(), program.to_owned()))
    })
}

/// Starts itself in a mount namespace of its own, where version 2 of the cgroups
/// has no controllers if version 1 has them: crun runs with either, not with both.
pub(crate) fn in_own_view() -> ExitCode {
    const SCRIPT: &str = "file=/sys/fs/cgroup/unified/cgroup.controllers
        [ ! -e $file ] || mount --bind /dev/null $file
        exec \"$@\"";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .args(std::env::args_os())
        .env(PREPARED, "1")
        .status()
        .expect("unshare(1)");
    ExitCode::from(status.code().map_or(1, |code| code as u8))
}

/// The numbers of `count` variants in the order in which to run them, for so many
/// rounds. What a container leaves for the kernel to clear away, the next one pays, so
/// each round has an order of its own, and each variant comes after each other one
/// about as often.
pub(crate) fn turns(rounds: usize, count: usize) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut seed = 1_u64;
    (0..rounds).flat_map(move |_| {
        for i in (1..count).rev() {
            // Numerical Recipes' generator: the same orders at every call.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            order.swap(i, (seed >> 16) as usize % (i + 1));
        }
        order.clone()
    })
}

/// A bundle that runs `args` of busybox, from the template; `with` has the profile.
pub(crate) fn bundle(directory: &Path, name: &str, args: &[&str]) -> PathBuf {
    let bundle = directory.join(name);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    let busybox = places.iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("a static busybox"), bin.join("busybox")).unwrap();
    fs::set_permissions(bin.join("busybox"), Permissions::from_mode(0o755)).unwrap();
    for applet in ["true", "sleep"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }

    let spec = Command::new(env!("CARGO_BIN_EXE_rt"))
        .args(["spec", "--bundle"])
        .arg(&bundle)
        .status();
    assert!(spec.unwrap().success());
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // Debian's crun knows no later one.
    config["ociVersion"] = json!("1.0.2");
    config["process"]["args"] = json!(args);
    config["process"]["terminal"] = json!(false);
    if name == "with" {
        let docker: Value = serde_json::from_str(PROFILE).unwrap();
        config["linux"]["seccomp"] = docker["linux"]["seccomp"].clone();
    }
    fs::write(&file, config.to_string()).unwrap();
    bundle
}

/// A new directory on a tmpfs, gone at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        let path = PathBuf::from(format!("/dev/shm/rt-bench-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}
