//! `make install` and `make uninstall`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Test, dist, list_files, make, require_program, run, run_directory, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "installed::install_puts_files_in_place",
            install_puts_files_in_place,
        ),
        (
            "installed::uninstall_removes_only_its_own_files",
            uninstall_removes_only_its_own_files,
        ),
        (
            "installed::install_without_a_build_is_an_error",
            install_without_a_build_is_an_error,
        ),
    ]
}

/// The files of an installation below `prefix`, with their modes.
pub(crate) fn expected(prefix: &str, zsh: &str, page: &str) -> Vec<String> {
    let pages = verbs().into_iter().map(|verb| format!("rt-{verb}"));
    let pages = pages.chain(["rt".to_owned()]);
    let pages = pages.map(|name| format!("644 {prefix}/share/man/man1/{name}.{page}"));
    let mut all: Vec<String> = pages.collect();
    all.extend([
        format!("755 {prefix}/bin/rt"),
        format!("644 {prefix}/share/bash-completion/completions/rt"),
        format!("644 {prefix}/share/{zsh}/_rt"),
        format!("644 {prefix}/share/fish/vendor_completions.d/rt.fish"),
    ]);
    all.sort();
    all
}

/// The files below `top` with their modes. Panics unless all directories have the mode 755.
pub(crate) fn files(top: &Path) -> Vec<String> {
    let (directories, files): (Vec<String>, Vec<String>) = list_files(top)
        .into_iter()
        .partition(|line| top.join(line.split_once(' ').unwrap().1).is_dir());
    for directory in directories {
        assert!(directory.starts_with("755 "), "{directory}");
    }
    files
}

fn install_puts_files_in_place() -> Result<(), String> {
    require_program("make")?;
    for (name, prefix, flags) in [
        ("usr-local", "usr/local", &[] as &[&str]),
        ("opt", "opt/rt", &["PREFIX=/opt/rt"]),
    ] {
        let destdir = run_directory().join(name);
        let destination = format!("DESTDIR={}", destdir.display());
        make(&[&["install", &destination], flags].concat());
        // A second installation changes nothing.
        make(&[&["install", &destination], flags].concat());
        let expected = expected(prefix, "zsh/site-functions", "1");
        assert_eq!(files(&destdir), expected);
        let output = run(Command::new(destdir.join(prefix).join("bin/rt")).arg("--version"));
        assert!(output.starts_with("rt version "), "{output}");
    }
    Ok(())
}

fn uninstall_removes_only_its_own_files() -> Result<(), String> {
    require_program("make")?;
    let destdir = run_directory().join("uninstall");
    let others = [
        "usr/local/bin/rtx",
        "usr/local/share/man/man1/rt-app.1",
        "usr/local/share/bash-completion/completions/rtx",
    ];
    for other in others {
        fs::create_dir_all(destdir.join(other).parent().unwrap()).unwrap();
        fs::write(destdir.join(other), "").unwrap();
    }
    let before = files(&destdir);
    let destination = format!("DESTDIR={}", destdir.display());
    make(&["install", &destination]);
    assert!(files(&destdir).len() > before.len());
    make(&["uninstall", &destination]);
    assert_eq!(files(&destdir), before);
    // It is no error if nothing is installed.
    make(&["uninstall", &destination]);
    Ok(())
}

fn install_without_a_build_is_an_error() -> Result<(), String> {
    require_program("make")?;
    let empty = run_directory().join("empty");
    fs::create_dir_all(&empty).unwrap();
    for goal in ["install", "uninstall", "package"] {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        make.args(["--no-print-directory", goal]);
        make.arg(format!("DIST={}", empty.display()));
        make.arg(format!("DESTDIR={}", empty.display()));
        let output = make.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{goal}");
        assert!(
            stderr.starts_with("nothing is built yet: run make first\n"),
            "{stderr}"
        );
        assert_eq!(list_files(&empty), Vec::<String>::new());
    }
    assert!(dist().join("rt").exists());
    Ok(())
}
