//! Manual pages: one for each command, whole, and without a mark that no reader of them knows.

use std::fs;
use std::process::Command;

use crate::{Test, built, flags, need, run, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        ("pages::every_command_has_one", every_command_has_one),
        ("pages::every_flag_is_explained", every_flag_is_explained),
        (
            "pages::they_name_pages_that_exist",
            they_name_pages_that_exist,
        ),
        ("pages::man_shows_them", man_shows_them),
        ("pages::mandoc_finds_no_fault", mandoc_finds_no_fault),
    ]
}

/// Title to text.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(built().join("man")).unwrap();
    let page = |file: std::io::Result<fs::DirEntry>| {
        let path = file.unwrap().path();
        let title = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (title, fs::read_to_string(path).unwrap())
    };
    files.map(page).collect()
}

fn page(title: &str) -> String {
    let path = built().join("man").join(format!("{title}.1"));
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{title}: {e}"))
}

fn every_command_has_one() -> Result<(), String> {
    let titles = verbs().into_iter().map(|verb| format!("rt-{verb}"));
    let mut titles: Vec<String> = titles.chain(["rt".to_owned()]).collect();
    for title in &titles {
        let text = page(title);
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ] {
            let heading = format!("\n.SH {section}\n");
            assert!(text.contains(&heading), "{title}: no {section}: {text}");
        }
    }
    let mut made: Vec<String> = pages().into_iter().map(|(title, _)| title).collect();
    made.sort();
    titles.sort();
    assert_eq!(made, titles);
    Ok(())
}

fn every_flag_is_explained() -> Result<(), String> {
    let verbs = verbs();
    let all = verbs.iter().map(|verb| Some(verb.as_str())).chain([None]);
    for verb in all {
        let title = verb.map_or("rt".to_owned(), |verb| format!("rt-{verb}"));
        let text = page(&title);
        let flags = flags(verb);
        assert!(flags.contains(&"--help".to_owned()), "{flags:?}");
        for flag in flags {
            let written = flag.replace('-', "\\-");
            assert!(text.contains(&written), "{title}: no {flag}: {text}");
        }
        assert!(!text.contains("systemd\\-cgroup"), "{title}: {text}");
    }
    Ok(())
}

fn they_name_pages_that_exist() -> Result<(), String> {
    let verbs = verbs();
    for (title, text) in pages() {
        let (_, others) = text.split_once("\"SEE ALSO\"").unwrap();
        let others = others
            .replace("\\fB", "")
            .replace("\\fR", "")
            .replace('\\', "");
        for other in others.split([',', '\n']).map(str::trim) {
            let Some(verb) = other.strip_prefix("rt-") else {
                continue;
            };
            let verb = verb.strip_suffix("(1)").unwrap_or(verb);
            assert!(verbs.iter().any(|one| one == verb), "{title}: {other}");
        }
    }
    Ok(())
}

fn man_shows_them() -> Result<(), String> {
    need("man")?;
    need("groff")?;
    for (title, _) in pages() {
        let path = built().join("man").join(format!("{title}.1"));
        let mut man = Command::new("man");
        man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let output = man
            .args(["--warnings=w", "-l"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{title}: {errors}"
        );
        assert!(
            said.contains("SEE ALSO") && said.contains("EXIT STATUS"),
            "{said}"
        );
    }
    Ok(())
}

fn mandoc_finds_no_fault() -> Result<(), String> {
    need("mandoc")?;
    for (title, _) in pages() {
        let path = built().join("man").join(format!("{title}.1"));
        let said = run(Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(path));
        assert_eq!(said, "", "{title}");
    }
    Ok(())
}
