//! `rt diff`: what a container has changed, as a list or as a layer of an image.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde::Serialize;

use super::new_file::NewFile;
use super::{Globals, choices, id, path_option, print};
use crate::container::{self, Change, DiffOutput};
use crate::layer::Kind;

pub(super) fn define(command: Command) -> Command {
    command
        .about("List what a container has changed in the layers below it")
        .after_help("Example: rt diff web")
        .arg(choices::format())
        .arg(path_option("tar", "FILE").help(
            "Write the changes to this file as a layer of an image, instead of listing them; - is standard output",
        ))
        .arg(id::argument())
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let list = match matches.get_one::<String>("format").map(String::as_str) {
        Some("table") => print_table,
        Some("json") => print_json,
        other => return Err(choices::unknown_format(other.unwrap_or_default())),
    };
    let layer = matches.get_one::<PathBuf>("tar");
    ensure!(
        layer.is_none() || matches.value_source("format") != Some(ValueSource::CommandLine),
        "--format: has no effect on the layer that --tar writes; give one of them"
    );
    let diff = |output| container::diff(&globals.root, id, output).with_context(|| id.to_owned());
    match layer {
        None => diff(DiffOutput::List(list))?,
        Some(path) if path == Path::new("-") => {
            let out = io::stdout();
            ensure!(
                !out.is_terminal(),
                "--tar -: standard output is a terminal; redirect it to a file or a program"
            );
            let out = out.as_fd().try_clone_to_owned();
            diff(DiffOutput::Layer(File::from(
                out.context("standard output")?,
            )))?;
        }
        Some(path) => {
            let subject = || format!("--tar {}", path.display());
            let file = NewFile::create(path).with_context(subject)?;
            diff(DiffOutput::Layer(file.writer().with_context(subject)?))?;
            file.publish().with_context(subject)?;
        }
    }
    Ok(0)
}

/// One change a line: `C /etc`.
fn print_table(changes: &[Change]) -> Result<()> {
    let mut text = String::new();
    for (kind, path) in changes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {}", kind.letter(), escaped(path));
    }
    print(&text)
}

/// The paths by kind, as `podman diff --format json` prints them.
#[derive(Default, Serialize)]
struct Listing {
    changed: Vec<String>,
    added: Vec<String>,
    deleted: Vec<String>,
}

fn print_json(changes: &[Change]) -> Result<()> {
    let mut listing = Listing::default();
    for (kind, path) in changes {
        let paths = match kind {
            Kind::Added => &mut listing.added,
            Kind::Changed => &mut listing.changed,
            Kind::Deleted => &mut listing.deleted,
        };
        paths.push(String::from_utf8_lossy(path).into_owned());
    }
    print(&format!("{}\n", serde_json::to_string(&listing)?))
}

/// A path on one line: control characters, which could forge a line or control the terminal,
/// bytes that are not UTF-8, and backslashes are escaped (`\n`, `\xff`, `\\`).
fn escaped(path: &[u8]) -> String {
    let mut line = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_line() {
        assert_eq!(escaped(b"/a b/\xc3\xa9"), "/a b/\u{e9}");
        assert_eq!(escaped(b"/a\nD /b\\\x1b"), "/a\\nD /b\\\\\\u{1b}");
        assert_eq!(escaped(b"/\xff\xfea"), "/\\xff\\xfea");
    }
}
