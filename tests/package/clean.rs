//! The README's two commands in a clean Debian 12 with a Rust toolchain, gcc, libc6-dev and git.
//!
//! The sources, the toolchain and what cargo has downloaded and built are mounted into it at their own
//! places, so nothing is compiled twice.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::{Test, require_program, run, run_directory};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "clean::the_first_command_shows_a_container",
            the_first_command_shows_a_container,
        ),
        (
            "clean::a_user_is_told_in_one_line_what_the_first_command_needs",
            a_user_is_told_in_one_line_what_the_first_command_needs,
        ),
        (
            "clean::cargo_test_passes_and_says_what_it_skips",
            cargo_test_passes_and_says_what_it_skips,
        ),
        (
            "clean::the_second_command_installs_what_it_names_and_passes",
            the_second_command_installs_what_it_names_and_passes,
        ),
    ]
}

/// Mounts the arguments below the first one, each at its own place, makes that one the root, and runs the command
/// after `--`. Behind chroot(2) alone the kernel makes no user namespace.
const ENTER: &str = r#"
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    shift
done
shift
cd "$root"
pivot_root . mnt
umount -l /mnt
cd "$1"; shift
exec "$@"
"#;

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// # Errors
/// When it cannot be had here.
fn debian() -> Result<&'static Path, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(make_debian);
    made.as_deref().map_err(Clone::clone)
}

fn make_debian() -> Result<PathBuf, String> {
    if env::var_os("RT_TESTS").is_none() {
        return Err("RT_TESTS=smoke fetches a clean Debian".to_owned());
    }
    require_program("mmdebstrap")?;
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can make a clean Debian".to_owned());
    }
    let root = run_directory().join("clean");
    fs::create_dir_all(&root).unwrap();
    // In a mount namespace of its own: if it is killed, its mount of /proc does not stay.
    let mut mmdebstrap = Command::new("unshare");
    mmdebstrap.args([
        "--mount",
        "--propagation",
        "private",
        // As the minbase of debootstrap, in half of the time.
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=gcc,libc6-dev,git,ca-certificates",
    ]);
    let output = mmdebstrap.arg("bookworm").arg(&root).output().unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("mmdebstrap: {last}"));
    }
    drop(fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf")));
    Ok(root)
}

/// A command in the clean Debian, in the directory of the sources.
fn inside(root: &Path, command: &[&str]) -> Output {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]));
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cargo_home = env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from);
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| sources().join("target"), PathBuf::from);
    let places: [OsString; 4] = [
        sysroot.trim().into(),
        cargo_home.clone().into(),
        sources().into(),
        target.into(),
    ];
    let path = format!(
        "{}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        sysroot.trim()
    );
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        ENTER,
        "sh",
    ]);
    unshare.arg(root).args(places).arg("--");
    unshare.arg(sources()).args(command);
    unshare.env("PATH", path).env("CARGO_HOME", cargo_home);
    // What cargo and the test program have set for this process is not the user's.
    for name in ["RT_TESTS", "RUSTUP_TOOLCHAIN", "CARGO", "LD_LIBRARY_PATH"] {
        unshare.env_remove(name);
    }
    unshare.output().unwrap()
}

#[track_caller]
fn succeeds(root: &Path, command: &[&str]) -> String {
    let output = inside(root, command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{errors}");
    said
}

fn the_first_command_shows_a_container() -> Result<(), String> {
    let root = debian()?;
    // What the demo would write is there already, and is no file.
    let taken = root.join("written-in-mybundle");
    fs::create_dir(&taken).unwrap();
    let said = succeeds(
        root,
        &[
            "cargo",
            "run",
            "--offline",
            "--",
            "run",
            "examples/mybundle",
        ],
    );
    assert!(said.contains("Hello from mybundle"), "{said}");
    assert!(
        said.contains("It has written /written-in-mybundle_: "),
        "{said}"
    );
    assert!(!root.join("written-in-mybundle_").exists());
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 0);
    Ok(())
}

fn a_user_is_told_in_one_line_what_the_first_command_needs() -> Result<(), String> {
    let root = debian()?;
    let program = Path::new(env!("CARGO_BIN_EXE_rt"));
    fs::copy(program, root.join("usr/local/bin/rt")).unwrap();
    let user = [
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "env",
        "-u",
        "XDG_RUNTIME_DIR",
    ];
    let output = inside(
        root,
        &[&user[..], &["rt", "run", "examples/mybundle"]].concat(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("run rt as root, or add a user namespace"),
        "{said}"
    );
    Ok(())
}

fn cargo_test_passes_and_says_what_it_skips() -> Result<(), String> {
    let said = succeeds(debian()?, &["cargo", "test", "--offline", "--no-fail-fast"]);
    assert!(said.contains("(package busybox-static)"), "{said}");
    let reasons = said.lines().filter(|line| line.starts_with("skipped "));
    let reasons = reasons.count();
    assert!(
        (1..40).contains(&reasons),
        "{reasons} lines of reasons\n{said}"
    );
    Ok(())
}

fn the_second_command_installs_what_it_names_and_passes() -> Result<(), String> {
    let root = debian()?;
    let few = ["--offline", "--test", "suite", "--", "lifecycle::run_"];
    let said = succeeds(root, &[&["tests/run", "--no-install"], &few[..]].concat());
    assert!(
        said.contains("Not installed, so some tests are skipped: attr busybox-static "),
        "{said}"
    );
    let said = succeeds(root, &[&["tests/run"], &few[..]].concat());
    assert!(said.contains("Installing with apt-get"), "{said}");
    assert!(said.contains("test result: ok."), "{said}");
    let said = succeeds(root, &[&["tests/run"], &few[..]].concat());
    assert!(
        !said.contains("nstall"),
        "the second time nothing is missing: {said}"
    );
    Ok(())
}
