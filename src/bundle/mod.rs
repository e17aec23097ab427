//! Reads a bundle, which is a directory with a config.json.
//!
//! config.json passes three checks: it is JSON, every value has the type that the specification
//! gives it, and is one that the specification allows. Each error begins with the path of the
//! field: `linux.resources.hugepageLimits[0].pageSize`. Unknown properties are ignored.

mod capabilities;
mod examples;
mod field_path;
mod json;
mod known_values;
mod process_overrides;
mod resources;
mod type_error;
mod unknown;
mod values;
mod walker;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

use crate::log;
use crate::pathname::{self, Access};
pub(crate) use known_values::{likely, unknown_value};
pub(crate) use process_overrides::ProcessOverrides;
pub(crate) use resources::Resources;

/// Maximum size of config.json in bytes. Typical configurations are below 100 KiB, but an
/// environment of 1 MiB occurs too.
const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// The first and the last version of the specification that this version implements. Later
/// versions with the same major number are accepted: they can only add properties, and unknown
/// properties are ignored.
pub(crate) const VERSIONS: (&str, &str) = ("1.0.0", "1.3.0");

/// A bundle and its configuration at the time it was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute.
    pub(crate) directory: PathBuf,
    /// The content of config.json.
    pub(crate) spec: Spec,
}

/// Reads the bundle in `directory`, which may be relative.
///
/// # Errors
/// When config.json is missing, unreadable or not JSON, violates the specification, or is for
/// another platform.
pub(crate) fn open(directory: &Path) -> Result<Bundle> {
    let directory = absolute(directory)?;
    let text = read(&directory)?;
    let spec = parse(&text)?;
    Ok(Bundle { directory, spec })
}

/// Makes the path absolute and keeps `..`, because after a symbolic link only the kernel can
/// resolve it.
fn absolute(directory: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(directory)
        .with_context(|| format!("bundle {:?}", directory.display().to_string()))?;
    // Removes a slash at the end.
    Ok(absolute.components().collect())
}

fn read(directory: &Path) -> Result<Vec<u8>> {
    let path = directory.join("config.json");
    let file = match open_nonblocking(&path) {
        Ok(file) => file,
        Err(error) => {
            // Reports the directory instead of the file if the directory itself is missing.
            if let Err(error) = fs::metadata(directory) {
                let error = pathname::explain(directory, error, Access::Lookup);
                return Err(error.context(format!("bundle {}", directory.display())));
            }
            let error = pathname::explain(&path, error, Access::Read);
            return Err(error.context(path.display().to_string()));
        }
    };
    read_config(file).with_context(|| path.display().to_string())
}

/// Opens with `O_NONBLOCK`: if the path is a FIFO, open(2) would otherwise wait for a writer.
fn open_nonblocking(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn read_config(file: File) -> Result<Vec<u8>> {
    let metadata = file.metadata()?;
    ensure!(!metadata.is_dir(), "is a directory");
    ensure!(metadata.is_file(), "not a regular file");
    read_limited(file, metadata.len())
}

/// Reads a file of `length` bytes, up to [`MAX_CONFIG_BYTES`]. The length of a pipe, and of a file that the
/// kernel makes, is 0.
///
/// # Errors
/// When the file is larger, or cannot be read.
fn read_limited(mut file: File, length: u64) -> Result<Vec<u8>> {
    let (length, limit) = (length.min(MAX_CONFIG_BYTES), MAX_CONFIG_BYTES + 1);
    let mut content = Vec::with_capacity(usize::try_from(length)?);
    (&mut file).take(length).read_to_end(&mut content)?;
    let read = content.len() as u64;
    if read < length || length == 0 || length == MAX_CONFIG_BYTES {
        file.take(limit - read).read_to_end(&mut content)?;
    }
    ensure!(
        content.len() as u64 <= MAX_CONFIG_BYTES,
        "larger than {} MiB",
        MAX_CONFIG_BYTES >> 20
    );
    Ok(content)
}

/// Parses and checks the text of config.json.
fn parse(text: &[u8]) -> Result<Spec> {
    interpret(json::parse(text, "config.json")?)
}

/// Reads a JSON file without checking its content. Errors begin with `name`.
///
/// # Errors
/// When the file is not JSON, is larger than [`MAX_CONFIG_BYTES`], or cannot be read.
pub(crate) fn read_json(file: File, name: &str) -> Result<Value> {
    let length = |file: &File| Ok(file.metadata()?.len());
    let text = length(&file).and_then(|length| read_limited(file, length));
    let text = text.with_context(|| name.to_owned())?;
    json::parse(&text, name)
}

/// Checks a `process` object by the rules for `process` in config.json.
///
/// # Errors
/// When it violates the specification.
pub(crate) fn check_process(process: Value) -> Result<Process> {
    ensure!(process.is_object(), "process: not a JSON object");
    let config = json!({"ociVersion": VERSIONS.1, "root": {"path": "/"}, "process": process});
    interpret(config)?
        .process()
        .clone()
        .context("process: required")
}

/// `process` as config.json has it, for a later [`check_process`]. Null if there is none.
///
/// # Errors
/// When the process cannot be written as JSON.
pub(crate) fn process_json(process: Option<&Process>) -> Result<Value> {
    let mut process = serde_json::to_value(process).context("process")?;
    values::restore_scheduler_flags(&mut process);
    Ok(process)
}

/// What `rt check` finds in a config.json.
pub(crate) struct Inspection {
    /// Properties that the specification does not define, one sentence each.
    pub(crate) unknown: Vec<String>,
    /// The error is that of [`open`].
    pub(crate) bundle: Result<Bundle>,
}

/// Reads the bundle in `directory` as [`open`] does, and looks for unknown properties too.
///
/// # Errors
/// When config.json is missing, unreadable or not JSON.
pub(crate) fn inspect(directory: &Path) -> Result<Inspection> {
    let directory = absolute(directory)?;
    let config = json::parse(&read(&directory)?, "config.json")?;
    let unknown = unknown::find(&config);
    let bundle = interpret(config).map(|spec| Bundle { directory, spec });
    Ok(Inspection { unknown, bundle })
}

/// Checks and converts the values.
///
/// # Errors
/// When a value violates the specification, or is for another platform.
fn interpret(mut config: Value) -> Result<Spec> {
    if !config.is_object() {
        bail!("config.json: not a JSON object");
    }
    values::drop_unset(&mut config);
    values::check_version(&config)?;
    values::check_platform(&config)?;
    values::check_objects(&config)?;
    values::check_scheduler_flags(&config)?;
    values::normalize(&mut config);
    values::check_required(&config)?;
    let unknown = capabilities::drop_unknown(&mut config);
    if let Some(warning) = capabilities::warning(&unknown) {
        log::defer_warning(warning);
    }
    values::check_values(&config)?;
    walker::read(&config).map_err(type_error::translate)
}

#[cfg(test)]
mod tests;
