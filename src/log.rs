//! What `rt` says about itself: warnings and the final error, on stderr and in
//! the file of `--log`, in the two formats that container managers parse.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::errno::Errno;

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

static LATER: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Before [`init`], and for a caller that never calls it.
static DEFAULT: Log = Log {
    file: None,
    format: Format::Text,
    debug: false,
};

/// Decides where lines go from now on. A second call changes nothing.
///
/// # Errors
/// When the file cannot be opened or made.
pub(crate) fn init(file: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let file = match file {
        Some(path) => Some(open(path).with_context(|| format!("--log {}", path.display()))?),
        None => None,
    };
    // Set twice only by a second command line in one process: the first one stands.
    let _ = LOG.set(Log {
        file,
        format,
        debug,
    });
    Ok(())
}

/// Not `O_SYNC`, as runc has it: whoever reads the log of a failed call finds it
/// as soon as it is written, and a crash of the machine ends the container too.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
}

/// Says what is odd but does not change the course of things.
pub(crate) fn warn(text: &str) {
    notice("warning", text);
}

/// Remembers a warning about a configuration until it is accepted: an error is
/// one line, and what would have been left out does not matter then.
pub(crate) fn warn_later(text: String) {
    LATER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text);
}

/// Says what [`warn_later`] has kept.
pub(crate) fn tell() {
    for text in LATER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
    {
        warn(&text);
    }
}

/// Whether `--debug` asks for more.
pub(crate) fn debugs() -> bool {
    log().debug
}

/// Says what only `--debug` asks for.
pub(crate) fn debug(text: &str) {
    if debugs() {
        debug_at(SystemTime::now(), text);
    }
}

/// The same about what happened at `time`. Steps follow each other within a
/// second, so the time is finer than elsewhere, and said on stderr too.
pub(crate) fn debug_at(time: SystemTime, text: &str) {
    let log = log();
    let time = humantime::format_rfc3339_micros(time).to_string();
    let line = record_of("debug", &one_line(text), log.format, &time);
    match &log.file {
        Some(file) => write(file, &line),
        None => write(&io::stderr(), &line),
    }
}

/// The last words: one line on stderr, and one in the log.
///
/// `prefix` names the command and, where it is known, the container.
pub(crate) fn error(error: &anyhow::Error, prefix: &str) {
    let text = one_line(&format!("{prefix}: {}", sentence(error)));
    let log = log();
    let record = record("error", &text, log.format);
    match (&log.file, log.format) {
        (Some(file), _) => {
            write(file, &record);
            write(&io::stderr(), &text);
        }
        (None, Format::Json) => write(&io::stderr(), &record),
        (None, Format::Text) => write(&io::stderr(), &text),
    }
}

fn notice(level: &str, text: &str) {
    let log = log();
    let text = one_line(text);
    match (&log.file, log.format) {
        (Some(file), format) => write(file, &record(level, &text, format)),
        (None, Format::Json) => write(&io::stderr(), &record(level, &text, Format::Json)),
        (None, Format::Text) => write(&io::stderr(), &format!("rt: {level}: {text}")),
    }
}

fn log() -> &'static Log {
    LOG.get().unwrap_or(&DEFAULT)
}

/// One write for one line, so that the lines of several processes never mix.
/// A log that cannot be written must not become a second error.
fn write(mut to: impl Write, line: &str) {
    let _ = to.write_all(format!("{line}\n").as_bytes());
}

/// A line as logrus writes it, which is what containerd, conmon and cri-o read.
fn record(level: &str, text: &str, format: Format) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    record_of(level, text, format, &time.to_string())
}

fn record_of(level: &str, text: &str, format: Format, time: &str) -> String {
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={}", go_quoted(text)),
        Format::Json => {
            let text = serde_json::Value::from(text);
            format!("{{\"level\":\"{level}\",\"msg\":{text},\"time\":\"{time}\"}}")
        }
    }
}

/// A string as Go's `%q` writes it.
fn go_quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Line breaks and other control characters, which may come from config.json
/// or from a path, as escapes: nothing forges a second line or moves a cursor.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The chain of an error as one sentence: `mounts[8]: mount tmpfs on /data:
/// operation not permitted (EPERM)`.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let words = words(cause);
        // Some libraries repeat their cause in their own words.
        if text.ends_with(&words) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&words);
    }
    one_line(&text)
}

fn words(cause: &(dyn std::error::Error + 'static)) -> String {
    if let Some(errno) = cause.downcast_ref::<Errno>() {
        return errno_text(*errno);
    }
    let number = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    match number {
        Some(number) => errno_text(Errno::from_raw(number)),
        None => cause.to_string(),
    }
}

/// `permission denied (EACCES)`.
///
/// "No such file or directory" is left to the executable, and to where it is to
/// run: engines take these words for exit status 127, whatever did not exist.
pub(crate) fn errno_text(errno: Errno) -> String {
    let words = match errno {
        Errno::ENOENT => "not found".to_owned(),
        errno => errno_words(errno),
    };
    format!("{words} ({errno:?})")
}

/// The same without the name, and always in the words of the C library: what a
/// process says of itself.
pub(crate) fn errno_words(errno: Errno) -> String {
    let mut rest = errno.desc().chars();
    let first = rest.next().map(|c| match rest.clone().next() {
        Some(second) if second.is_lowercase() => c.to_ascii_lowercase(),
        _ => c,
    });
    let first = first.map(String::from).unwrap_or_default();
    format!("{first}{}", rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_errno_is_words_and_a_name() {
        assert_eq!(errno_text(Errno::EACCES), "permission denied (EACCES)");
        assert_eq!(errno_text(Errno::EPERM), "operation not permitted (EPERM)");
        assert_eq!(errno_text(Errno::ENOENT), "not found (ENOENT)");
        assert_eq!(errno_text(Errno::EIO), "I/O error (EIO)");
    }

    #[test]
    fn a_chain_is_one_sentence() {
        let error = anyhow::Error::from(Errno::EPERM)
            .context("mount tmpfs on /data")
            .context("mounts[8]");
        assert_eq!(
            sentence(&error),
            "mounts[8]: mount tmpfs on /data: operation not permitted (EPERM)"
        );
        let error = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("/b/config.json");
        assert_eq!(sentence(&error), "/b/config.json: not found (ENOENT)");
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error = anyhow!("root: required").context("config.json: root: required");
        assert_eq!(sentence(&error), "config.json: root: required");
    }

    #[test]
    fn no_text_makes_a_second_line() {
        assert_eq!(sentence(&anyhow!("a\nb\u{1b}[2Jc")), "a\\nb\\u{1b}[2Jc");
    }

    #[test]
    fn records_are_those_of_logrus() {
        let text = record("error", "say \"x\" \\ y", Format::Text);
        assert!(text.starts_with("time=\"20"), "{text}");
        assert!(
            text.ends_with("Z\" level=error msg=\"say \\\"x\\\" \\\\ y\""),
            "{text}"
        );
        let json = record("warning", "say \"x\"", Format::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "warning");
        assert_eq!(json["msg"], "say \"x\"");
        assert!(json["time"].as_str().unwrap().ends_with('Z'));
    }
}
