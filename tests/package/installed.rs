//! `make install` and `make uninstall`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Test, built, make, need, run, top, tree, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        (
            "installed::files_have_their_places",
            files_have_their_places,
        ),
        (
            "installed::uninstall_takes_away_just_that",
            uninstall_takes_away_just_that,
        ),
        ("installed::nothing_built_is_said", nothing_built_is_said),
    ]
}

/// What an installation below `prefix` consists of.
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

/// The files of a tree; its directories can be entered by everybody.
pub(crate) fn files(top: &Path) -> Vec<String> {
    let (directories, files): (Vec<String>, Vec<String>) = tree(top)
        .into_iter()
        .partition(|line| top.join(line.split_once(' ').unwrap().1).is_dir());
    for directory in directories {
        assert!(directory.starts_with("755 "), "{directory}");
    }
    files
}

fn files_have_their_places() -> Result<(), String> {
    need("make")?;
    for (name, prefix, flags) in [
        ("usr-local", "usr/local", &[] as &[&str]),
        ("opt", "opt/rt", &["PREFIX=/opt/rt"]),
    ] {
        let place = top().join(name);
        let destination = format!("DESTDIR={}", place.display());
        make(&[&["install", &destination], flags].concat());
        // Twice is once.
        make(&[&["install", &destination], flags].concat());
        let expected = expected(prefix, "zsh/site-functions", "1");
        assert_eq!(files(&place), expected);
        let said = run(Command::new(place.join(prefix).join("bin/rt")).arg("--version"));
        assert!(said.starts_with("rt version "), "{said}");
    }
    Ok(())
}

fn uninstall_takes_away_just_that() -> Result<(), String> {
    need("make")?;
    let place = top().join("uninstall");
    let others = [
        "usr/local/bin/rtx",
        "usr/local/share/man/man1/rt-app.1",
        "usr/local/share/bash-completion/completions/rtx",
    ];
    for other in others {
        fs::create_dir_all(place.join(other).parent().unwrap()).unwrap();
        fs::write(place.join(other), "").unwrap();
    }
    let before = files(&place);
    let destination = format!("DESTDIR={}", place.display());
    make(&["install", &destination]);
    assert!(files(&place).len() > before.len());
    make(&["uninstall", &destination]);
    assert_eq!(files(&place), before);
    // There may be nothing left to take away.
    make(&["uninstall", &destination]);
    Ok(())
}

fn nothing_built_is_said() -> Result<(), String> {
    need("make")?;
    let empty = top().join("empty");
    fs::create_dir_all(&empty).unwrap();
    for goal in ["install", "uninstall", "package"] {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR"));
        make.args(["--no-print-directory", goal]);
        make.arg(format!("DIST={}", empty.display()));
        make.arg(format!("DESTDIR={}", empty.display()));
        let output = make.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{goal}");
        assert!(
            said.starts_with("nothing is built yet: run make first\n"),
            "{said}"
        );
        assert_eq!(tree(&empty), Vec::<String>::new());
    }
    assert!(built().join("rt").exists());
    Ok(())
}
