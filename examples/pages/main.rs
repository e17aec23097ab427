//! Generates the manual pages and the shell completions from the definition of the command line.
//!
//! ```text
//! cargo run --example pages -- DIRECTORY
//! ```
//!
//! writes `DIRECTORY/man/*.1` and `DIRECTORY/completions/{bash,zsh,fish}/*`. The sections that the
//! definition does not contain come from `text.rs`. The date of the pages is `SOURCE_DATE_EPOCH`
//! (seconds) or today.
#![allow(
    clippy::disallowed_methods,
    reason = "reads SOURCE_DATE_EPOCH from the environment"
)]

mod completions;
mod text;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use text::{PageText, page_text};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    // This program has no flags, so `--help` must not become a directory of that name.
    let directory = directory.filter(|directory| !directory.to_string_lossy().starts_with('-'));
    let directory = directory.ok_or("usage: pages DIRECTORY")?;
    let program = rt::command_line();
    write_pages(&program, &directory.join("man"))?;
    completions::write(&program, &directory.join("completions"))
}

fn write_pages(program: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let names: Vec<String> = program
        .get_subcommands()
        .map(|verb| format!("rt-{}", verb.get_name()))
        .collect();
    let write_page = |command: &Command, title: &str, others: &[&str]| {
        let text = page_text(title).ok_or_else(|| format!("{title}: no text in text.rs"))?;
        let page = page(command, title, &text, others)?;
        Ok::<(), Box<dyn Error>>(fs::write(directory.join(format!("{title}.1")), page)?)
    };
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    write_page(program, "rt", &all)?;
    for (verb, title) in program.get_subcommands().zip(&names) {
        write_page(verb, title, &["rt"])?;
    }
    Ok(())
}

fn page(
    command: &Command,
    title: &str,
    text: &PageText,
    others: &[&str],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let man = Man::new(command.clone().display_name(&*title.to_owned().leak()))
        .title(title.to_uppercase())
        .section("1")
        .date(date()?)
        .source(concat!("rt ", env!("CARGO_PKG_VERSION")))
        .manual("Container runtime");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut before = Roff::new();
    section(&mut before, "DESCRIPTION", text.description);
    if command.has_subcommands() {
        let verbs = command.get_subcommands().map(|verb| {
            let about = verb.get_about().map(ToString::to_string);
            (format!("*{}*", verb.get_name()), about.unwrap_or_default())
        });
        list(&mut before, "COMMANDS", verbs);
    }
    page.extend(before.to_roff().into_bytes());
    man.render_options_section(&mut page)?;
    let mut after = Roff::new();
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(term, entry): &(&str, &str)| ((*term).to_owned(), (*entry).to_owned());
        all.iter().map(owned).collect()
    };
    list(&mut after, "EXIT STATUS", pairs(text.exit_statuses));
    list(&mut after, "FILES", pairs(text.files));
    list(&mut after, "ENVIRONMENT", pairs(text.environment));
    let example = example(command).ok_or_else(|| format!("{title}: no example in the help"))?;
    let first = [("", example.as_str())];
    examples(&mut after, first.iter().chain(text.examples));
    let others = others.iter().chain(text.see_also).enumerate();
    after.control("SH", ["SEE ALSO"]);
    let others = others.map(|(i, name)| {
        let comma = if i == 0 { "" } else { ", " };
        match name.split_once('(') {
            Some((name, section)) => [roman(comma), bold(name), roman(format!("({section}"))],
            None => [roman(comma), bold(*name), roman("(1)")],
        }
    });
    after.text(others.flatten().collect::<Vec<Inline>>());
    page.extend(after.to_roff().into_bytes());
    Ok(page)
}

/// The date of the pages: `SOURCE_DATE_EPOCH` or today.
fn date() -> Result<String, Box<dyn Error>> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds.parse()?),
        Err(_) => SystemTime::now(),
    };
    let text = humantime::format_rfc3339_seconds(time).to_string();
    Ok(text.split('T').next().unwrap_or_default().to_owned())
}

/// A section of paragraphs. Empty lines separate them; text between two `*` is bold.
fn section(roff: &mut Roff, title: &str, text: &str) {
    roff.control("SH", [title]);
    for (i, paragraph) in text.trim().split("\n\n").enumerate() {
        if i > 0 {
            roff.control("PP", []);
        }
        roff.text(inlines(paragraph));
    }
}

fn list(roff: &mut Roff, title: &str, entries: impl IntoIterator<Item = (String, String)>) {
    for (i, (term, text)) in entries.into_iter().enumerate() {
        if i == 0 {
            roff.control("SH", [title]);
        }
        roff.control("TP", []);
        roff.text(inlines(&term));
        roff.text(inlines(&text));
    }
}

/// The example in the help of a command.
fn example(command: &Command) -> Option<String> {
    let text = command.get_after_help()?.to_string();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("Example: ").map(str::to_owned))
}

fn examples<'a>(roff: &mut Roff, examples: impl Iterator<Item = &'a (&'a str, &'a str)>) {
    for (i, (text, commands)) in examples.enumerate() {
        match i {
            0 => roff.control("SH", ["EXAMPLES"]),
            _ => roff.control("PP", []),
        };
        if !text.is_empty() {
            roff.text(inlines(text));
            roff.control("PP", []);
        }
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        for command in commands.lines() {
            roff.text([bold(command)]);
        }
        roff.control("fi", []);
        roff.control("RE", []);
    }
}

fn inlines(text: &str) -> Vec<Inline> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = text.split('*').enumerate();
    let inline = |(i, part): (usize, &str)| if i % 2 == 0 { roman(part) } else { bold(part) };
    parts.map(inline).collect()
}
