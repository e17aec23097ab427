//! Writes warnings, debug messages and the final error to stderr and to the file of `--log`, in
//! the two formats that container managers parse.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use nix::errno::Errno;

/// The value of `--log-format`.
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

/// Warnings that [`defer_warning`] holds back.
static DEFERRED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Used until [`init`] is called.
static DEFAULT: Log = Log {
    file: None,
    format: Format::Text,
    debug: false,
};

/// Sets the destination and the format of the log. A second call has no effect.
///
/// # Errors
/// When the file cannot be opened or created.
pub(crate) fn init(file: Option<&Path>, format: Format, debug: bool) -> io::Result<()> {
    let file = match file {
        Some(path) => Some(open(path)?),
        None => None,
    };
    // `set` fails only on a second call, which has no effect.
    let _ = LOG.set(Log {
        file,
        format,
        debug,
    });
    Ok(())
}

/// Opens the log without `O_SYNC`, which runc uses. Other processes see a line as soon as it is
/// written, and after a crash of the host no container is left for which the log would matter.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
}

/// Logs a warning: a problem that does not make the command fail.
pub(crate) fn warn(text: &str) {
    notice("warning", text);
}

/// Holds back a warning about a configuration until [`flush_deferred_warnings`] is called, which happens after the
/// configuration is accepted. If it is refused, only the error is logged.
pub(crate) fn defer_warning(text: String) {
    DEFERRED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text);
}

/// Logs the warnings that [`defer_warning`] has held back.
pub(crate) fn flush_deferred_warnings() {
    for text in take_deferred_warnings() {
        warn(&text);
    }
}

/// The warnings that [`defer_warning`] has held back, which are then not logged.
pub(crate) fn take_deferred_warnings() -> Vec<String> {
    std::mem::take(&mut DEFERRED.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether `--debug` is set.
pub(crate) fn debug_enabled() -> bool {
    log().debug
}

/// Logs a message if `--debug` is set.
pub(crate) fn debug(text: &str) {
    if debug_enabled() {
        debug_at(SystemTime::now(), text);
    }
}

/// Logs a debug message for an event at `time`. Steps follow each other within a second, so the
/// timestamp has microseconds, and lines on stderr have a timestamp too.
pub(crate) fn debug_at(time: SystemTime, text: &str) {
    let log = log();
    let time = humantime::format_rfc3339_micros(time).to_string();
    let line = record_at("debug", &one_line(text), log.format, &time);
    match &log.file {
        Some(file) => write(file, &line),
        None => write(&io::stderr(), &line),
    }
}

/// Logs the error that ends the program: one line on stderr, and one in the log file.
///
/// `prefix` is the command, such as `rt create`.
pub(crate) fn error(error: &anyhow::Error, prefix: &str) {
    let text = one_line(&format!("{prefix}: {}", format_error(error)));
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

/// Writes a line with a single write(2), so that lines of several processes do not mix. An error
/// is ignored, because it cannot be reported anywhere else.
fn write(mut output: impl Write, line: &str) {
    let _ = output.write_all(format!("{line}\n").as_bytes());
}

/// A line in the format of logrus, which containerd, conmon and cri-o parse.
fn record(level: &str, text: &str, format: Format) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    record_at(level, text, format, &time.to_string())
}

/// A line with the given timestamp (RFC 3339).
fn record_at(level: &str, text: &str, format: Format, time: &str) -> String {
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

/// Escapes line breaks and other control characters. They may come from config.json or from a
/// path, and could otherwise forge a second line or control the terminal.
pub(crate) fn one_line(text: &str) -> String {
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

/// An error and its causes on one line: `mounts[8]: mount tmpfs on /data:
/// operation not permitted (EPERM)`.
pub(crate) fn format_error(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause_text = cause_text(cause);
        // Some libraries repeat the text of the cause in their own.
        if text.ends_with(&cause_text) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause_text);
        if cause.is::<HintedErrno>() {
            break;
        }
    }
    one_line(&text)
}

fn cause_text(cause: &(dyn std::error::Error + 'static)) -> String {
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

/// An errno with a hint at its cause or remedy, which is added in the parentheses.
#[derive(Debug)]
pub(crate) struct HintedErrno {
    pub(crate) errno: Errno,
    pub(crate) hint: String,
}

impl std::fmt::Display for HintedErrno {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&with_hint(&errno_text(self.errno), &self.hint))
    }
}

impl std::error::Error for HintedErrno {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// The error for `errno`, with the hint if there is one.
pub(crate) fn hinted(errno: Errno, hint: Option<String>) -> anyhow::Error {
    match hint {
        Some(hint) => HintedErrno { errno, hint }.into(),
        None => errno.into(),
    }
}

/// Adds a hint to a reason: `permission denied (EACCES; HINT)`.
pub(crate) fn with_hint(reason: &str, hint: &str) -> String {
    match reason.strip_suffix(')') {
        Some(reason) => format!("{reason}; {hint})"),
        None => format!("{reason} ({hint})"),
    }
}

/// The description and the name of an errno: `permission denied (EACCES)`.
///
/// ENOENT is "not found". Only an error about the executable or its working directory says "no
/// such file or directory", because engines take this text for exit status 127.
pub(crate) fn errno_text(errno: Errno) -> String {
    let description = match errno {
        Errno::ENOENT => "not found".to_owned(),
        errno => errno_description(errno),
    };
    format!("{description} ({errno:?})")
}

/// The C library's description of an errno, with a lower-case first letter: what programs
/// themselves print.
pub(crate) fn errno_description(errno: Errno) -> String {
    // The crate has other words for these than the C library.
    match errno {
        Errno::EOPNOTSUPP => return "operation not supported".to_owned(),
        Errno::ERANGE => return "numerical result out of range".to_owned(),
        _ => {}
    }
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
    fn an_errno_is_shown_with_description_and_name() {
        assert_eq!(errno_text(Errno::EACCES), "permission denied (EACCES)");
        assert_eq!(errno_text(Errno::EPERM), "operation not permitted (EPERM)");
        assert_eq!(errno_text(Errno::ENOENT), "not found (ENOENT)");
        assert_eq!(errno_text(Errno::EIO), "I/O error (EIO)");
        let text = "numerical result out of range (ERANGE)";
        assert_eq!(errno_text(Errno::ERANGE), text);
    }

    #[test]
    fn an_error_and_its_causes_are_one_line() {
        let error = anyhow::Error::from(Errno::EPERM)
            .context("mount tmpfs on /data")
            .context("mounts[8]");
        assert_eq!(
            format_error(&error),
            "mounts[8]: mount tmpfs on /data: operation not permitted (EPERM)"
        );
        let error = hinted(Errno::EBUSY, Some("it has processes".to_owned())).context("x");
        assert_eq!(
            format_error(&error),
            "x: device or resource busy (EBUSY; it has processes)"
        );
        let error = anyhow::Error::from(io::Error::from_raw_os_error(2)).context("/b/config.json");
        assert_eq!(format_error(&error), "/b/config.json: not found (ENOENT)");
    }

    #[test]
    fn a_repeated_cause_is_shown_once() {
        let error = anyhow!("root: required").context("config.json: root: required");
        assert_eq!(format_error(&error), "config.json: root: required");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(format_error(&anyhow!("a\nb\u{1b}[2Jc")), "a\\nb\\u{1b}[2Jc");
    }

    #[test]
    fn records_have_the_format_of_logrus() {
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
