//! A bundle: a directory with config.json, read once, tolerantly, into typed fields.
//!
//! The file is looked at three times, each time with one question: is it JSON;
//! has every value the type that the specification gives it; does it ask for
//! anything that this version does not apply. Each answer names the place, as
//! `linux.resources.hugepageLimits[0].pageSize`.

mod capabilities;
mod changes;
mod json;
mod places;
mod resources;
mod unapplied;
mod values;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::libc;
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use crate::log;
pub(crate) use changes::Changes;
pub(crate) use resources::Resources;
pub(crate) use unapplied::applies;

/// Real configurations are below 100 KiB; one with a 1 MiB environment is real too.
const LARGEST_CONFIG: u64 = 64 << 20;

/// The first and the last version of the specification whose configurations
/// are understood. Later ones of the same major number are too: they may only
/// add what is not known here, and that is ignored.
pub(crate) const VERSIONS: (&str, &str) = ("1.0.0", "1.3.0");

/// A bundle as it was when it was opened.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute.
    pub(crate) directory: PathBuf,
    /// Every field that it has is applied by this version.
    pub(crate) spec: Spec,
}

/// Opens the bundle in a directory, which may be relative.
///
/// # Errors
/// When config.json is missing, unreadable, no JSON, not what the
/// specification describes, for another platform, or asks for something that
/// this version does not apply.
pub(crate) fn open(directory: &Path) -> Result<Bundle> {
    let directory = absolute(directory)?;
    let text = read(&directory)?;
    let spec = parse(&text)?;
    Ok(Bundle { directory, spec })
}

/// Keeps `..`, which behind a symbolic link means what the kernel says.
fn absolute(directory: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(directory)
        .with_context(|| format!("bundle {:?}", directory.display().to_string()))?;
    // Without the slash at the end.
    Ok(absolute.components().collect())
}

fn read(directory: &Path) -> Result<Vec<u8>> {
    let path = directory.join("config.json");
    let file = match open_without_waiting(&path) {
        Ok(file) => file,
        Err(error) => {
            // One of two things is missing: say which.
            if let Err(error) = fs::metadata(directory) {
                return Err(error).with_context(|| format!("bundle {}", directory.display()));
            }
            return Err(error).with_context(|| path.display().to_string());
        }
    };
    let content = content(file).with_context(|| path.display().to_string())?;
    Ok(content)
}

/// A FIFO in the file's place must not keep us waiting for its writer.
fn open_without_waiting(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn content(file: File) -> Result<Vec<u8>> {
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "is a directory");
    ensure!(metadata.is_file(), "not a regular file");
    bounded(file)
}

/// All of a file, which may be a pipe, but no endless one.
fn bounded(file: File) -> Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut content = Vec::with_capacity(usize::try_from(length.min(LARGEST_CONFIG))? + 1);
    file.take(LARGEST_CONFIG + 1).read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= LARGEST_CONFIG,
        "larger than {} MiB",
        LARGEST_CONFIG >> 20
    );
    Ok(content)
}

/// The text of config.json as fields that this version applies.
fn parse(text: &[u8]) -> Result<Spec> {
    checked(json::read(text, "config.json")?)
}

/// Any JSON, however it is to be understood. Errors begin with `name`.
///
/// # Errors
/// At what is no JSON, or larger than any configuration.
pub(crate) fn value(file: File, name: &str) -> Result<Value> {
    let text = bounded(file).with_context(|| name.to_owned())?;
    json::read(&text, name)
}

/// A `process` without the rest of a configuration, by the same rules.
///
/// # Errors
/// Those of [`open`].
pub(crate) fn process(process: Value) -> Result<Process> {
    ensure!(process.is_object(), "process: not a JSON object");
    let rest = json!({"ociVersion": VERSIONS.1, "root": {"path": "/"}, "process": process});
    checked(rest)?
        .process()
        .clone()
        .context("process: required")
}

fn checked(mut config: Value) -> Result<Spec> {
    if !config.is_object() {
        bail!("config.json: not a JSON object");
    }
    values::drop_unset(&mut config);
    values::check_version(&config)?;
    values::check_platform(&config)?;
    values::fill_in(&mut config);
    values::check_required(&config)?;
    let unknown = capabilities::drop_unknown(&mut config);
    if let Some(warning) = capabilities::warning(&unknown) {
        log::warn_later(warning);
    }
    values::check_values(&config)?;
    let unapplied = unapplied::first(&config);
    let spec = typed(config)?;
    if let Some(place) = unapplied {
        bail!("{place}: not applied by this version");
    }
    // Allowed, for a container that is never started; runc makes none either.
    ensure!(spec.process().is_some(), "process: required");
    Ok(spec)
}

fn typed(config: Value) -> Result<Spec> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let place = error.path().to_string();
        let text = error.into_inner().to_string();
        match unknown(&text) {
            Some(name) => anyhow!("{place}: unknown value {name:?}"),
            None => anyhow!("{place}: {text}"),
        }
    })
}

/// The name that serde found in no enumeration; it would go on to list all that it knows.
fn unknown(text: &str) -> Option<&str> {
    let (name, _) = text
        .strip_prefix("unknown variant `")?
        .split_once("`, expected")?;
    Some(name)
}

#[cfg(test)]
mod tests;
