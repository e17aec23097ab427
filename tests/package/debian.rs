//! The Debian package: what is in it, and a machine before and after it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::installed::{expected, files};
use crate::{Test, make, need, run, top, tree};

const NAME: &str = "rt-container-runtime";

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "debian::its_version_is_that_of_the_program",
            its_version_is_that_of_the_program,
        ),
        (
            "debian::it_holds_what_is_installed",
            it_holds_what_is_installed,
        ),
        ("debian::lintian_finds_no_error", lintian_finds_no_error),
        ("debian::it_comes_and_goes", it_comes_and_goes),
        (
            "debian::it_comes_and_goes_in_a_fresh_debian",
            it_comes_and_goes_in_a_fresh_debian,
        ),
    ]
}

fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let path = top().join("rt.deb");
        make(&["package", &format!("DEB={}", path.display())]);
        path
    })
}

fn needs() -> Result<(), String> {
    need("make")?;
    need("dpkg-deb")
}

fn field(name: &str) -> String {
    let mut dpkg = Command::new("dpkg-deb");
    let said = run(dpkg.arg("--field").arg(package()).arg(name));
    said.trim().to_owned()
}

fn its_version_is_that_of_the_program() -> Result<(), String> {
    needs()?;
    assert_eq!(field("Package"), NAME);
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    // Request Tracker's have a command rt of their own.
    assert_eq!(field("Conflicts"), "rt4-clients, rt5-clients");
    assert_eq!(field("Depends"), "");
    Ok(())
}

fn what_it_holds() -> Vec<String> {
    let mut all = expected("usr", "zsh/vendor-completions", "1.gz");
    all.extend([
        format!("644 usr/share/doc/{NAME}/changelog.gz"),
        format!("644 usr/share/doc/{NAME}/copyright"),
        format!("644 usr/share/lintian/overrides/{NAME}"),
    ]);
    all.sort();
    all
}

fn it_holds_what_is_installed() -> Result<(), String> {
    needs()?;
    let place = top().join("extracted");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(package())
        .arg(&place));
    assert_eq!(files(&place), what_it_holds());
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(package()));
    for line in listed.lines() {
        assert_eq!(line.split_whitespace().nth(1), Some("root/root"), "{line}");
    }
    let sums = place.join("sums");
    run(Command::new("dpkg-deb")
        .arg("--control")
        .arg(package())
        .arg(&sums));
    let mut check = Command::new("md5sum");
    check
        .current_dir(&place)
        .args(["--check", "--quiet", "sums/md5sums"]);
    run(&mut check);
    Ok(())
}

fn lintian_finds_no_error() -> Result<(), String> {
    needs()?;
    need("lintian")?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error"]);
    run(lintian.arg(package()));
    Ok(())
}

/// A database of packages and nothing else: the program needs nothing else.
fn it_comes_and_goes() -> Result<(), String> {
    needs()?;
    need("dpkg")?;
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can install".to_owned());
    }
    let root = top().join("root");
    let database = root.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(directory)).unwrap();
    }
    fs::write(database.join("status"), "").unwrap();
    let before = tree(&root.join("var"));
    assert!(!before.is_empty());
    let dpkg = |flag: &str, what: &Path| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display()));
        run(dpkg.arg("--force-not-root").arg(flag).arg(what))
    };
    dpkg("--install", package());
    let said = run(Command::new("chroot")
        .arg(&root)
        .args(["/usr/bin/rt", "--version"]));
    assert!(said.starts_with("rt version "), "{said}");
    let mut usr = files(&root.join("usr"));
    usr.iter_mut()
        .for_each(|line| *line = line.replacen(' ', " usr/", 1));
    assert_eq!(usr, what_it_holds());
    dpkg("--purge", Path::new(NAME));
    assert!(!root.join("usr").exists(), "{:?}", tree(&root));
    Ok(())
}

/// Fetched by debootstrap from where this machine has its own packages from.
fn it_comes_and_goes_in_a_fresh_debian() -> Result<(), String> {
    if env::var("RT_TESTS").as_deref() != Ok("all") {
        return Err("RT_TESTS=all fetches one".to_owned());
    }
    needs()?;
    need("debootstrap")?;
    let root = top().join("debian");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "stable"]).arg(&root);
    let output = debootstrap.output().unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(format!(
            "debootstrap: {}",
            said.lines().last().unwrap_or_default()
        ));
    }
    fs::copy(package(), root.join("rt.deb")).unwrap();
    let inside = |words: &[&str]| run(Command::new("chroot").arg(&root).args(words));
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
