//! Manual pages: one for each command, complete, and valid for man and mandoc.

use std::fs;
use std::process::Command;

use crate::{Test, dist, flags, require_program, run, verbs};

pub(crate) fn tests() -> Vec<(&'static str, Test)> {
    vec![
        ("pages::every_command_has_a_page", every_command_has_a_page),
        ("pages::every_flag_is_documented", every_flag_is_documented),
        (
            "pages::every_page_has_the_example_of_the_help",
            every_page_has_the_example_of_the_help,
        ),
        (
            "pages::see_also_names_existing_pages",
            see_also_names_existing_pages,
        ),
        ("pages::man_renders_every_page", man_renders_every_page),
        (
            "pages::mandoc_reports_no_warning",
            mandoc_reports_no_warning,
        ),
    ]
}

/// The titles and the texts of all pages.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(dist().join("man")).unwrap();
    let page = |file: std::io::Result<fs::DirEntry>| {
        let path = file.unwrap().path();
        let title = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (title, fs::read_to_string(path).unwrap())
    };
    files.map(page).collect()
}

fn page(title: &str) -> String {
    let path = dist().join("man").join(format!("{title}.1"));
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{title}: {e}"))
}

fn every_command_has_a_page() -> Result<(), String> {
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

fn every_flag_is_documented() -> Result<(), String> {
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
    }
    Ok(())
}

fn every_page_has_the_example_of_the_help() -> Result<(), String> {
    for (title, text) in pages() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rt"));
        let help = run(command.args(title.strip_prefix("rt-")).arg("--help"));
        let mut lines = help.lines();
        let example = lines.find_map(|line| line.strip_prefix("Example: "));
        let example = example.unwrap_or_else(|| panic!("{title}: no example in {help}"));
        let written = format!("\\fB{}\\fR\n", example.replace('-', "\\-"));
        let (_, examples) = text.split_once("\n.SH EXAMPLES\n").unwrap();
        assert!(
            examples.contains(&written),
            "{title}: no {written} in {examples}"
        );
    }
    Ok(())
}

fn see_also_names_existing_pages() -> Result<(), String> {
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

fn man_renders_every_page() -> Result<(), String> {
    require_program("man")?;
    require_program("groff")?;
    for (title, _) in pages() {
        let path = dist().join("man").join(format!("{title}.1"));
        let mut man = Command::new("man");
        man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let output = man
            .args(["--warnings=w", "-l"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{title}: {errors}"
        );
        assert!(
            text.contains("SEE ALSO") && text.contains("EXIT STATUS"),
            "{text}"
        );
    }
    Ok(())
}

fn mandoc_reports_no_warning() -> Result<(), String> {
    require_program("mandoc")?;
    for (title, _) in pages() {
        let path = dist().join("man").join(format!("{title}.1"));
        let output = run(Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(path));
        assert_eq!(output, "", "{title}");
    }
    Ok(())
}
