//! Shared by the benchmarks: a cgroup layout that all runtimes support, the order of the rounds, and bundles with and
//! without Docker's seccomp profile.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

const PROFILE: &str = include_str!("../../tests/suite/configs/docker-plain.json");

/// The environment variable that is set after [`reexec_in_namespaces`].
const PREPARED: &str = "RT_BENCH_PREPARED";

/// The runtimes to compare: the `rt` of this build, and the installed runc and crun.
pub(crate) const RUNTIMES: [(&str, &str); 3] = [
    ("rt", env!("CARGO_BIN_EXE_rt")),
    ("runc", "runc"),
    ("crun", "crun"),
];

/// Whether this process runs in the namespaces of [`reexec_in_namespaces`].
pub(crate) fn is_prepared() -> bool {
    std::env::var_os(PREPARED).is_some()
}

/// The number of rounds: the first number on the command line, or `default`.
pub(crate) fn rounds(default: usize) -> usize {
    let arguments = std::env::args().skip(1);
    let mut numbers = arguments.filter_map(|argument| argument.parse().ok());
    numbers.next().unwrap_or(default)
}

/// Further runtimes, given on the command line as NAME=PROGRAM.
#[allow(dead_code, reason = "not every benchmark accepts further runtimes")]
pub(crate) fn programs() -> impl Iterator<Item = (String, String)> {
    std::env::args().skip(1).filter_map(|argument| {
        let (name, program) = argument.split_once('=')?;
        Some((name.to_owned(), program.to_owned()))
    })
}

/// Runs this program again in a new mount namespace, and in those of further `flags` of unshare(1), after the shell
/// has run `prepare` there. On a hybrid cgroup layout it hides the controllers of cgroup v2, because crun does not
/// support controllers in both versions.
pub(crate) fn reexec_in_namespaces(flags: &[&str], prepare: &str) -> ExitCode {
    const HIDE: &str = "file=/sys/fs/cgroup/unified/cgroup.controllers
        [ ! -e $file ] || mount --bind /dev/null $file";
    let script = format!("{HIDE}\n{prepare}\nexec \"$@\"");
    let status = Command::new("unshare")
        .arg("--mount")
        .args(flags)
        .args(["sh", "-ec", &script, "sh"])
        .args(std::env::args_os())
        .env(PREPARED, "1")
        .status()
        .expect("unshare(1)");
    ExitCode::from(status.code().map_or(1, |code| code as u8))
}

/// The indices of `count` variants in the order in which to run them, for `rounds` rounds.
///
/// Each round is shuffled, so that each variant follows each other one about equally often: the kernel still cleans
/// up after one container while the next one runs. The shuffle is the same in each call.
pub(crate) fn shuffled_rounds(rounds: usize, count: usize) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut seed = 1_u64;
    (0..rounds).flat_map(move |_| {
        for i in (1..count).rev() {
            // The linear congruential generator of Numerical Recipes.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            order.swap(i, (seed >> 16) as usize % (i + 1));
        }
        order.clone()
    })
}

/// Creates a bundle from `rt spec` that runs `args` with busybox. A bundle called `with` has Docker's seccomp
/// profile.
pub(crate) fn bundle(directory: &Path, name: &str, args: &[&str]) -> PathBuf {
    let bundle = directory.join(name);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    let paths = ["/bin/busybox", "/usr/bin/busybox"];
    let busybox = paths.iter().find(|path| Path::new(path).exists());
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
    // Debian's crun supports no later version.
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

/// A new directory on a tmpfs, removed when it is dropped.
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
