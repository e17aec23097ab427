//! The Debian package: its content, and a system before and after its installation.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::installed::{expected, files};
use crate::{Test, list_files, make, require_program, run, run_directory};

const NAME: &str = "rt-container-runtime";

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "debian::control_fields_are_correct",
            control_fields_are_correct,
        ),
        (
            "debian::package_has_the_files_of_install",
            package_has_the_files_of_install,
        ),
        ("debian::lintian_reports_no_error", lintian_reports_no_error),
        ("debian::install_and_purge", install_and_purge),
        (
            "debian::install_and_purge_in_a_fresh_debian",
            install_and_purge_in_a_fresh_debian,
        ),
    ]
}

fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let path = run_directory().join("rt.deb");
        make(&["package", &format!("DEB={}", path.display())]);
        path
    })
}

fn require_programs() -> Result<(), String> {
    require_program("make")?;
    require_program("dpkg-deb")
}

fn field(name: &str) -> String {
    let mut dpkg = Command::new("dpkg-deb");
    let output = run(dpkg.arg("--field").arg(package()).arg(name));
    output.trim().to_owned()
}

fn control_fields_are_correct() -> Result<(), String> {
    require_programs()?;
    assert_eq!(field("Package"), NAME);
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    // The packages of Request Tracker have a command `rt` too.
    assert_eq!(field("Conflicts"), "rt4-clients, rt5-clients");
    assert_eq!(field("Depends"), "");
    Ok(())
}

fn expected_files() -> Vec<String> {
    let mut all = expected("usr", "zsh/vendor-completions", "1.gz");
    all.extend([
        format!("644 usr/share/doc/{NAME}/changelog.gz"),
        format!("644 usr/share/doc/{NAME}/copyright"),
        format!("644 usr/share/lintian/overrides/{NAME}"),
    ]);
    all.sort();
    all
}

fn package_has_the_files_of_install() -> Result<(), String> {
    require_programs()?;
    let destdir = run_directory().join("extracted");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(package())
        .arg(&destdir));
    assert_eq!(files(&destdir), expected_files());
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(package()));
    for line in listed.lines() {
        assert_eq!(line.split_whitespace().nth(1), Some("root/root"), "{line}");
    }
    let sums = destdir.join("sums");
    run(Command::new("dpkg-deb")
        .arg("--control")
        .arg(package())
        .arg(&sums));
    let mut check = Command::new("md5sum");
    check
        .current_dir(&destdir)
        .args(["--check", "--quiet", "sums/md5sums"]);
    run(&mut check);
    Ok(())
}

fn lintian_reports_no_error() -> Result<(), String> {
    require_programs()?;
    require_program("lintian")?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error"]);
    run(lintian.arg(package()));
    Ok(())
}

/// Installs into a root directory that has only a package database, because the program has no dependencies.
fn install_and_purge() -> Result<(), String> {
    require_programs()?;
    require_program("dpkg")?;
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can install".to_owned());
    }
    let root = run_directory().join("root");
    let database = root.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(directory)).unwrap();
    }
    fs::write(database.join("status"), "").unwrap();
    let before = list_files(&root.join("var"));
    assert!(!before.is_empty());
    let dpkg = |flag: &str, what: &Path| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display()));
        run(dpkg.arg("--force-not-root").arg(flag).arg(what))
    };
    dpkg("--install", package());
    let output = run(Command::new("chroot")
        .arg(&root)
        .args(["/usr/bin/rt", "--version"]));
    assert!(output.starts_with("rt version "), "{output}");
    let mut usr = files(&root.join("usr"));
    usr.iter_mut()
        .for_each(|line| *line = line.replacen(' ', " usr/", 1));
    assert_eq!(usr, expected_files());
    dpkg("--purge", Path::new(NAME));
    assert!(!root.join("usr").exists(), "{:?}", list_files(&root));
    Ok(())
}

/// debootstrap downloads the system from its default mirror.
fn install_and_purge_in_a_fresh_debian() -> Result<(), String> {
    if env::var("RT_TESTS").as_deref() != Ok("all") {
        return Err("RT_TESTS=all fetches one".to_owned());
    }
    require_programs()?;
    require_program("debootstrap")?;
    let root = run_directory().join("debian");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "stable"]).arg(&root);
    let output = debootstrap.output().unwrap();
    if !output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(format!(
            "debootstrap: {}",
            stdout.lines().last().unwrap_or_default()
        ));
    }
    fs::copy(package(), root.join("rt.deb")).unwrap();
    let inside = |args: &[&str]| run(Command::new("chroot").arg(&root).args(args));
    let listed = || {
        let dirs = ["/usr", "/etc", "/opt", "/bin", "/sbin", "/lib"];
        inside(&[&["find"], &dirs[..]].concat())
    };
    let before = listed();
    inside(&["dpkg", "--install", "/rt.deb"]);
    assert!(inside(&["rt", "--version"]).starts_with("rt version "));
    assert!(inside(&["rt", "features"]).contains("ociVersionMax"));
    inside(&["dpkg", "--verify", NAME]);
    inside(&["dpkg", "--purge", NAME]);
    assert_eq!(listed(), before);
    Ok(())
}
